package livekit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// signed is the Authorization header of a body, as LiveKit makes it; claims change it.
func signed(t *testing.T, body string, key, secret string, change func(jwt.MapClaims)) string {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	claims := jwt.MapClaims{
		"iss": key, "nbf": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
		"sha256": base64.StdEncoding.EncodeToString(sum[:]),
	}
	if change != nil {
		change(claims)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// event is the JSON of an event about a room.
func event(t *testing.T, kind, id, room string, at time.Time) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"event": kind, "id": id, "createdAt": at.Unix(), "room": map[string]any{"name": room, "sid": "RM_test"},
		"aFieldOfANewerLiveKit": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	const key, secret, other = "test-key", "test-secret-of-32-characters-or-more", "test-second-secret-of-32-characters"
	room := uuid.NewString()
	good := event(t, "room_finished", "EV_1", room, time.Now())
	sign := func(body string) string { return signed(t, body, key, secret, nil) }
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": key}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		body, token string
		status      int
		outcome     string
		fail        error
	}{
		"an event":                   {good, sign(good), 200, "stored", nil},
		"signed with another key":    {good, signed(t, good, "test-key-2", other, nil), 200, "stored", nil},
		"no signature":               {good, "", 401, "refused", nil},
		"no JWT":                     {good, "Bearer abc", 401, "refused", nil},
		"not signed":                 {good, none, 401, "refused", nil},
		"an unknown key":             {good, signed(t, good, "test-stranger", secret, nil), 401, "refused", nil},
		"an empty secret":            {good, signed(t, good, "test-empty", "", nil), 401, "refused", nil},
		"the secret of another key":  {good, signed(t, good, key, other, nil), 401, "refused", nil},
		"another body":               {strings.Replace(good, room, uuid.NewString(), 1), sign(good), 401, "refused", nil},
		"one byte more":              {good + " ", sign(good), 401, "refused", nil},
		"expired":                    {good, signed(t, good, key, secret, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-2 * time.Minute).Unix() }), 401, "refused", nil},
		"not good yet":               {good, signed(t, good, key, secret, func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }), 401, "refused", nil},
		"good for ever":              {good, signed(t, good, key, secret, func(c jwt.MapClaims) { delete(c, "exp") }), 401, "refused", nil},
		"without a hash":             {good, signed(t, good, key, secret, func(c jwt.MapClaims) { delete(c, "sha256") }), 401, "refused", nil},
		"a token for the API":        {good, signed(t, good, key, secret, func(c jwt.MapClaims) { delete(c, "sha256"); c["video"] = map[string]bool{"roomList": true} }), 401, "refused", nil},
		"no JSON":                    {"{", sign("{"), 400, "unreadable", nil},
		"an empty body":              {"", sign(""), 400, "unreadable", nil},
		"too long":                   {strings.Repeat(" ", maxWebhook) + good, sign(good), 400, "unreadable", nil},
		"without an id":              {event(t, "room_finished", "", room, time.Now()), sign(event(t, "room_finished", "", room, time.Now())), 400, "unreadable", nil},
		"of eleven minutes ago":      {event(t, "room_finished", "EV_1", room, time.Now().Add(-11*time.Minute)), "", 200, "old", nil},
		"of nine minutes ago":        {event(t, "room_finished", "EV_1", room, time.Now().Add(-9*time.Minute)), "", 200, "stored", nil},
		"about another program":      {event(t, "room_finished", "EV_1", "daily-standup", time.Now()), "", 200, "ignored", nil},
		"a room in another spelling": {event(t, "room_finished", "EV_1", strings.ToUpper(room), time.Now()), "", 200, "ignored", nil},
		"of an unknown type":         {event(t, "agent_dreamed", "EV_1", room, time.Now()), "", 200, "ignored", nil},
		"that cannot be stored":      {good, sign(good), 500, "failed", errors.New("the database is gone")},
		"with NUL in its id":         {event(t, "room_finished", "EV_\x00", room, time.Now()), "", 200, "unstorable", nil},
		"a repeat":                   {event(t, "room_finished", "EV_old", room, time.Now()), "", 200, "repeated", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var received []meeting.Event
			metrics := prometheus.NewRegistry()
			h := &Webhook{
				Keys: map[string]string{key: secret, "test-key-2": other, "test-empty": ""},
				Receive: func(_ context.Context, e meeting.Event) (bool, error) {
					received = append(received, e)
					return e.ID != "EV_old", test.fail
				},
				Wants:  func(k meeting.EventType) bool { return k == meeting.RoomFinished },
				Failed: func(context.Context, error) {},
			}
			h.Register(metrics)
			if test.token == "" && name != "no signature" {
				test.token = sign(test.body)
			}
			r := httptest.NewRequest(http.MethodPost, "/webhooks/livekit", strings.NewReader(test.body))
			if test.token != "" {
				r.Header.Set("Authorization", test.token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("answer %d, want %d", w.Code, test.status)
			}
			if got := counted(t, metrics); got != test.outcome {
				t.Errorf("counted as %q, want %q", got, test.outcome)
			}
			switch test.outcome {
			case "stored", "repeated", "failed":
				if len(received) != 1 || received[0].RoomID.String() != room || received[0].RoomSID != "RM_test" || received[0].Type != meeting.RoomFinished {
					t.Errorf("received %+v", received)
				}
			default:
				if len(received) != 0 {
					t.Errorf("received %+v, want nothing", received)
				}
			}
		})
	}
}

