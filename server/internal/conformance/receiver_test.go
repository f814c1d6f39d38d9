//go:build conformance

package conformance

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/utils/protojson"
)

// delivery is one time that LiveKit sent an event.
type delivery struct {
	*livekit.WebhookEvent
	header http.Header
	body   []byte
	time   time.Time
	// answer is the status that it was answered with.
	answer int
}

// receiver takes webhooks, and answers as it is told to.
type receiver struct {
	mu      sync.Mutex
	got     []delivery
	answers map[string]func(nth int) int
}

// answer says how the events of a room are answered from now on. nth counts those that were sent, from 0, repeats included.
func (r *receiver) answer(room string, status func(nth int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[room] = status
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	d := delivery{WebhookEvent: &livekit.WebhookEvent{}, header: req.Header, body: body, time: time.Now(), answer: http.StatusOK}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, d.WebhookEvent); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	room := roomOf(d.WebhookEvent)
	if status := r.answers[room]; status != nil {
		nth := 0
		for _, before := range r.got {
			if roomOf(before.WebhookEvent) == room {
				nth++
			}
		}
		d.answer = status(nth)
	}
	r.got = append(r.got, d)
	r.mu.Unlock()
	w.WriteHeader(d.answer)
}

func roomOf(e *livekit.WebhookEvent) string {
	if e.GetRoom() != nil {
		return e.GetRoom().GetName()
	}
	return e.GetEgressInfo().GetRoomName()
}

// about are the deliveries about a room so far, in the order in which they came; kinds leave out others.
func (r *receiver) about(room string, kinds ...string) []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []delivery
	for _, d := range r.got {
		if roomOf(d.WebhookEvent) == room && (len(kinds) == 0 || slices.Contains(kinds, d.GetEvent())) {
			found = append(found, d)
		}
	}
	return found
}

// kinds are the types of the events about a room so far, for messages.
func (r *receiver) kinds(room string) []string {
	var kinds []string
	for _, d := range r.about(room) {
		kinds = append(kinds, d.GetEvent())
	}
	return kinds
}

// await waits for the nth delivery about a room that is of that type, from 1.
func (r *receiver) await(t *testing.T, room, kind string, nth int) delivery {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if got := r.about(room, kind); len(got) >= nth {
			return got[nth-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: delivery %d of %s; there were %v", patience, nth, kind, r.kinds(room))
		}
	}
}

// hasFields reports whether a JSON object has values for all of these.
func hasFields(t *testing.T, object []byte, names ...string) bool {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(object, &fields); err != nil {
		t.Fatal(err)
	}
	return !slices.ContainsFunc(names, func(name string) bool { return fields[name] == nil })
}
