package recordings

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/text"
)

const hookSecret = "test-storage-event-secret"

// eventRecord is one record of an event, in the shape of MinIO, or of Amazon without a content type.
func eventRecord(bucket, key, contentType string) string {
	object := map[string]any{"key": key, "size": 4711}
	if contentType != "" {
		object["contentType"] = contentType
	}
	text, _ := json.Marshal(map[string]any{ //nolint:errchkjson // of strings
		"eventName": "s3:ObjectCreated:Put", "eventVersion": "2.0",
		"s3": map[string]any{"bucket": map[string]any{"name": bucket}, "object": object},
	})
	return string(text)
}

func eventOf(records ...string) string { return `{"Records":[` + strings.Join(records, ",") + `]}` }

// post sends an event, with the right secret unless the test says otherwise.
func (f *fixture) post(body string, change ...func(*http.Request)) int {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), http.MethodPost, "/webhooks/storage", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+hookSecret)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	StorageHook{Service: f.Service, Secret: hookSecret, Count: func(string, int) {}}.ServeHTTP(w, r)
	if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		f.t.Error("a 401 without WWW-Authenticate")
	}
	return w.Code
}

// stoppedRecording waits for its file, of which LiveKit says that it is stored.
func (f *fixture) stoppedRecording(mode usherv1.RecordingMode) (id, key string) {
	f.t.Helper()
	ada := f.user("Ada" + uuid.NewString()[:8])
	v := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), mode)
	r := f.row(v.GetId())
	f.finish(r, meeting.EgressComplete, true)
	return v.GetId(), r.ObjectKey
}

func TestStorageEvent_shapes(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		for name, send := range map[string]func(key string) int{
			"MinIO, encoded key": func(key string) int {
				return f.post(`{"EventName":"s3:ObjectCreated:CompleteMultipartUpload","Key":"bucket/` + key + `",` +
					eventOf(eventRecord("bucket", url.QueryEscape(key), "video/mp4"))[1:])
			},
			"Amazon, plain key": func(key string) int {
				return f.post(eventOf(strings.Replace(eventRecord("bucket", key, ""), "s3:ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", 1)))
			},
			"ten records, ours the last": func(key string) int {
				var records []string
				for range 9 {
					records = append(records, eventRecord("bucket", "recordings/"+uuid.NewString()+".mp4", "video/mp4"))
				}
				return f.post(eventOf(append(records, eventRecord("bucket", key, "video/mp4"))...))
			},
			"basic authentication": func(key string) int {
				return f.post(eventOf(eventRecord("bucket", key, "")), func(r *http.Request) { r.SetBasicAuth("anybody", hookSecret) })
			},
		} {
			id, key := f.stoppedRecording(screen)
			if got := send(key); got != 200 {
				t.Errorf("%s: %d, want 200", name, got)
			}
			if n := f.work(); n != 0 {
				t.Errorf("%s: %d jobs failed", name, n)
			}
			if r := f.row(id); r.Status != saved && r.Status != notified {
				t.Errorf("%s: it is %s, want saved", name, statusName(r.Status))
			}
		}
	})
}

