package telephony

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent/auditevent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

// LiveKit refuses the rule of a room because of another one. Whose that is decides what happens; the room can be dialled
// afterwards in any case.
func TestClashHeals(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		ready := func() uuid.UUID {
			room := w.room(waiting)
			w.join(room)
			w.mustDialIn(room)
			return room
		}
		add := func(name, room, pin string) string {
			return w.bridge.AddRule(phone.Rule{Name: name, Room: room, PIN: pin, TrunkIDs: w.trunks})
		}
		deleted := func(id string) bool {
			for _, r := range w.bridge.Rules() {
				if r.ID == id {
					return false
				}
			}
			return true
		}

		t.Run("the answer to its own creation was lost", func(t *testing.T) {
			defer w.in(t)()
			room := ready()
			lose := func() {
				t.Helper()
				w.gate.set(func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
					answer := forward()
					if call == "CreateSIPDispatchRule" {
						return broken()
					}
					return answer
				})
				_, err := w.OpenDialIn(t.Context(), &usherv1.OpenDialInRequest{RoomId: room.String()})
				wantFault(t, err, fault.ErrLiveKit)
				w.gate.set(nil)
			}
			lose()
			if n := w.mustEnd(room); n != 1 {
				t.Errorf("closing deleted %d rules, want the one whose answer was lost", n)
			}
			w.wantNoRule(room)
			lose()
			if w.mustOpen(room).GetCreated() {
				t.Error("another rule was made")
			}
			w.wantOneRule(room)
		})
		t.Run("its own rule, which nobody knows of", func(t *testing.T) {
			defer w.in(t)()
			room := ready()
			id := add(ruleName(room), room.String(), w.pinOf(room))
			if got := w.mustOpen(room).GetDispatchRuleId(); got != id {
				t.Errorf("opened %s, want %s to be adopted", got, id)
			}
			w.wantOneRule(room)
		})
		t.Run("that of a room that was deleted", func(t *testing.T) {
			defer w.in(t)()
			room := ready()
			stale := uuid.New()
			id := add(ruleName(stale), stale.String(), w.pinOf(room))
			pin := w.pinOf(room)
			w.mustOpen(room)
			if w.wantOneRule(room); w.pinOf(room) != pin || !deleted(id) {
				t.Errorf("PIN kept %t, orphan deleted %t", w.pinOf(room) == pin, deleted(id))
			}
		})
		t.Run("that of a room in which nobody is", func(t *testing.T) {
			defer w.in(t)()
			room, empty := ready(), w.room(direct)
			id := add(ruleName(empty), empty.String(), w.pinOf(room))
			w.mustOpen(room)
			if w.wantOneRule(room); !deleted(id) {
				t.Error("the orphan is there")
			}
		})
		t.Run("that of a room that is dialled", func(t *testing.T) {
			defer w.in(t)()
			room, other := ready(), ready()
			pin := w.pinOf(room)
			id := add(ruleName(other), other.String(), pin)
			w.mustOpen(room)
			if w.wantOneRule(room); w.pinOf(room) == pin || deleted(id) {
				t.Errorf("PIN changed %t, the other rule is there %t", w.pinOf(room) != pin, !deleted(id))
			}
			n, err := db.Read.AuditEvent.Query().Where(auditevent.RoomID(room), auditevent.Action("pin.rotated")).Count(t.Context())
			if n != 1 || err != nil {
				t.Errorf("%d events, %v, want one", n, err)
			}
			w.bridge.DeleteRule(id)
		})
		t.Run("one of another program", func(t *testing.T) {
			defer w.in(t)()
			for _, name := range []string{"", "front desk", "SIP_front-desk", "sip_" + uuid.NewString()} {
				room := ready()
				pin := w.pinOf(room)
				id := add(name, "front-desk", pin)
				w.mustOpen(room)
				if w.wantOneRule(room); w.pinOf(room) == pin || deleted(id) {
					t.Errorf("%q: PIN changed %t, the other rule is there %t", name, w.pinOf(room) != pin, !deleted(id))
				}
			}
		})
		t.Run("for all trunks", func(t *testing.T) {
			defer w.in(t)()
			room := ready()
			pin := w.pinOf(room)
			id := w.bridge.AddRule(phone.Rule{Name: "everywhere", Room: "front-desk", PIN: pin})
			w.mustOpen(room)
			// LiveKit does not take it for a clash, and prefers the rule of the trunk.
			if w.wantOneRule(room); w.pinOf(room) != pin || deleted(id) {
				t.Errorf("PIN kept %t, the other rule is there %t", w.pinOf(room) == pin, !deleted(id))
			}
			w.wantAccepted(room, numbers[0], pin)
		})
		t.Run("when a PIN is rotated", func(t *testing.T) {
			defer w.in(t)()
			room := ready()
			owner := w.owner(room)
			id := w.mustOpen(room).GetDispatchRuleId()
			other := add("front desk", "front-desk", "5555555555")
			w.write("5555555555")
			if _, err := w.RotatePin(as(t, owner), &usherv1.RotatePinRequest{Room: room.String()}); err != nil {
				t.Fatal(err)
			}
			if w.wantOneRule(room).ID != id || w.pinOf(room) == "5555555555" || deleted(other) {
				t.Error("the rule was replaced, or has the PIN of another program's")
			}
		})
	})
}

// Two rules that clash keep LiveKit from taking any other for their trunk. One of them goes if it is ours.
func TestClashHeals_pair(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		for _, ours := range []bool{true, false} {
			w := newFixture(t, db, 1)
			room := w.room(direct)
			w.join(room)
			stale := uuid.New()
			rule := phone.Rule{Name: "front desk", Room: "front-desk", PIN: "1234", TrunkIDs: w.trunks}
			if ours {
				rule.Name, rule.Room = ruleName(stale), stale.String()
			}
			w.makePair(rule)
			problems, err := w.Inspect(t.Context())
			if err != nil || !strings.Contains(strings.Join(problems, "\n"), "clash: LiveKit takes no calls") {
				t.Errorf("the operator is told %q, %v; want that two rules clash", problems, err)
			}
			res, err := w.OpenDialIn(t.Context(), &usherv1.OpenDialInRequest{RoomId: room.String()})
			if !ours {
				// Nothing that is not ours is deleted: it is said, and not as an error of the server.
				wantFault(t, err, fault.ErrConflict)
				continue
			}
			if err != nil || !res.GetCreated() {
				t.Fatalf("open: %v, %v", res, err)
			}
			w.wantOneRule(room)
			w.wantAccepted(room, numbers[0], w.pinOf(room))
		}
	})
}

// makePair has LiveKit store two equal rules, as it does for some of those who ask at the same time.
func (w *fixture) makePair(rule phone.Rule) {
	w.t.Helper()
	w.eventually("LiveKit has two equal rules", func() bool {
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() { _, _ = w.bridge.TryAddRule(rule) })
		}
		group.Wait()
		var found []string
		for _, r := range w.bridge.Rules() {
			if r.Name == rule.Name {
				found = append(found, r.ID)
			}
		}
		for i, id := range found {
			if i >= 2 || len(found) < 2 {
				w.bridge.DeleteRule(id)
			}
		}
		return len(found) >= 2
	})
}
