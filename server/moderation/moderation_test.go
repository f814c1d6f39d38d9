package moderation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
)

const camera = usherv1.TrackSource_TRACK_SOURCE_CAMERA

type fixture struct {
	t    *testing.T
	db   *dbtx.DB
	room *ent.Room
	user uuid.UUID
}

func newFixture(t *testing.T, db *dbtx.DB) *fixture {
	t.Helper()
	f := &fixture{t: t, db: db}
	f.run(func(tx *ent.Client) (err error) {
		f.room, err = tx.Room.Create().SetName("Room").SetNameKey("room").SetSlug("room").SetAccessLevel(1).Save(t.Context())
		if err != nil {
			return err
		}
		u, err := tx.User.Create().SetSub("test-ada").Save(t.Context())
		f.user = u.ID
		return err
	})
	return f
}

func (f *fixture) run(fn func(tx *ent.Client) error) {
	f.t.Helper()
	if err := f.db.Run(f.t.Context(), fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) edit(user uuid.UUID, identity string, change func(Row)) {
	f.t.Helper()
	f.run(func(tx *ent.Client) error {
		return Edit(f.t.Context(), tx, f.room, Who{User: user, Identity: identity}, change)
	})
}

// of is what counts for somebody, as a call that enters the room finds it.
func (f *fixture) of(identity string, user uuid.UUID) State {
	f.t.Helper()
	r := f.db.Read.Room.Query().Where(Select()).OnlyX(f.t.Context())
	states, err := Load(f.t.Context(), f.db.Read, r)
	if err != nil {
		f.t.Fatal(err)
	}
	return states.Of(identity, user)
}

func (f *fixture) want(what string, got, want State) {
	f.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Errorf("%s: -want +got\n%s", what, diff)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.want("nothing decided", f.of("p_test-a", f.user), State{})

		f.edit(uuid.Nil, "p_test-a", func(r Row) { r.SetName("Self", false) })
		f.want("own name", f.of("p_test-a", f.user), State{Name: "Self"})
		f.want("own name on another device", f.of("p_test-b", f.user), State{})
		f.edit(f.user, "p_test-a", func(r Row) { r.SetName("Host", true) })
		f.edit(f.user, "p_test-a", func(r Row) { r.SetSources([]usherv1.TrackSource{camera}) })
		f.edit(f.user, "p_test-a", func(r Row) { r.CanSubscribe = false })
		all := State{Name: "Host", NameByHost: true, RestrictSources: true, Sources: []usherv1.TrackSource{camera}, NoSubscribe: true}
		f.want("one field after the other", f.of("p_test-a", f.user), all)
		f.want("on a device that is to come", f.of("", f.user), all)
		f.want("somebody without an account", f.of("", uuid.Nil), State{})

		f.edit(f.user, "", func(r Row) { r.SetSources(nil); r.CanSubscribe = true })
		f.want("nothing may be published", f.of("p_test-b", f.user), State{Name: "Host", NameByHost: true, RestrictSources: true, Sources: []usherv1.TrackSource{}})
		f.edit(f.user, "", func(r Row) { r.ClearSources() })
		f.want("as the room allows", f.of("p_test-b", f.user), State{Name: "Host", NameByHost: true})
		f.edit(uuid.Nil, "p_test-a", func(r Row) { r.SetName("Self again", false) })
		f.want("the host's name stays", f.of("p_test-a", f.user), State{Name: "Host", NameByHost: true})
	})
}

// A block outlasts the meeting, is never made shorter, and ends.
func TestBlock(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.edit(f.user, "", func(r Row) { r.SetName("Host", true); r.Block(time.Now().Add(time.Hour)) })
		f.edit(f.user, "", func(r Row) { r.Block(time.Now().Add(time.Minute)) })
		f.edit(uuid.Nil, "p_test-a", func(r Row) { r.Block(time.Now().Add(-time.Second)) })
		f.want("blocked", f.of("p_test-b", f.user), State{Name: "Host", NameByHost: true, Blocked: true})
		f.want("a block that is over", f.of("p_test-a", uuid.Nil), State{})
		if until := db.Read.ParticipantState.Query().Order(ent.Desc("block_until")).FirstX(t.Context()).BlockUntil; time.Until(*until) < 50*time.Minute {
			t.Errorf("the longer block was cut to %v", until)
		}

		f.run(func(tx *ent.Client) (err error) {
			f.room, err = tx.Room.UpdateOne(f.room).AddMeeting(1).Save(t.Context())
			return err
		})
		f.want("in the next meeting", f.of("", f.user), State{Blocked: true})
		f.edit(f.user, "", func(r Row) { r.CanSubscribe = false })
		f.want("decided anew", f.of("", f.user), State{Blocked: true, NoSubscribe: true})
	})
}

func TestDeleteExpired(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		f.edit(uuid.Nil, "p_test-a", func(r Row) { r.SetName("Self", false) })
		f.edit(f.user, "", func(r Row) { r.Block(time.Now().Add(30 * 24 * time.Hour)) })
		left := func(after time.Duration) int {
			t.Helper()
			f.run(func(tx *ent.Client) error {
				_, err := DeleteExpired(t.Context(), tx, time.Now().UTC().Add(after))
				return err
			})
			return db.Read.ParticipantState.Query().CountX(t.Context())
		}
		if n := left(0); n != 2 {
			t.Errorf("at once: %d rows, want both", n)
		}
		if n := left(keep + time.Hour); n != 1 {
			t.Errorf("after a week: %d rows, want the block", n)
		}
		if n := left(31 * 24 * time.Hour); n != 0 {
			t.Errorf("after the block: %d rows, want none", n)
		}
		// What is known of an account goes with it, and of a room with that.
		f.edit(f.user, "", func(r Row) { r.CanSubscribe = false })
		f.run(func(tx *ent.Client) error { return tx.User.DeleteOneID(f.user).Exec(t.Context()) })
		if n := left(0); n != 0 {
			t.Errorf("%d rows of an account that is gone", n)
		}
	})
}
