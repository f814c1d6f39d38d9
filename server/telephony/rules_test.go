package telephony

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

// A room can be dialled while somebody is in its meeting, and never else.
func TestOpenDialIn(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(waiting)
		open := func(id string) error {
			_, err := w.OpenDialIn(t.Context(), &usherv1.OpenDialInRequest{RoomId: id})
			return err
		}
		wantFault(t, open(room.String()), fault.ErrNotLive)
		wantFault(t, open(uuid.NewString()), auth.ErrRoomNotFound)
		wantFault(t, open("nonsense"), fault.ErrInvalid)
		w.wantNoRule(room)
		if n := w.mustClose(room); n != 0 {
			t.Errorf("closing a room that was never open deleted %d", n)
		}

		ada := w.join(room)
		first := w.mustOpen(room)
		if !first.GetCreated() || first.GetDispatchRuleId() != w.wantOneRule(room).ID {
			t.Errorf("the first open: %v", first)
		}
		w.wantAccepted(room, numbers[0], w.pinOf(room))
		w.gate.took()
		if again := w.mustOpen(room); again.GetCreated() || again.GetDispatchRuleId() != first.GetDispatchRuleId() {
			t.Errorf("the second open: %v, want the same rule", again)
		}
		if calls := w.gate.took(); len(calls) != 2 || calls["ListParticipants"] != 1 || calls["UpdateSIPDispatchRule"] != 1 {
			t.Errorf("opening what is open asked LiveKit %v, want who is there, and whether it has the rule", calls)
		}
		if err := w.Settle(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		if calls := w.gate.took(); len(calls) != 1 || calls["ListParticipants"] != 1 {
			t.Errorf("opening what is open, for an event, asked LiveKit %v, want who is there", calls)
		}
		if n := w.mustClose(room); n != 1 {
			t.Errorf("closing deleted %d rules, want 1", n)
		}
		w.wantNoRule(room)
		w.wantRefused(numbers[0], w.pinOf(room), phone.ErrNoAnswer)
		if n := w.mustClose(room); n != 0 {
			t.Errorf("closing again deleted %d rules", n)
		}

		// A caller alone does not keep it open: nobody is there who came by browser.
		w.mustOpen(room)
		w.bridge.MustDial("+33600000001", numbers[0], w.pinOf(room))
		w.mustClose(room)
		w.leave(room, ada)
		wantFault(t, open(room.String()), fault.ErrNotLive)
	})
}

// Three servers, 50 opens and closes at once: never more than one rule, and none left behind.
func TestOneRulePerRoom_concurrent(t *testing.T) {
	t.Parallel()
	for name, newURL := range map[string]func(testing.TB) string{"postgres": testenv.PostgresURL, "sqlite": testenv.SQLiteURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := newURL(t)
			w := newFixture(t, mustDB(t, address), 1)
			servers := []*Service{w.Service}
			for range 2 {
				s, _ := w.replica(mustDB(t, address))
				servers = append(servers, s)
			}
			room := w.room(waiting)
			w.join(room)
			stop, watched := make(chan struct{}), make(chan int)
			go func() { watched <- w.mostRules(room, stop) }()
			for round := range 5 {
				var group sync.WaitGroup
				failures := make(chan error, 50)
				for n := range 50 {
					group.Go(func() {
						s := servers[n%len(servers)]
						var err error
						if n%2 == 0 {
							_, err = s.OpenDialIn(t.Context(), &usherv1.OpenDialInRequest{RoomId: room.String()})
						} else {
							_, err = s.CloseDialIn(t.Context(), &usherv1.CloseDialInRequest{RoomId: room.String()})
						}
						failures <- err
					})
				}
				group.Wait()
				close(failures)
				for err := range failures {
					if err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				}
				w.mustOpen(room)
				w.wantOneRule(room)
				w.mustClose(room)
				w.wantNoRule(room)
			}
			close(stop)
			if most := <-watched; most > 1 {
				t.Errorf("at one moment LiveKit had %d rules of the room", most)
			}
		})
	}
}

// mostRules is the largest number of rules that LiveKit had of a room until stop.
func (w *fixture) mostRules(room uuid.UUID, stop chan struct{}) (most int) {
	for {
		select {
		case <-stop:
			return most
		default:
			most = max(most, len(w.rules(room)))
		}
	}
}

