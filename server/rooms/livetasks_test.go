package rooms

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/text"
)

// workerOf does the tasks of s.
func workerOf(s *Service) *livetasks.Worker {
	return &livetasks.Worker{
		DB: s.DB, Queue: s.Tasks, Handlers: s, Log: s.Log,
		Timing: livetasks.Timing{Poll: 20 * time.Millisecond, Repeat: 20 * time.Millisecond, Timeout: 5 * time.Second},
	}
}

// startWorker runs a worker until the end of the test, or until it is stopped.
func startWorker(t *testing.T, w *livetasks.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// eventually waits for cond, and fails the test when it takes over 10 s.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// mustTask writes a task about a room.
func mustTask(t *testing.T, s *Service, kind livetask.Kind, id uuid.UUID, keep time.Duration) *ent.LiveTask {
	t.Helper()
	return must(t, s.DB, func(tx *ent.Client) (*ent.LiveTask, error) {
		task := tx.LiveTask.Create().SetKind(kind).SetKeepUntil(now().Add(keep))
		if kind == livetask.KindRemoveUser {
			return task.SetUserID(id).Save(t.Context())
		}
		return task.SetRoomID(id).Save(t.Context())
	})
}

func tasks(t *testing.T, s *Service) []*ent.LiveTask {
	t.Helper()
	return s.DB.Read.LiveTask.Query().AllX(t.Context())
}

// mustConnect joins a room and uses the token.
func mustConnect(t *testing.T, s *Service, livekit *fakeLiveKit, room *usherv1.Room, u *ent.User) *usherv1.Connection {
	t.Helper()
	c, _ := mustJoin(as(t, u), t, s, room)
	livekit.connect(t, c.GetToken())
	return c
}

func TestTasks_closesDeletedRoom(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		s.Tasks.Keep = 500 * time.Millisecond
		alice := mustUser(t, db, "Alice")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{})
		c := mustConnect(t, s, livekit, room, alice)
		startWorker(t, workerOf(s))
		if _, err := s.DeleteRoom(as(t, alice), &usherv1.DeleteRoomRequest{Room: room.GetId()}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the meeting is closed", func() bool { return livekit.people(room.GetId()) == nil })
		livekit.connect(t, c.GetToken()) // the token is still good
		eventually(t, "the meeting is closed again", func() bool { return livekit.people(room.GetId()) == nil })
		eventually(t, "the task is done", func() bool { return len(tasks(t, s)) == 0 })
	})
}

// TestTasks_comesBack: LiveKit gives whoever connects another token, so coming back in time again and again leads nowhere.
func TestTasks_comesBack(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		s.Tasks.Keep = time.Second
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		deleted := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
		open := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
		mustConnect(t, s, livekit, open, alice)
		inDeleted, inOpen := mustConnect(t, s, livekit, deleted, nil), mustConnect(t, s, livekit, open, bob)
		startWorker(t, workerOf(s))
		if _, err := s.DeleteRoom(as(t, alice), &usherv1.DeleteRoomRequest{Room: deleted.GetId()}); err != nil {
			t.Fatal(err)
		}
		must(t, db, func(tx *ent.Client) (any, error) {
			return nil, tx.User.UpdateOne(bob).SetActive(false).Exec(t.Context())
		})
		mustTask(t, s, livetask.KindRemoveUser, bob.ID, s.Tasks.Keep)
		for begin := time.Now(); time.Since(begin) < 3*s.Tasks.Keep; {
			livekit.connect(t, inDeleted.GetToken())
			livekit.connect(t, inOpen.GetToken())
			eventually(t, "both are out", func() bool {
				_, in := livekit.people(open.GetId())["Bob"]
				return !in && livekit.people(deleted.GetId()) == nil
			})
		}
		eventually(t, "the tasks are done", func() bool { return len(tasks(t, s)) == 0 })
		if len(livekit.people(open.GetId())) != 1 {
			t.Error("somebody else was removed too")
		}
	})
}

