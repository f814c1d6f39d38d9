package rooms

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/livetasks"
)

func newOperator(db *dbtx.DB) *Operator {
	return &Operator{DB: db, Tasks: livetasks.NewQueue(10 * time.Minute), Recordings: noRecordings{}}
}

// tasksOf counts the tasks about a room.
func tasksOf(t *testing.T, db *dbtx.DB, room string, kind livetask.Kind) int {
	t.Helper()
	n, err := db.Read.LiveTask.Query().Where(livetask.RoomID(uuid.MustParse(room)), livetask.KindEQ(kind)).Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOperatorList(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		ada, bob := mustUser(t, db, "Ada"), mustUser(t, db, "Bob")
		mustRoom(t, s, ada, &usherv1.CreateRoomRequest{Name: "Été 100%"})
		second := mustRoom(t, s, ada, &usherv1.CreateRoomRequest{Name: "Second", Slug: "other"})
		mustPending(t, s, second, "bob@example.org", plainMember)
		mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "Third"})
		for name, test := range map[string]struct {
			filter Filter
			want   []string
		}{
			"newest first":               {Filter{Limit: 10}, []string{"third", "other", "ete-100"}},
			"at most so many":            {Filter{Limit: 2}, []string{"third", "other"}},
			"by a part of the name":      {Filter{Query: "ÉTÉ", Limit: 10}, []string{"ete-100"}},
			"a sign of LIKE is a letter": {Filter{Query: "0%", Limit: 10}, []string{"ete-100"}},
			"by a part of the slug":      {Filter{Query: "oth", Limit: 10}, []string{"other"}},
			"nothing":                    {Filter{Query: "_", Limit: 10}, nil},
			"of one person, pending too": {Filter{UserID: bob.ID, Limit: 10}, []string{"third", "other"}},
		} {
			found, err := newOperator(db).List(t.Context(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range found {
				got = append(got, r.Slug)
				if len(r.Edges.Members) == 0 || r.Edges.Members[0].Role != owner {
					t.Errorf("%s: the members of %s are not loaded, owners first", name, r.Slug)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if _, err := newOperator(db).List(t.Context(), Filter{UserID: uuid.New(), Limit: 1}); !errors.Is(err, auth.ErrNoUser) {
			t.Errorf("rooms of nobody: %v, want %v", err, auth.ErrNoUser)
		}
	})
}

func TestOperatorSetOwner(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		o := newOperator(db)
		ada, bob, eve := mustUser(t, db, "Ada"), mustUser(t, db, "Bob"), mustUser(t, db, "Eve")
		room := mustRoom(t, s, ada, &usherv1.CreateRoomRequest{Name: "Weekly"})
		mustMember(t, s, room, bob, plainMember)
		mustPending(t, s, room, "bob@example.org", administrator)
		mustPending(t, s, room, "eve@example.org", plainMember)
		for _, u := range []*ent.User{bob, bob, eve} {
			if err := o.SetOwner(t.Context(), "WEEKLY", u.ID); err != nil {
				t.Fatalf("%s: %v", u.FullName, err)
			}
		}
		if diff := cmp.Diff([]string{"Ada owner", "Bob owner", "Eve owner"}, membersOf(t, s, room)); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
		if n := tasksOf(t, db, room.GetId(), livetask.KindSyncRoom); n != 3 {
			t.Errorf("%d tasks bring the meeting up to date, want one for each call", n)
		}
	})
}

func TestOperatorSetOwner_refused(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		o := newOperator(db)
		ada, gone := mustUser(t, db, "Ada"), mustUser(t, db, "Gone")
		room := mustRoom(t, s, ada, &usherv1.CreateRoomRequest{Name: "Weekly"})
		must(t, db, func(tx *ent.Client) (*ent.User, error) {
			return tx.User.UpdateOne(gone).SetActive(false).Save(t.Context())
		})
		if err := o.SetOwner(t.Context(), "weekly", uuid.New()); !errors.Is(err, auth.ErrNoUser) {
			t.Errorf("nobody as owner: %v, want %v", err, auth.ErrNoUser)
		}
		wantFault(t, o.SetOwner(t.Context(), "weekly", gone.ID), auth.ErrAccountInactive)
		wantFault(t, o.SetOwner(t.Context(), "none", ada.ID), auth.ErrRoomNotFound)
		if diff := cmp.Diff([]string{"Ada owner"}, membersOf(t, s, room)); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
		if n := tasksOf(t, db, room.GetId(), livetask.KindSyncRoom); n != 0 {
			t.Errorf("%d tasks were left behind", n)
		}
	})
}

// Whoever else adds the person at the same moment: the operator's word holds.
func TestOperatorSetOwner_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		ada := mustUser(t, db, "Ada")
		room := mustRoom(t, s, ada, &usherv1.CreateRoomRequest{Name: "Weekly"})
		names := []string{"Bob", "Cem", "Dan", "Eve", "Fay", "Gil", "Hal", "Ida"}
		var all sync.WaitGroup
		for _, name := range names {
			u := mustUser(t, db, name)
			start := make(chan struct{})
			all.Go(func() {
				<-start
				if err := newOperator(db).SetOwner(t.Context(), room.GetId(), u.ID); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			all.Go(func() {
				<-start
				_, err := s.AddMember(as(t, ada), &usherv1.AddMemberRequest{
					Room: room.GetId(), Identifier: &usherv1.AddMemberRequest_UserId{UserId: u.ID.String()}, Role: plainMember,
				})
				if err != nil && !errors.Is(err, ErrMemberExists) {
					t.Errorf("adding %s: %v", name, err)
				}
			})
			close(start)
		}
		all.Wait()
		want := []string{"Ada owner"}
		for _, name := range names {
			want = append(want, name+" owner")
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, membersOf(t, s, room)); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
	})
}

func TestOperatorDelete(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		o := newOperator(db)
		ada := mustUser(t, db, "Ada")
		room := mustRoom(t, s, ada, &usherv1.CreateRoomRequest{Name: "Weekly", CallbackId: "test-callback-of-22-characters"})
		if err := o.Delete(t.Context(), "weekly"); err != nil {
			t.Fatal(err)
		}
		if n := tasksOf(t, db, room.GetId(), livetask.KindCloseRoom); n != 1 {
			t.Errorf("%d tasks end the meeting, want 1", n)
		}
		left := db.Read.Room.Query().CountX(t.Context()) + db.Read.Member.Query().CountX(t.Context()) + db.Read.CreationCallback.Query().CountX(t.Context())
		if left != 0 {
			t.Errorf("%d rows are left behind", left)
		}
		wantFault(t, o.Delete(t.Context(), "weekly"), auth.ErrRoomNotFound)
		if _, err := o.Show(t.Context(), "weekly"); !errors.Is(err, auth.ErrRoomNotFound) {
			t.Errorf("showing it: %v", err)
		}
	})
}