// What a storage event says is never believed, whoever sent it.
func TestStorageEventForgery(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		id, key := f.stoppedRecording(screen)
		ada := f.user("Ada")
		running := f.start(ada, f.room(map[any]usherv1.Role{ada: owner}), screen)
		runningKey := f.row(running.GetId()).ObjectKey
		good := eventOf(eventRecord("bucket", key, "video/mp4"))
		header := func(value string) func(*http.Request) {
			return func(r *http.Request) { r.Header.Set("Authorization", value) }
		}
		twice := func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+hookSecret) }
		for _, row := range []struct {
			name   string
			body   string
			change []func(*http.Request)
			want   int
		}{
			{"no secret", good, []func(*http.Request){func(r *http.Request) { r.Header.Del("Authorization") }}, 401},
			{"wrong secret", good, []func(*http.Request){header("Bearer test-wrong")}, 401},
			{"empty secret", good, []func(*http.Request){header("Bearer ")}, 401},
			{"wrong password", good, []func(*http.Request){func(r *http.Request) { r.SetBasicAuth(hookSecret, "test-wrong") }}, 401},
			{"another scheme", good, []func(*http.Request){header("Token " + hookSecret)}, 401},
			{"two secrets", good, []func(*http.Request){twice}, 401},
			{"no JSON", "not json", nil, 400},
			{"nothing", "", nil, 400},
			{"no records", "{}", nil, 400},
			{"records of another type", `{"Records":"all"}`, nil, 400},
			{"a record without a key", eventOf(eventRecord("bucket", "", "")), nil, 400},
			{"a record without a bucket", eventOf(eventRecord("", key, "")), nil, 400},
			{"null", "null", nil, 400},
			{"a list", "[]", nil, 400},
			{"too large", eventOf(eventRecord("bucket", strings.Repeat("x", 2<<20), "")), nil, 413},
			{"Amazon's test", `{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"bucket"}`, nil, 200},
			{"empty records", `{"Records":[]}`, nil, 200},
			{"a test with a record", eventOf(`{"eventName":"s3:TestEvent"}`), nil, 200},
			{"foreign bucket", eventOf(eventRecord("other", key, "video/mp4")), nil, 200},
			{"foreign folder", eventOf(eventRecord("bucket", strings.Replace(key, "recordings", "other", 1), "video/mp4")), nil, 200},
			{"no folder", eventOf(eventRecord("bucket", strings.TrimPrefix(key, "recordings/"), "video/mp4")), nil, 200},
			{"foreign extension", eventOf(eventRecord("bucket", strings.Replace(key, ".mp4", ".ogg", 1), "audio/ogg")), nil, 200},
			{"wrong type", eventOf(eventRecord("bucket", key, "text/html")), nil, 200},
			{"manifest beside it", eventOf(eventRecord("bucket", strings.Replace(key, ".mp4", ".json", 1), "application/json")), nil, 200},
			{"unknown recording", eventOf(eventRecord("bucket", "recordings/"+uuid.NewString()+".mp4", "")), nil, 200},
			{"36 dashes", eventOf(eventRecord("bucket", "recordings/"+strings.Repeat("-", 36)+".mp4", "")), nil, 200},
			{"something deleted", strings.Replace(good, "ObjectCreated:Put", "ObjectRemoved:Delete", 1), nil, 200},
			{"a key that cannot be decoded", eventOf(eventRecord("bucket", "recordings/%zz.mp4", "")), nil, 200},
			{"a file that is not there", eventOf(eventRecord("bucket", runningKey, "video/mp4")), nil, 200},
		} {
			if got := f.post(row.body, row.change...); got != row.want {
				t.Errorf("%s: %d, want %d", row.name, got, row.want)
			}
			f.work()
			if r := f.row(id); r.Status != active {
				t.Fatalf("%s: it was believed: %s", row.name, statusName(r.Status))
			}
		}
		f.wantStatus(running.GetId(), active)
		// And now the truth, twice.
		for range 2 {
			if got := f.post(good); got != 200 {
				t.Errorf("the true event: %d", got)
			}
			f.work()
		}
		f.work()
		f.wantStatus(id, notified)
		if len(f.outside.told) != 1 {
			t.Errorf("told %v, want one", f.outside.told)
		}
	})
}

func fuzzStorageEvent(f *testing.F, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		objects, err := parseStorageEvent(body)
		if err != nil && len(objects) > 0 {
			t.Errorf("%q: %v, and objects", body, err)
		}
		for _, o := range objects {
			if o.bucket == "" || len(o.keys) > 2 || slices.Contains(o.keys[:min(1, len(o.keys))], "") {
				t.Errorf("%q was read as %+v", body, o)
			}
			for _, key := range o.keys {
				if !text.Storable(key) {
					t.Errorf("%q was read as %+v, which PostgreSQL does not take", body, o)
				}
			}
		}
	})
}

func FuzzStorageEventMinIO(f *testing.F) {
	fuzzStorageEvent(f,
		`{"EventName":"s3:ObjectCreated:Put","Key":"bucket/recordings/x.mp4",`+eventOf(eventRecord("bucket", "recordings%2Fx.mp4", "video/mp4"))[1:],
		eventOf(eventRecord("bucket", "a+b%20c", "audio/ogg")), eventOf(eventRecord("bucket", "a%00%ff", "")), `{"Records":null}`)
}

func FuzzStorageEventS3(f *testing.F) {
	fuzzStorageEvent(f,
		eventOf(strings.Replace(eventRecord("bucket", "recordings/x.mp4", ""), "s3:", "", 1)),
		`{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-22T00:00:00.000Z","Bucket":"bucket","RequestId":"x","HostId":"y"}`,
		`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k","size":-1}}}]}`)
}