// TestTasks_atOnce: what this process commits does not wait until the table is looked at again.
func TestTasks_atOnce(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		w := workerOf(s)
		w.Timing.Poll = time.Hour
		startWorker(t, w)
		alice := mustUser(t, db, "Alice")
		for range 3 {
			room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{})
			mustConnect(t, s, livekit, room, alice)
			if _, err := s.DeleteRoom(as(t, alice), &usherv1.DeleteRoomRequest{Room: room.GetId()}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the meeting is closed", func() bool { return livekit.people(room.GetId()) == nil })
		}
	})
}

func TestTasks_syncsRoom(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		for _, u := range []*ent.User{p.olga, p.anna, p.mona} {
			mustConnect(t, s, livekit, room, u)
		}
		phone := meeting.Participant{Identity: "sip_+33100000000", DisplayName: "Phone", Sources: []usherv1.TrackSource{microphone}}
		livekit.meetings[uuid.MustParse(room.GetId())].people[phone.Identity] = phone
		startWorker(t, workerOf(s))
		if _, err := s.UpdateMember(as(t, p.anna), update(room, p.anna, plainMember)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the administrator is demoted", func() bool {
			anna := livekit.people(room.GetId())["Anna"]
			return anna.Attributes["room_role"] == "member" && slices.Equal(anna.Sources, s.Defaults.Sources)
		})
		anna := livekit.people(room.GetId())["Anna"]
		if anna.Attributes["color"] != meeting.Color(anna.Identity) || anna.Attributes["is_authenticated"] != "true" {
			t.Errorf("attributes %v", anna.Attributes)
		}

		livekit.took()
		_, err := s.UpdateRoom(as(t, p.olga), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{
			Id: room.GetId(), AccessLevel: trusted, Configuration: &usherv1.RoomConfiguration{RestrictSources: true},
		}})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "members may publish nothing", func() bool {
			people := livekit.people(room.GetId())
			return len(people["Anna"].Sources) == 0 && len(people["Mona"].Sources) == 0
		})
		people := livekit.people(room.GetId())
		if len(people["Olga"].Sources) != 4 || !cmp.Equal(people["Phone"], phone) {
			t.Errorf("owner %v, phone %v", people["Olga"], people["Phone"])
		}
		if want := `{"access_level":"ACCESS_LEVEL_TRUSTED","configuration":{"restrictSources":true}}`; livekit.metadata(room.GetId()) != want {
			t.Errorf("metadata %s, want %s", livekit.metadata(room.GetId()), want)
		}

		// Whoever comes back with a token from before is brought up to date; who is up to date is left alone.
		eventually(t, "both changes are one task", func() bool { return len(tasks(t, s)) == 1 })
		livekit.took()
		if _, err := s.RemoveMember(as(t, p.olga), remove(room, p.anna)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the role is gone", func() bool { return livekit.people(room.GetId())["Anna"].Attributes["room_role"] == "" })
		if diff := cmp.Diff([]string{"Anna"}, livekit.touched()); diff != "" {
			t.Errorf("participants that were updated: -want +got\n%s", diff)
		}
		for _, call := range livekit.took() {
			if call == "SetRoomMetadata" || call == "RemoveParticipant" {
				t.Errorf("call %s", call)
			}
		}
	})
}

// TestTasks_syncsLongNames: a name that LiveKit takes in a token and not in a change keeps nobody what they were.
func TestTasks_syncsLongNames(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		p := mustPeople(t, db)
		room := p.room(t, s)
		name := strings.Repeat("漢", text.MaxPersonName)
		res, err := s.JoinRoom(as(t, p.anna), &usherv1.JoinRoomRequest{Room: room.GetId(), DisplayName: name})
		if err != nil {
			t.Fatal(err)
		}
		livekit.connect(t, res.GetConnection().GetToken())
		if _, err := s.UpdateMember(as(t, p.olga), update(room, p.anna, plainMember)); err != nil {
			t.Fatal(err)
		}
		workerOf(s).RunDue(t.Context())
		if got := livekit.people(room.GetId())[name]; got.Attributes["room_role"] != "member" || len(got.Sources) != len(s.Defaults.Sources) {
			t.Errorf("after the demotion: %v", got)
		}
	})
}

