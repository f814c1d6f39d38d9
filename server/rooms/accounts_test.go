package rooms

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/livetasks"
)

// What operators do to accounts meets what people do in rooms at the same moment.

func newLifecycle(t *testing.T, db *dbtx.DB) *accounts.Lifecycle {
	t.Helper()
	sessions := &auth.Sessions{Redis: testenv.Redis(t).Client(t), IdleTimeout: time.Hour, MaxAge: time.Hour}
	return &accounts.Lifecycle{DB: db, Sessions: sessions, Tasks: livetasks.NewQueue(time.Minute)}
}

// TestDeleteAccount_becameOwnerMeanwhile: who is made the only owner of a room while their account is being deleted, stays.
func TestDeleteAccount_becameOwnerMeanwhile(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		lifecycle := newLifecycle(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{})
		mustMember(t, s, room, bob, plainMember)
		err := meanwhile(t, s, func(tx *ent.Client) error {
			if _, err := auth.LockRoom(t.Context(), tx, room.GetId()); err != nil {
				return err
			}
			return tx.Member.Update().Where(member.UserID(bob.ID)).SetRole(owner).Exec(t.Context())
		}, func() error {
			return lifecycle.Delete(t.Context(), bob.ID)
		}, func(tx *ent.Client) error {
			_, err := tx.Member.Delete().Where(member.UserID(alice.ID)).Exec(t.Context())
			return err
		})
		want := []uuid.UUID{uuid.MustParse(room.GetId())}
		if last, ok := errors.AsType[*accounts.LastOwnerError](err); !ok || !cmp.Equal(last.Rooms, want) {
			t.Errorf("got %v, want a refusal", err)
		}
		if diff := cmp.Diff([]string{"Bob owner"}, membersOf(t, s, room)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// TestJoinRoom_accountDeleted: who is deleted while they call is refused, and gets no membership that waited for them.
func TestJoinRoom_accountDeleted(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: restricted})
		if err := newLifecycle(t, db).Delete(t.Context(), bob.ID); err != nil {
			t.Fatal(err)
		}
		mustPending(t, s, room, "bob@example.org", plainMember)
		_, err := s.JoinRoom(as(t, bob), &usherv1.JoinRoomRequest{Room: room.GetId()})
		wantFault(t, err, auth.ErrUnauthenticated)
		wantFault(t, change(as(t, bob), s, remove(room, bob)), auth.ErrUnauthenticated)
		if diff := cmp.Diff([]string{"Alice owner", "bob@example.org member"}, membersOf(t, s, room)); diff != "" || len(livekit.tokens) != 0 {
			t.Errorf("%d tokens; members: -want +got\n%s", len(livekit.tokens), diff)
		}
	})
}

// TestAccounts_concurrent: deleting or merging an account, and its owner's claiming or being given memberships, do not wait
// for each other: each is done or refused for a reason.
func TestAccounts_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		lifecycle := newLifecycle(t, db)
		operator := &Operator{DB: db, Tasks: livetasks.NewQueue(time.Minute), Recordings: noRecordings{}}
		alice := mustUser(t, db, "Alice")
		for round := range 24 {
			bob, twin := mustUser(t, db, "Bob"), mustUser(t, db, "Twin")
			var rooms []*usherv1.Room
			for _, role := range []usherv1.Role{plainMember, owner} {
				room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
				mustPending(t, s, room, "bob@example.org", role)
				rooms = append(rooms, room)
			}
			calls := []func() error{
				func() error {
					if round%2 == 0 {
						return lifecycle.Delete(t.Context(), bob.ID)
					}
					return lifecycle.Merge(t.Context(), accounts.MergeParams{From: twin.ID, Into: bob.ID, DropSub: true})
				},
				func() error { return change(as(t, alice), s, add(rooms[round%2], bob, administrator)) },
				func() error { return operator.SetOwner(t.Context(), rooms[1].GetId(), twin.ID) },
			}
			for _, room := range rooms {
				calls = append(calls, func() error {
					_, err := s.JoinRoom(as(t, bob), &usherv1.JoinRoomRequest{Room: room.GetId()})
					return err
				})
			}
			_, errs := inParallel(len(calls), func(i int) (any, error) { return nil, calls[i]() })
			for i, err := range errs {
				reason := false
				for _, r := range []error{ErrMemberExists, ErrUserNotFound, auth.ErrNoUser, auth.ErrUnauthenticated} {
					reason = reason || errors.Is(err, r)
				}
				if err != nil && !reason {
					t.Errorf("round %d, call %d: %v", round, i, err)
				}
			}
			must(t, db, func(tx *ent.Client) (any, error) {
				for _, u := range []*ent.User{bob, twin} {
					tx.Member.Delete().Where(auth.Mine(u)).ExecX(t.Context())
					if err := tx.User.DeleteOne(u).Exec(t.Context()); err != nil && !ent.IsNotFound(err) {
						return nil, err
					}
				}
				return nil, nil
			})
		}
	})
}