func mustDB(t *testing.T, address string) *dbtx.DB {
	t.Helper()
	db, err := dbtx.Open(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestRotateWhileLive(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		owner, ada := w.owner(room), w.join(room)
		id, old := w.mustOpen(room).GetDispatchRuleId(), w.pinOf(room)
		caller := w.bridge.MustDial("+33600000001", numbers[0], old)
		ada.Hears(caller.Identity())

		res, err := w.RotatePin(as(t, owner), &usherv1.RotatePinRequest{Room: room.String()})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.GetDialIn().GetPin(); got == old || got != w.pinOf(room) || res.GetOutstandingInvitationCount() != 0 {
			t.Errorf("answer with the old PIN, or not the room's: %t %t", got == old, got != w.pinOf(room))
		}
		if w.wantOneRule(room).ID != id {
			t.Error("the rule was replaced, not changed in place")
		}
		w.wantRefused(numbers[0], old, phone.ErrWrongPIN)
		w.wantAccepted(room, numbers[0], w.pinOf(room))
		ada.Speak()
		caller.Hears(ada.Identity()) // who is in stays in

		// LiveKit cannot be told: the caller of RotatePin hears so, and the next look repairs it.
		w.gate.set(func(string, func() *httptest.ResponseRecorder) *httptest.ResponseRecorder { return broken() })
		before := w.pinOf(room)
		_, err = w.RotatePin(as(t, owner), &usherv1.RotatePinRequest{Room: room.String()})
		wantFault(t, err, fault.ErrLiveKit)
		if strings.Contains(fmt.Sprint(err), before) || strings.Contains(fmt.Sprint(err), w.pinOf(room)) || w.pinOf(room) == before {
			t.Errorf("PIN changed %t, error %v", w.pinOf(room) != before, err)
		}
		w.gate.set(nil)
		w.mustOpen(room)
		w.wantOneRule(room)
		w.wantRefused(numbers[0], before, phone.ErrWrongPIN)
	})
}

func TestPhonePolicyRefuse(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(refused)
		w.join(room)
		_, err := w.OpenDialIn(t.Context(), &usherv1.OpenDialInRequest{RoomId: room.String()})
		wantFault(t, err, ErrDisabled)
		_, err = w.GetDialIn(as(t, nil), &usherv1.GetDialInRequest{Room: room.String()})
		wantFault(t, err, ErrDisabled)
		if d, err := w.DialIns(t.Context(), must(db.Read.Room.Get(t.Context(), room))(t)); err != nil || len(d) != 0 || w.pinOf(room) != "" {
			t.Errorf("a room that refuses callers: %v, %v, has a PIN %t", d, err, w.pinOf(room) != "")
		}
		w.wantNoRule(room)

		// The policy changes while people meet: the rule follows.
		for _, policy := range []usherv1.PhonePolicy{waiting, direct, refused, direct, waiting, refused} {
			w.setPolicy(room, policy)
			if err := w.Settle(t.Context(), room); err != nil {
				t.Fatal(err)
			}
			if policy == refused {
				w.wantNoRule(room)
				w.wantRefused(numbers[0], w.pinOf(room), phone.ErrNoAnswer)
			} else {
				w.wantOneRule(room)
				w.wantAccepted(room, numbers[0], w.pinOf(room))
			}
		}
	})
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Deleting a room frees its PIN and its rule.
func TestSettle_deletedRoom(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		w.join(room)
		w.mustOpen(room)
		w.deleteRoom(room)
		if err := w.Settle(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		w.wantNoRule(room)
		if row, err := w.row(t.Context(), room); row != nil || err != nil {
			t.Errorf("row %v, %v, want none", row, err)
		}
		if len(w.resting()) != 1 {
			t.Errorf("%d PINs rest, want the room's", len(w.resting()))
		}
	})
}

// A room that moves to another trunk while people meet has a rule there, and none on the old one.
func TestSettle_movesToAnotherTrunk(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 2)
		all := w.Trunks.Configured
		w.Trunks.Configured = all[:1]
		room := w.room(direct)
		w.join(room)
		w.mustOpen(room)
		old := w.pinOf(room)
		moved, _ := w.replica(db)
		moved.Trunks.Configured = all[1:]
		w.Service = moved
		w.mustOpen(room)
		w.wantOneRule(room)
		w.wantAccepted(room, numbers[1], w.pinOf(room))
		w.wantRefused(numbers[0], old, phone.ErrNoAnswer)
	})
}

