package telephony

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent/auditevent"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/jobs"
)

// rotations are the jobs of a fixture that change PINs.
func (w *fixture) rotations(queue *jobs.Client) (list []RotateJob) {
	w.t.Helper()
	found, err := queue.List(w.t.Context(), jobs.Filter{Kind: RotateJob{}.Kind(), Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, j := range found {
		var args RotateJob
		if err := json.Unmarshal(j.Args, &args); err != nil {
			w.t.Fatal(err)
		}
		list = append(list, args)
	}
	return list
}

// The operator has the PINs changed that open a meeting, once, however often the jobs are done.
func TestRotateLive(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		queue, err := jobs.New(db, nil, jobs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var open []uuid.UUID
		before := map[uuid.UUID]string{}
		for range 3 {
			room := w.room(direct)
			w.join(room)
			w.mustOpen(room)
			open = append(open, room)
			before[room] = w.pinOf(room)
		}
		idle := w.room(direct)
		w.mustDialIn(idle)
		before[idle] = w.pinOf(idle)
		if n, err := RotateLive(t.Context(), db, queue); err != nil || n != len(open) {
			t.Fatalf("%d rooms, %v, want %d", n, err, len(open))
		}
		second, _ := w.replica(db)
		list := w.rotations(queue)
		for _, s := range []*Service{w.Service, second} {
			var group sync.WaitGroup
			for _, j := range append(list, list...) {
				group.Go(func() {
					if err := s.Rotate(t.Context(), j); err != nil {
						t.Errorf("rotate: %v", err)
					}
				})
			}
			group.Wait()
		}
		n, err := db.Read.AuditEvent.Query().Where(auditevent.Action("pin.rotated"), auditevent.DetailContains("reason=operator")).
			Count(t.Context())
		if err != nil || n != len(open) {
			t.Errorf("%d PINs were changed, %v, want %d", n, err, len(open))
		}
		for _, room := range open {
			w.wantOneRule(room)
			w.wantRefused(numbers[0], before[room], phone.ErrWrongPIN)
			w.wantAccepted(room, numbers[0], w.pinOf(room))
		}
		if w.pinOf(idle) != before[idle] {
			t.Error("the PIN of a room that cannot be dialled was changed")
		}
		w.deleteRoom(idle)
		if err := w.Rotate(t.Context(), RotateJob{RoomID: idle, PINID: uuid.New()}); err != nil {
			t.Errorf("of a room that is gone: %v", err)
		}
	})
}

// Who calls before their meeting has begun hears nobody while no room of the trunk is open, and is told of a wrong PIN while
// one is. Whatever the bridges then count, PINs stay: only the operator has them changed.
func TestEarlyCaller(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db, 1)
		early, live := f.room(direct), f.room(direct)
		f.mustDialIn(early)
		pin := f.pinOf(early)
		f.wantRefused(numbers[0], pin, phone.ErrNoAnswer)
		f.join(live)
		f.mustOpen(live)
		livePIN := f.pinOf(live)
		f.wantRefused(numbers[0], pin, phone.ErrWrongPIN)

		w, say, value := newWatch(t)
		w.Alert = 30
		say(0, http.StatusOK, bridgeText("a", 0, 0))
		say(1, http.StatusOK, bridgeText("b", 0, 0))
		start := time.Now()
		w.look(t.Context(), start)
		say(0, http.StatusOK, bridgeText("a", 30, 0))
		w.look(t.Context(), start.Add(15*time.Second))
		if value("usher_wrong_pin_alert") != 1 {
			t.Error("30 wrong PINs are not told")
		}
		f.join(early)
		f.mustOpen(early)
		f.wantAccepted(early, numbers[0], pin)
		f.wantAccepted(live, numbers[0], livePIN)
	})
}
