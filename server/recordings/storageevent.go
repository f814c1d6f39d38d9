package recordings

import (
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"strings"

	"github.com/usher-meet/usher/server/text"
)

// storedObject is an object of which the storage says that it was made.
type storedObject struct {
	bucket string
	// keys are the possible object keys of the event: some stores encode the key, others do not. There are none where
	// PostgreSQL could not store them: nothing of ours is called so.
	keys []string
}

// storageEvent is the used part of the events of S3 stores: MinIO and Amazon's own alike.
type storageEvent struct {
	// Event is set in the test that Amazon sends when it is set up, instead of Records.
	Event   string `json:"Event"`
	Records []struct {
		EventName string `json:"eventName"`
		S3        struct {
			Bucket struct {
				Name string `json:"name"`
			} `json:"bucket"`
			Object struct {
				Key         string `json:"key"`
				ContentType string `json:"contentType"`
			} `json:"object"`
		} `json:"s3"`
	} `json:"Records"`
}

// errEvent is a body that no S3 store sends.
var errEvent = errors.New("not an event of an S3 store")

// parseStorageEvent reads which objects an event says were made: none for one that tells of something else.
func parseStorageEvent(body []byte) ([]storedObject, error) {
	var event storageEvent
	if err := json.Unmarshal(body, &event); err != nil {
		return nil, errEvent // the body may be anything, so it is not repeated
	}
	if event.Records == nil && event.Event != "s3:TestEvent" {
		return nil, errEvent
	}
	objects := make([]storedObject, 0, len(event.Records))
	for _, r := range event.Records {
		if r.EventName == "" || r.EventName != "s3:TestEvent" && (r.S3.Bucket.Name == "" || r.S3.Object.Key == "") {
			return nil, errEvent
		}
		if !strings.HasPrefix(strings.TrimPrefix(r.EventName, "s3:"), "ObjectCreated:") {
			continue
		}
		if kind := r.S3.Object.ContentType; kind != "" && kind != contentTypes[path.Ext(r.S3.Object.Key)] {
			continue
		}
		objects = append(objects, storedObject{bucket: r.S3.Bucket.Name, keys: possibleKeys(r.S3.Object.Key)})
	}
	return objects, nil
}

// possibleKeys are the object keys that an event can mean by a key.
func possibleKeys(key string) []string {
	plain, err := url.QueryUnescape(key)
	switch {
	case !text.Storable(key), err == nil && !text.Storable(plain):
		return nil
	case err != nil, plain == key:
		return []string{key}
	}
	return []string{key, plain}
}

// contentTypes of the files of recordings.
var contentTypes = map[string]string{".mp4": "video/mp4", ".ogg": "audio/ogg"}
