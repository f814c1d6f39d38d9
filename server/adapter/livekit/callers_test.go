package livekit

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

// Nobody but people on the phone is ever unmuted: LiveKit, whose switch is for all, is not even asked.
func TestUnmuteCaller_others(t *testing.T) {
	t.Parallel()
	c, err := New(Config{URL: "http://127.0.0.1:1", Key: "test-key", Secret: "test-secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for kind := range usherv1.ParticipantKind_name {
		p := meeting.Participant{Identity: "p_test", Kind: usherv1.ParticipantKind(kind)}
		err := c.UnmuteCaller(t.Context(), uuid.New(), p, "TR_test")
		asked, want := errors.Is(err, meeting.ErrUnavailable), p.Kind == usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE
		if err == nil || asked != want {
			t.Errorf("%v: %v, want LiveKit asked: %v", p.Kind, err, want)
		}
	}
}
