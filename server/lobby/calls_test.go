package lobby

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/meeting"
)

// testCall is a phone call of somebody.
func testCall(id, identity string) meeting.Call {
	return meeting.Call{ID: id, Identity: identity, Name: "Phone ··· " + identity[len(identity)-4:]}
}

// stand is how calls stand in a room with a lobby, in its first meeting.
func stand(t *testing.T, s *Store, room uuid.UUID, calls ...meeting.Call) []string {
	t.Helper()
	words, err := s.calls(t.Context(), room, 1, false, calls, false)
	if err != nil {
		t.Fatal(err)
	}
	return words
}

func wantStand(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the calls stand %v, want %v", got, want)
	}
}

// decideAbout decides about the entry of a call.
func decideAbout(t *testing.T, s *Store, room uuid.UUID, call meeting.Call, allow bool) *record {
	t.Helper()
	list, _, err := s.list(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(r *record) bool { return r.Call == call.ID })
	if i < 0 {
		t.Fatalf("call %s does not wait", call.ID)
	}
	return said(t, "new")(s.decide(t.Context(), room, list[i].ID, list[i].Etag, allow, 0, 1))
}

// A call waits once, however often it is seen, and what is decided is about that call: the next one with that number waits.
func TestCalls(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		room := uuid.New()
		one, other := testCall("SCL_1", "sip_1111"), testCall("SCL_2", "sip_2222")
		wantStand(t, stand(t, s, room, one, other), "new", "new")
		wantStand(t, stand(t, s, room, other, one), "waiting", "waiting")
		if got := names(t, s, room); !slices.Equal(got, []string{"Phone ··· 1111", "Phone ··· 2222"}) {
			t.Errorf("waiting = %v", got)
		}
		r := decideAbout(t, s, room, one, true)
		if r.Kind != kindPhone || r.call() != one {
			t.Errorf("the entry is %+v, want that of %+v", r, one)
		}
		wantStand(t, stand(t, s, room, one), "admitted")
		said(t, "ok")(s.runOne(t.Context(), callLiftedScript, room, arguments{ID: callEntry(room, one)}))
		wantStand(t, stand(t, s, room, one), "lifted")
		said(t, "gone")(s.runOne(t.Context(), callHeldScript, room, arguments{ID: callEntry(room, one)}))

		again := testCall("SCL_3", "sip_1111")
		wantStand(t, stand(t, s, room, again, one), "new", "lifted")
		decideAbout(t, s, room, again, false)
		wantStand(t, stand(t, s, room, again, testCall("SCL_4", "sip_1111"), other), "refused", "refused", "waiting")
		said(t, "ok")(s.runOne(t.Context(), callEndedScript, room, arguments{ID: callEntry(room, other)}))
		if got := names(t, s, room); len(got) != 0 {
			t.Errorf("waiting = %v, want nobody", got)
		}
	})
}

// A hold that could not be lifted is as before.
func TestCalls_heldAgain(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		room, call := uuid.New(), testCall("SCL_1", "sip_1111")
		stand(t, s, room, call, testCall("SCL_2", "sip_2222"))
		decideAbout(t, s, room, call, true)
		said(t, "ok")(s.runOne(t.Context(), callHeldScript, room, arguments{ID: callEntry(room, call)}))
		wantStand(t, stand(t, s, room, call), "waiting")
		if got := names(t, s, room); !slices.Equal(got, []string{"Phone ··· 1111", "Phone ··· 2222"}) {
			t.Errorf("waiting = %v, want both in their order", got)
		}
		decideAbout(t, s, room, call, true)
		wantStand(t, stand(t, s, room, call), "admitted")
	})
}

// Those who withhold their number share an identity: turning one away is not about the others.
func TestCalls_withheld(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		room, call := uuid.New(), testCall("SCL_1", "sip_0000")
		call.Withheld = true
		stand(t, s, room, call)
		decideAbout(t, s, room, call, false)
		next := call
		next.ID = "SCL_2"
		wantStand(t, stand(t, s, room, call, next), "refused", "new")
	})
}

// What was decided ends with the meeting, in both directions.
func TestCalls_nextMeeting(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		room, in, out := uuid.New(), testCall("SCL_1", "sip_1111"), testCall("SCL_2", "sip_2222")
		stand(t, s, room, in, out)
		decideAbout(t, s, room, in, true)
		decideAbout(t, s, room, out, false)
		words, err := s.calls(t.Context(), room, 2, false, []meeting.Call{in, testCall("SCL_3", "sip_2222")}, false)
		if err != nil {
			t.Fatal(err)
		}
		wantStand(t, words, "new", "new")
	})
}

// Clearing the lobby ends admissions of calls too.
func TestCalls_cleared(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		room, call := uuid.New(), testCall("SCL_1", "sip_1111")
		stand(t, s, room, call)
		decideAbout(t, s, room, call, true)
		if err := s.clear(t.Context(), room, 0); err != nil {
			t.Fatal(err)
		}
		wantStand(t, stand(t, s, room, call), "new")
	})
}

// Where callers enter directly nobody waits, and who did is admitted.
func TestCalls_direct(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		room, waited, comes := uuid.New(), testCall("SCL_1", "sip_1111"), testCall("SCL_2", "sip_2222")
		stand(t, s, room, waited)
		words, err := s.calls(t.Context(), room, 1, true, []meeting.Call{waited, comes}, false)
		if err != nil {
			t.Fatal(err)
		}
		wantStand(t, words, "admitted", "admitted")
		if got := names(t, s, room); len(got) != 0 {
			t.Errorf("waiting = %v, want nobody", got)
		}
		// The room gets a lobby: who is in stays in.
		wantStand(t, stand(t, s, room, waited, comes), "admitted", "admitted")
	})
}

// A call that is not in the meeting any more does not wait, and one that has just begun does. Guests with browsers are left
// alone.
func TestCalls_complete(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		room, call := uuid.New(), testCall("SCL_1", "sip_1111")
		said(t, "new")(s.refresh(t.Context(), guest(room, uuid.Nil), "Grace", 1, true))
		stand(t, s, room, call)
		none := func() []string {
			if _, err := s.calls(t.Context(), room, 1, false, nil, true); err != nil {
				t.Fatal(err)
			}
			return names(t, s, room)
		}
		if got := none(); !slices.Equal(got, []string{"Grace", "Phone ··· 1111"}) {
			t.Errorf("waiting = %v, want also the call that has just begun", got)
		}
		deadline := time.Now().Add(20 * time.Second)
		for got := none(); !slices.Equal(got, []string{"Grace"}); got = none() {
			if time.Now().After(deadline) {
				t.Fatalf("waiting = %v, want Grace only", got)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// A lobby that is full is full for callers too.
func TestCalls_full(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		s.Rules.Most = 1
		wantStand(t, stand(t, s, uuid.New(), testCall("SCL_1", "sip_1111"), testCall("SCL_2", "sip_2222")), "new", "full")
	})
}

// Seeing a call at the moment of a decision does not undo it.
func TestCalls_decidedMeanwhile(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		for range 30 {
			room, call := uuid.New(), testCall("SCL_1", "sip_1111")
			stand(t, s, room, call)
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					if _, err := s.calls(t.Context(), room, 1, false, []meeting.Call{call}, true); err != nil {
						t.Error(err)
					}
				})
			}
			decideAbout(t, s, room, call, true)
			group.Wait()
			wantStand(t, stand(t, s, room, call), "admitted")
		}
	})
}