// One rule cannot be deleted: the others are, all failures are reported, and the next close does the rest.
func TestPartialDeleteFailure(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		w.join(room)
		known := w.mustOpen(room).GetDispatchRuleId()
		var extra []string
		for _, pin := range []string{"1111", "2222", "3333"} {
			extra = append(extra, w.bridge.AddRule(phone.Rule{Name: ruleName(room), Room: room.String(), PIN: pin, TrunkIDs: w.trunks}))
		}
		if err := db.Run(t.Context(), func(tx *ent.Client) error { return markStale(t.Context(), tx, room) }); err != nil {
			t.Fatal(err)
		}
		deletes := 0
		w.gate.set(func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			if call == "DeleteSIPDispatchRule" {
				if deletes++; deletes <= 2 {
					return broken()
				}
			}
			return forward()
		})
		_, err := w.CloseDialIn(t.Context(), &usherv1.CloseDialInRequest{RoomId: room.String()})
		wantFault(t, err, fault.ErrLiveKit)
		if deletes != 4 || strings.Count(err.Error(), "rule SDR_") != 2 {
			t.Errorf("%d deletes were tried, want 4; the error should name 2 rules: %v", deletes, err)
		}
		if left := w.rules(room); len(left) != 2 {
			t.Errorf("%d rules are left, want the two that could not be deleted", len(left))
		}
		w.gate.set(nil)
		if n := w.mustClose(room); n != 2 {
			t.Errorf("the next close deleted %d rules, want 2 of %s and %v", n, known, extra)
		}
		w.wantNoRule(room)

		// LiveKit does not answer at all.
		w.mustOpen(room)
		w.gate.set(func(string, func() *httptest.ResponseRecorder) *httptest.ResponseRecorder { return broken() })
		_, err = w.CloseDialIn(t.Context(), &usherv1.CloseDialInRequest{RoomId: room.String()})
		wantFault(t, err, fault.ErrLiveKit)
		w.gate.set(nil)
		if n := w.mustClose(room); n != 1 {
			t.Errorf("once LiveKit is back a close deleted %d rules, want 1", n)
		}
		w.wantNoRule(room)
	})
}

// A server that dies while it has the lease keeps others waiting for no longer than that, and what it did is found out.
func TestLease_holderDies(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		w.join(room)
		// It died after LiveKit made the rule, and before it wrote down which.
		die := func(room, lease uuid.UUID) (rule string) {
			p, err := w.ensurePIN(t.Context(), room, w.Trunks.Known())
			if err != nil {
				t.Fatal(err)
			}
			long := w.Lease
			w.Lease = 500 * time.Millisecond // those who find it have more time for what they do
			if _, _, taken, err := w.tryTake(t.Context(), room, lease); err != nil || !taken {
				t.Fatalf("take: %t, %v", taken, err)
			}
			w.Lease = long
			made := wanted{room: room, pin: p, trunks: w.Trunks.Known()}
			if rule, err = w.LiveKit.CreateRule(t.Context(), made.rule("")); err != nil {
				t.Fatal(err)
			}
			return rule
		}
		closed := w.room(direct)
		die(closed, uuid.New())
		if n := w.mustEnd(closed); n != 1 {
			t.Errorf("closing deleted %d rules, want the one that nobody knows of", n)
		}
		w.wantNoRule(closed)

		dead := uuid.New()
		id := die(room, dead)
		res := w.mustOpen(room)
		if res.GetDispatchRuleId() != id || res.GetCreated() {
			t.Errorf("opened %v, want the rule that was made", res)
		}
		w.wantOneRule(room)

		// It was not dead, only slow: what it writes now does not count.
		if err := w.release(t.Context(), room, dead, ruleState{}); err != nil {
			t.Fatal(err)
		}
		row, err := w.row(t.Context(), room)
		if err != nil || row.RuleID != id || !row.Doubtful {
			t.Errorf("row %v, %v, want the rule, in doubt", row, err)
		}
		w.mustOpen(room)
		w.wantOneRule(room)
	})
}

