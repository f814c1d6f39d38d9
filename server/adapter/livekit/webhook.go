package livekit

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/utils/protojson"
	"github.com/livekit/protocol/webhook"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/server/meeting"
)

const (
	// maxWebhook is how long an event may be.
	maxWebhook = 1 << 20
	// maxWebhookAge is how old an event may be. LiveKit itself gives up after half a minute.
	maxWebhookAge = 10 * time.Minute
)

// Webhook receives LiveKit's events: it verifies them, puts them in the terms of server/meeting and hands them on. It
// answers 401 to what LiveKit did not sign, 400 to what cannot be read, 200 to what was taken, does not concern us or can
// never be stored, and 500 when an event could not be stored. LiveKit repeats only what was answered with 429 or 500 and up,
// and holds back later events of that room meanwhile, so nothing else happens before the answer.
type Webhook struct {
	// Keys are LiveKit's API keys and their secrets. Required.
	Keys map[string]string
	// Receive stores an event. It reports whether it was new. Required.
	Receive func(ctx context.Context, e meeting.Event) (fresh bool, err error)
	// Wants says which types are stored. Required.
	Wants func(t meeting.EventType) bool
	// Failed is told why an event could not be stored. Required.
	Failed func(ctx context.Context, err error)

	outcomes *prometheus.CounterVec
}

// Register shows in the metrics what became of events.
func (h *Webhook) Register(reg prometheus.Registerer) {
	h.outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "usher_webhooks_total",
		Help: "Events from LiveKit by outcome: stored, repeated, ignored, old (ignored too), unstorable (ignored too: a name " +
			"has NUL in it), refused (not signed), unreadable, failed.",
	}, []string{"outcome"})
	reg.MustRegister(h.outcomes)
}

// ServeHTTP implements http.Handler for POST.
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	outcome, status := h.serve(w, r)
	h.outcomes.WithLabelValues(outcome).Inc()
	if status != http.StatusOK {
		http.Error(w, http.StatusText(status), status)
	}
}

func (h *Webhook) serve(w http.ResponseWriter, r *http.Request) (outcome string, status int) {
	if !authentic(r.Header.Get("Authorization"), h.Keys) {
		return "refused", http.StatusUnauthorized // before the body is read
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
	if err != nil {
		return "unreadable", http.StatusBadRequest
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if _, err := webhook.Receive(r, auth.NewFileBasedKeyProviderFromMap(h.Keys)); err != nil {
		return "refused", http.StatusUnauthorized
	}
	var event livekit.WebhookEvent
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}).Unmarshal(body, &event); err != nil {
		return "unreadable", http.StatusBadRequest
	}
	e, ours := eventView(&event)
	switch {
	case event.GetId() == "" || event.GetCreatedAt() == 0:
		return "unreadable", http.StatusBadRequest
	case time.Since(e.Time) > maxWebhookAge:
		return "old", http.StatusOK
	case !ours || !h.Wants(e.Type):
		return "ignored", http.StatusOK
	case !e.Storable():
		return "unstorable", http.StatusOK
	}
	fresh, err := h.Receive(r.Context(), e)
	switch {
	case err != nil:
		h.Failed(r.Context(), err)
		return "failed", http.StatusInternalServerError
	case !fresh:
		return "repeated", http.StatusOK
	}
	return "stored", http.StatusOK
}

// authentic reports whether a token is signed with one of the keys, and ends: LiveKit's verification refuses one that would
// be good for ever in the hands of whoever overheard it.
func authentic(token string, keys map[string]string) bool {
	v, err := auth.ParseAPIToken(token)
	if err != nil || keys[v.APIKey()] == "" {
		return false
	}
	_, _, err = v.Verify(keys[v.APIKey()])
	return err == nil
}

// eventView puts an event in the terms of server/meeting. It is not ours when it is about another program's room.
func eventView(event *livekit.WebhookEvent) (e meeting.Event, ours bool) {
	e = meeting.Event{
		ID: event.GetId(), Type: meeting.EventType(event.GetEvent()), Time: time.Unix(event.GetCreatedAt(), 0).UTC(),
		RoomSID: event.GetRoom().GetSid(),
	}
	name := event.GetRoom().GetName()
	if event.GetRoom().GetCreationTime() != 0 {
		e.RoomStart = startTime(event.GetRoom())
	}
	if p := event.GetParticipant(); p != nil {
		view := participant(p)
		e.Participant = &view
	}
	if t := event.GetTrack(); t != nil {
		e.Track = &tracks([]*livekit.TrackInfo{t})[0]
	}
	if info := event.GetEgressInfo(); info != nil {
		e.Egress, name = egressView(info), info.GetRoomName()
	}
	e.RoomID, ours = roomID(name)
	return e, ours
}
