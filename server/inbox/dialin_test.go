package inbox_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/meeting"
)

// dialled is a meeting and its dial-in.
type dialled struct {
	mu     sync.Mutex
	people []meeting.Participant
	open   bool
	calls  int
	// before runs ahead of each change; its error is the answer.
	before func(open bool) error
}

func (d *dialled) Participants(context.Context, uuid.UUID) ([]meeting.Participant, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.people) == 0 {
		return nil, meeting.ErrNotFound
	}
	return d.people, nil
}

func (d *dialled) set(ctx context.Context, open bool) error {
	if c := auth.FromContext(ctx); c.Kind != auth.System {
		return errors.New("not called as a part of the server")
	}
	d.mu.Lock()
	before := d.before
	d.calls++
	d.mu.Unlock()
	if before != nil {
		if err := before(open); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = open
	return nil
}

func (d *dialled) OpenDialIn(ctx context.Context, _ *usherv1.OpenDialInRequest) (*usherv1.OpenDialInResponse, error) {
	return &usherv1.OpenDialInResponse{}, d.set(ctx, true)
}

func (d *dialled) CloseDialIn(ctx context.Context, _ *usherv1.CloseDialInRequest) (*usherv1.CloseDialInResponse, error) {
	return &usherv1.CloseDialInResponse{}, d.set(ctx, false)
}

func kinds(list ...usherv1.ParticipantKind) (people []meeting.Participant) {
	for _, k := range list {
		people = append(people, meeting.Participant{Kind: k})
	}
	return people
}

const (
	web      = usherv1.ParticipantKind_PARTICIPANT_KIND_WEB
	phone    = usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE
	recorder = usherv1.ParticipantKind_PARTICIPANT_KIND_RECORDER
)

func TestDialIn(t *testing.T) {
	t.Parallel()
	refused := func(reason usherv1.ErrorReason) func(bool) error {
		// Not by New, which adds to what the program declares.
		return func(bool) error {
			return &fault.Error{Code: connect.CodeFailedPrecondition, Reason: reason, Message: "refused for this test"}
		}
	}
	tests := map[string]struct {
		people []meeting.Participant
		before func(bool) error
		open   bool
		fails  bool
	}{
		"somebody by browser":               {kinds(web), nil, true, false},
		"among others":                      {kinds(phone, recorder, web), nil, true, false},
		"callers and recorders only":        {kinds(phone, recorder), nil, false, false},
		"nobody":                            {nil, nil, false, false},
		"no telephony":                      {kinds(web), refused(usherv1.ErrorReason_ERROR_REASON_TELEPHONY_DISABLED), true, false},
		"the room is gone":                  {kinds(web), refused(usherv1.ErrorReason_ERROR_REASON_ROOM_NOT_FOUND), true, false},
		"LiveKit is down":                   {kinds(web), refused(usherv1.ErrorReason_ERROR_REASON_LIVEKIT_UNAVAILABLE), true, true},
		"the database is down":              {kinds(web), func(bool) error { return errors.New("gone") }, true, true},
		"another program made it meanwhile": {nil, refused(usherv1.ErrorReason_ERROR_REASON_CONFLICT), true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &dialled{people: test.people, open: true, before: test.before}
			err := (&inbox.DialIn{LiveKit: d, Telephony: d}).Follow(t.Context(), newEvent(meeting.ParticipantJoined))
			if (err != nil) != test.fails || d.open != test.open || d.calls != 1 {
				t.Errorf("%v; open %v, %d calls; want open %v by one call, and to fail: %v", err, d.open, d.calls, test.open, test.fails)
			}
		})
	}
}

// One replica closes on what it saw while somebody comes back and another replica opens: whoever acts last looks again.
func TestDialIn_concurrent(t *testing.T) {
	t.Parallel()
	d := &dialled{open: true}
	follow := func() error {
		return (&inbox.DialIn{LiveKit: d, Telephony: d}).Follow(t.Context(), newEvent(meeting.ParticipantLeft))
	}
	came := false
	d.before = func(open bool) error {
		if open || came {
			return nil
		}
		came = true
		d.mu.Lock()
		d.people = kinds(web)
		d.mu.Unlock()
		return follow() // opens, before this one closes
	}
	if err := follow(); err != nil || !d.open {
		t.Errorf("%v; open %v, want it to be open for who came", err, d.open)
	}

	// People who come and go all the time end the turn, and the job begins another.
	d.before = func(open bool) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.people = nil; !open {
			d.people = kinds(web)
		}
		return nil
	}
	if err := follow(); err == nil {
		t.Error("no end of coming and going: no error")
	}
}
