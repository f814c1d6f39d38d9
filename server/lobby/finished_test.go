package lobby

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// That a room is finished is heard late and more than once. It ends what belongs to meetings that are over, by the room's
// count, and leaves the next one alone.
func TestRoomFinished(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		ctx := t.Context()
		s := &Service{DB: db, Store: &Store{Redis: testenv.Redis(t).Client(t), Rules: testRules()}, Log: slog.New(slog.DiscardHandler)}
		var room *ent.Room
		run := func(fn func(tx *ent.Client) error) {
			t.Helper()
			if err := db.Run(ctx, fn); err != nil {
				t.Fatal(err)
			}
		}
		finished := func() {
			t.Helper()
			if err := s.RoomFinished(ctx, room.ID); err != nil {
				t.Fatal(err)
			}
		}
		run(func(tx *ent.Client) (err error) {
			room, err = tx.Room.Create().SetName("Room").SetNameKey("room").SetSlug("room").
				SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Save(ctx)
			return err
		})
		ann, bob := guest(room.ID, uuid.Nil), guest(room.ID, uuid.Nil)
		said(t, "new")(s.Store.refresh(ctx, ann, "Ann", 0, true))
		finished() // no meeting was counted: nothing is over
		wantNames(t, s.Store, room.ID, "Ann")
		run(func(tx *ent.Client) error { return tx.Room.UpdateOneID(room.ID).AddMeeting(1).Exec(ctx) })
		said(t, "new")(s.Store.refresh(ctx, bob, "Bob", 1, true))
		news := make(chan string, 100)
		subscribed := make(chan struct{})
		heard, stop := context.WithCancel(ctx)
		defer stop()
		once := sync.OnceFunc(func() { close(subscribed) })
		go func() {
			_ = s.Store.subscribe(heard, once, func(_ uuid.UUID, what string) { news <- what })
		}()
		<-subscribed
		for range 2 {
			finished()
			wantNames(t, s.Store, room.ID, "Bob")
			said(t, "ended")(s.Store.touch(ctx, ann, 1))
		}
		// Heard twice, it is news once: each time every stream of the room looks again.
		said(t, "ok")(s.Store.finish(ctx, bob, whyCancelled, ""))
		for _, want := range []string{"all", "entry " + bob.EntryID.String()} {
			select {
			case got := <-news:
				if got != want {
					t.Errorf("news %q, want %q", got, want)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("no news, want %q", want)
			}
		}
		said(t, "new")(s.Store.refresh(ctx, bob, "Bob", 1, false))
		run(func(tx *ent.Client) error { return tx.Room.DeleteOneID(room.ID).Exec(ctx) })
		finished()
		wantNames(t, s.Store, room.ID)
		said(t, "ended")(s.Store.touch(ctx, bob, 1))
	})
}