func TestTasks_syncGoesOnPastOneThatFails(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		s.Tasks.Keep = 0
		p := mustPeople(t, db)
		room := mustRoom(t, s, p.olga, &usherv1.CreateRoomRequest{AccessLevel: public})
		for _, u := range []*ent.User{p.anna, p.mona, p.nina} {
			mustConnect(t, s, livekit, room, u)
			mustMember(t, s, room, u, administrator)
		}
		var updates atomic.Int32
		livekit.intercept(func(_ context.Context, call string) error {
			if call == "UpdateParticipant" && updates.Add(1) <= 2 {
				return []error{meeting.ErrUnavailable, meeting.ErrNotFound}[updates.Load()-1]
			}
			return nil
		})
		mustTask(t, s, livetask.KindSyncRoom, uuid.MustParse(room.GetId()), 0)
		workerOf(s).RunDue(t.Context())
		promoted := 0
		for _, participant := range livekit.people(room.GetId()) {
			if participant.Attributes["room_role"] == "administrator" {
				promoted++
			}
		}
		if promoted != 1 || len(tasks(t, s)) != 1 {
			t.Errorf("%d promoted, %d tasks; want 1 and 1", promoted, len(tasks(t, s)))
		}
		startWorker(t, workerOf(s))
		eventually(t, "the task is done", func() bool { return len(tasks(t, s)) == 0 })
		for name, participant := range livekit.people(room.GetId()) {
			if participant.Attributes["room_role"] != "administrator" {
				t.Errorf("%s is not promoted", name)
			}
		}
	})
}

func TestTasks_removesUser(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		var rooms []*usherv1.Room
		for range 3 {
			room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{AccessLevel: public})
			rooms = append(rooms, room)
			mustConnect(t, s, livekit, room, alice)
			mustConnect(t, s, livekit, room, nil)
		}
		c := mustConnect(t, s, livekit, rooms[0], bob)
		mustConnect(t, s, livekit, rooms[0], bob)
		mustConnect(t, s, livekit, rooms[2], bob)
		setActive := func(active bool) {
			must(t, db, func(tx *ent.Client) (*ent.User, error) {
				return tx.User.UpdateOne(bob).SetActive(active).Save(t.Context())
			})
		}
		setActive(false)
		mustTask(t, s, livetask.KindRemoveUser, bob.ID, time.Minute)
		stop := startWorker(t, workerOf(s))
		out := func() bool {
			for _, room := range rooms {
				people := livekit.people(room.GetId())
				if _, in := people["Bob"]; in || len(people) != 2 {
					return false
				}
			}
			return true
		}
		eventually(t, "the user is out, and nobody else", out)
		livekit.connect(t, c.GetToken())
		eventually(t, "the user is out again", out)

		stop()
		setActive(true)
		livekit.connect(t, c.GetToken())
		workerOf(s).Do(t.Context(), tasks(t, s)[0])
		if _, in := livekit.people(rooms[0].GetId())["Bob"]; !in {
			t.Error("an active user was removed")
		}
	})
}

func TestTasks_livekitDown(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, livekit := newService(t, db)
		s.Tasks.Keep = 0
		alice := mustUser(t, db, "Alice")
		room := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{})
		mustConnect(t, s, livekit, room, alice)
		livekit.intercept(down)
		mustTask(t, s, livetask.KindCloseRoom, uuid.MustParse(room.GetId()), 0)
		mustTask(t, s, livetask.KindSyncRoom, uuid.MustParse(room.GetId()), 0)
		mustTask(t, s, livetask.KindRemoveUser, uuid.New(), 0)
		startWorker(t, workerOf(s))
		eventually(t, "each was tried three times", func() bool {
			all := tasks(t, s)
			return len(all) == 3 && !slices.ContainsFunc(all, func(task *ent.LiveTask) bool { return task.Attempts < 3 })
		})
		livekit.intercept(nil)
		eventually(t, "all are done", func() bool { return len(tasks(t, s)) == 0 })
		if livekit.people(room.GetId()) != nil {
			t.Error("the meeting goes on")
		}
	})
}