// Who waits for a lease gives up when the caller does, and leaves nothing behind.
func TestLease_callerGivesUp(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		w.join(room)
		holder := uuid.New()
		if _, _, taken, err := w.tryTake(t.Context(), room, holder); err != nil || !taken {
			t.Fatalf("take: %t, %v", taken, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := w.OpenDialIn(ctx, &usherv1.OpenDialInRequest{RoomId: room.String()}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		if err := w.release(t.Context(), room, holder, ruleState{}); err != nil {
			t.Fatal(err)
		}
		w.mustOpen(room)
		w.wantOneRule(room)

		// A caller who gives up in the middle leaves no lease: the next one need not wait for it to end.
		ctx, giveUp := context.WithCancel(t.Context())
		defer giveUp()
		w.gate.set(func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
			if call == "DeleteSIPDispatchRule" {
				giveUp()
			}
			return forward()
		})
		_, _ = w.CloseDialIn(ctx, &usherv1.CloseDialInRequest{RoomId: room.String()})
		w.gate.set(nil)
		w.mustClose(room)
		w.wantNoRule(room)
	})
}

// What opening and closing ask of LiveKit is the same however many rules there are.
func TestOpenDialIn_cost(t *testing.T) {
	t.Parallel()
	w := newFixture(t, testenv.SQLite(t), 1)
	cost := func() string {
		room := w.room(direct)
		w.join(room)
		w.gate.took()
		w.mustOpen(room)
		if done, err := w.close(t.Context(), room); err != nil || done.deleted != 1 { // as when the last person leaves
			t.Fatalf("close: %+v, %v", done, err)
		}
		return fmt.Sprint(w.gate.took())
	}
	w.mustDialIn(w.room(direct))
	alone := cost()
	for n := range 200 {
		w.bridge.AddRule(phone.Rule{Name: "SIP_" + uuid.NewString(), Room: "x", PIN: fmt.Sprint(10000 + n), TrunkIDs: w.trunks})
	}
	if among := cost(); among != alone || strings.Contains(alone, "List"+"SIPDispatchRule") {
		t.Errorf("among 200 rules LiveKit was asked %s, alone %s", among, alone)
	}
}

// A service that opens or closes a room is told what LiveKit has, whatever others did to its rules meanwhile.
func TestDialIn_othersChangedRules(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		w.join(room)
		first := w.mustOpen(room)
		if again := w.mustOpen(room); again.GetCreated() || again.GetDispatchRuleId() != first.GetDispatchRuleId() {
			t.Errorf("opened again: %v, want the rule %s", again, first.GetDispatchRuleId())
		}

		// LiveKit lost it.
		if err := w.LiveKit.DeleteRule(t.Context(), first.GetDispatchRuleId()); err != nil {
			t.Fatal(err)
		}
		second := w.mustOpen(room)
		if !second.GetCreated() || second.GetDispatchRuleId() == first.GetDispatchRuleId() {
			t.Errorf("opened after LiveKit lost its rule: %v, want another one", second)
		}
		w.wantOneRule(room)

		// Somebody made others, with other PINs, and one of a room that is none of ours.
		for _, pin := range []string{"1111", "2222"} {
			w.bridge.AddRule(phone.Rule{Name: ruleName(room), Room: room.String(), PIN: pin, TrunkIDs: w.trunks})
		}
		other := w.room(direct)
		w.bridge.AddRule(phone.Rule{Name: ruleName(other), Room: other.String(), PIN: "3333", TrunkIDs: w.trunks})
		if n := w.mustClose(room); n != 3 {
			t.Errorf("%d rules were deleted, want 3", n)
		}
		w.wantNoRule(room)
		if left := w.rules(other); len(left) != 1 {
			t.Errorf("%d rules of another room are left, want 1", len(left))
		}

		// A room that never was one here.
		gone := uuid.New()
		w.bridge.AddRule(phone.Rule{Name: ruleName(gone), Room: gone.String(), PIN: "4444", TrunkIDs: w.trunks})
		if n := w.mustClose(gone); n != 1 {
			t.Errorf("%d rules of a room that is gone were deleted, want 1", n)
		}
		if row, err := w.row(t.Context(), gone); row != nil || err != nil {
			t.Errorf("the row of a room that is gone: %v, %v; want none", row, err)
		}
		if n := w.mustClose(gone); n != 0 {
			t.Errorf("closed again: %d, want 0", n)
		}
	})
}

func FuzzRuleRoom(f *testing.F) {
	f.Add("SIP_0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10")
	f.Add("SIP_0F6F1C9E-6A3F-4C0E-9D0E-3D1C2B5A7E10")
	f.Add("SIP_{0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10}")
	f.Add("sip_x")
	f.Fuzz(func(t *testing.T, name string) {
		if id, ok := ruleRoom(name); ok && ruleName(id) != name {
			t.Errorf("%q counts as the rule of %s, which is called %q", name, id, ruleName(id))
		}
	})
}
