package recordings

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
)

// StorageHook takes the events of the storage: POST /webhooks/storage. What they say is not believed: each only has the
// recording settled whose file it names.
type StorageHook struct {
	Service *Service
	// Secret is sent by the storage as bearer token, or as the password of basic authentication. Required.
	Secret string
	// Count is told what became of how many objects, for the metrics. Required.
	Count func(outcome string, objects int)
}

// maxEvent is the size of an event that is read, in bytes.
const maxEvent = 1 << 20

// ServeHTTP answers 200 as soon as what follows is stored, and to all that means nothing here: the storage would send it
// again and again otherwise.
func (h StorageHook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.authentic(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="usher storage events", Basic realm="usher storage events"`)
		http.Error(w, "send the secret of storage events as bearer token, or as password", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, "the event is larger than 1 MiB", http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "the event cannot be read", http.StatusBadRequest)
		return
	}
	objects, err := parseStorageEvent(body)
	if err != nil {
		http.Error(w, "the body is not an event of an S3 store", http.StatusBadRequest)
		return
	}
	told := len(objects)
	objects = slices.DeleteFunc(objects, func(o storedObject) bool { return len(o.keys) == 0 })
	n, err := h.Service.filesStored(r.Context(), objects)
	if err != nil {
		h.Service.Log.ErrorContext(r.Context(), "storage event cannot be stored", "err", err)
		http.Error(w, "the event could not be stored: send it again", http.StatusServiceUnavailable)
		return
	}
	h.Count("recording", n)
	h.Count("ignored", max(0, len(objects)-n))
	h.Count("unstorable", told-len(objects))
	h.Service.Log.InfoContext(r.Context(), "storage event", "records", told, "recordings", n)
	w.WriteHeader(http.StatusOK)
}

// authentic compares hashes: that takes as long for every secret that is sent.
func (h StorageHook) authentic(r *http.Request) bool {
	sent, ok := "", false
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if found && strings.EqualFold(scheme, "Bearer") {
		sent, ok = strings.TrimSpace(token), true
	} else if _, password, basic := r.BasicAuth(); basic {
		sent, ok = password, true
	}
	return ok && len(r.Header.Values("Authorization")) == 1 && sameSecret(sent, h.Secret)
}

// sameSecret compares in constant time. No secret equals an empty one.
func sameSecret(sent, secret string) bool {
	a, b := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(secret))
	return secret != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// filesStored is the storage's word that files are there: the second signal. The recordings that wait for one of them are
// looked at by jobs: the storage must not wait for LiveKit. It returns how many those are.
func (s *Service) filesStored(ctx context.Context, objects []storedObject) (int, error) {
	var keys []string
	for _, o := range objects {
		if o.bucket == s.Bucket && s.Bucket != "" {
			keys = append(keys, o.keys...)
		}
	}
	if len(keys) == 0 {
		return 0, nil
	}
	ids, err := s.DB.Read.Recording.Query().Where(recording.ObjectKeyIn(keys...),
		recording.Or(recording.StatusIn(unsettled...), recording.StatusEQ(failed), recording.PurgeTimeNotNil())).IDs(ctx)
	if err != nil {
		return 0, fmt.Errorf("find recordings: %w", err)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	return len(ids), s.DB.Run(ctx, func(tx *ent.Client) error {
		for _, id := range ids {
			if err := s.Jobs.Enqueue(ctx, tx, SettleJob{RecordingID: id}); err != nil {
				return err
			}
		}
		return nil
	})
}