// Whoever has no key of LiveKit's cannot make the server read a megabyte.
func TestWebhook_strangersAreNotRead(t *testing.T) {
	t.Parallel()
	const key, secret = "test-key", "test-secret-of-32-characters-or-more"
	h := &Webhook{Keys: map[string]string{key: secret}}
	h.Register(prometheus.NewRegistry())
	for name, token := range map[string]string{
		"no token": "", "no JWT": "Bearer abc", "another secret": signed(t, "", key, "test-another-secret-of-32-characters", nil),
		"good for ever": signed(t, "", key, secret, func(c jwt.MapClaims) { delete(c, "exp") }),
	} {
		body := strings.NewReader("anything")
		r := httptest.NewRequest(http.MethodPost, "/webhooks/livekit", body)
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized || body.Len() != len("anything") {
			t.Errorf("%s: answer %d, %d bytes left of the body; want 401, and all of them", name, w.Code, body.Len())
		}
	}
}

// counted is the one outcome in the metrics.
func counted(t *testing.T, metrics *prometheus.Registry) string {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("metrics: %v, %v", families, err)
	}
	return families[0].GetMetric()[0].GetLabel()[0].GetValue()
}

// What livekit-server really sends is understood: all of a meeting, from its beginning to its end.
func TestWebhook_real(t *testing.T) {
	t.Parallel()
	received := make(chan meeting.Event, 100)
	h := &Webhook{
		Keys: map[string]string{testenv.LiveKitKey: testenv.LiveKitSecret},
		Receive: func(_ context.Context, e meeting.Event) (bool, error) {
			received <- e
			return true, nil
		},
		Wants:  func(meeting.EventType) bool { return true },
		Failed: func(_ context.Context, err error) { t.Error(err) },
	}
	h.Register(prometheus.NewRegistry())
	receiver := httptest.NewServer(h)
	t.Cleanup(receiver.Close)
	server := testenv.LiveKit(t, receiver.URL)
	c := mustNew(t, Config{URL: server.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret})
	g := newGrant()
	join(t, c, g, "", nil)
	seen := map[meeting.EventType]meeting.Event{}
	wait := func(kind meeting.EventType) {
		for deadline := time.After(30 * time.Second); seen[kind].ID == ""; {
			select {
			case e := <-received:
				seen[e.Type] = e
			case <-deadline:
				t.Fatalf("no %s, but %v", kind, seen)
			}
		}
	}
	wait(meeting.ParticipantJoined)
	present, err := c.Meeting(t.Context(), g.Room)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CloseRoom(t.Context(), g.Room); err != nil {
		t.Fatal(err)
	}
	wait(meeting.RoomFinished)
	for kind, e := range seen {
		if e.RoomID != g.Room || e.RoomSID != present.SID || time.Since(e.Time) > time.Minute {
			t.Errorf("%s: %+v, want room %s and sid %s", kind, e, g.Room, present.SID)
		}
	}
	if start := seen[meeting.RoomStarted].RoomStart; !start.Equal(present.StartTime) {
		t.Errorf("the session began at %v, want %v", start, present.StartTime)
	}
	p := seen[meeting.ParticipantJoined].Participant
	if p == nil || p.Identity != g.Identity || p.Kind != usherv1.ParticipantKind_PARTICIPANT_KIND_WEB || p.Attributes["room_role"] != "MEMBER" {
		t.Errorf("participant %+v", p)
	}
}
