package livekit

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/livekit"
	"google.golang.org/protobuf/proto"
)

func TestLive(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	if got := c.Live(t.Context(), g.Room); got == nil || got.GetActive() {
		t.Fatalf("before: got %v, want a room that is not live", got)
	}
	join(t, c, g, "", nil)
	eventually(t, "the room is live with one participant", func() bool {
		l := c.Live(t.Context(), g.Room)
		return l.GetActive() && l.GetParticipantCount() == 1
	})
	if since := time.Since(c.Live(t.Context(), g.Room).GetStartTime().AsTime()).Abs(); since > time.Minute {
		t.Errorf("started %v ago", since)
	}
	if err := c.CloseRoom(t.Context(), g.Room); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the room is not live any more", func() bool {
		l := c.Live(t.Context(), g.Room)
		return l != nil && !l.GetActive() && l.GetParticipantCount() == 0 && l.GetStartTime() == nil
	})
}

// listing counts the questions that it answers. Its LiveKit has one live room.
type listing struct {
	*httptest.Server
	room  uuid.UUID
	asked atomic.Int64
	// Each answer waits until hold is closed, or can be received from.
	hold chan struct{}
}

func newListing(t *testing.T) *listing {
	t.Helper()
	l := &listing{room: uuid.New(), hold: make(chan struct{})}
	answer, err := proto.Marshal(&livekit.ListRoomsResponse{Rooms: []*livekit.Room{{Name: l.room.String(), NumParticipants: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		select {
		case <-l.hold:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "application/protobuf")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(l.Close)
	return l
}

// Many callers at once cost one question, also when it takes its time.
func TestLive_oneQuestionForAll(t *testing.T) {
	t.Parallel()
	server := newListing(t)
	c := mustNew(t, Config{URL: server.URL, Key: "test-key", Secret: "test-secret", SnapshotAge: time.Hour})
	const callers = 200
	var got [callers]bool
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range callers {
		group.Go(func() {
			<-start
			got[i] = c.Live(t.Context(), server.room).GetActive()
		})
	}
	close(start)
	eventually(t, "LiveKit is asked", func() bool { return server.asked.Load() > 0 })
	close(server.hold)
	group.Wait()
	for i, active := range got {
		if !active {
			t.Fatalf("caller %d did not see the live room", i)
		}
	}
	if n := server.asked.Load(); n != 1 {
		t.Errorf("LiveKit was asked %d times, want once", n)
	}
}

// A LiveKit that hangs holds up the first callers for a moment and nobody after them.
func TestLive_hangingLiveKit(t *testing.T) {
	t.Parallel()
	server := newListing(t)
	c := mustNew(t, Config{URL: server.URL, Key: "test-key", Secret: "test-secret"})
	start := time.Now()
	if got := c.Live(t.Context(), server.room); got != nil {
		t.Errorf("first call: got %v, want nothing known", got)
	}
	if took := time.Since(start); took < maxWait || took > callTimeout {
		t.Errorf("the first call took %v, want about %v", took, maxWait)
	}
	start = time.Now()
	for range 1000 {
		if got := c.Live(t.Context(), server.room); got != nil {
			t.Fatalf("later call: got %v, want nothing known", got)
		}
	}
	// A thousand waits would be five minutes.
	if took := time.Since(start); took > callTimeout {
		t.Errorf("1,000 later calls took %v", took)
	}
	if n := server.asked.Load(); n != 1 {
		t.Errorf("LiveKit was asked %d times, want once", n)
	}
	close(server.hold)
	eventually(t, "the late answer counts", func() bool { return c.Live(t.Context(), server.room).GetActive() })
}

// While a new answer is on its way, the old one is used without waiting.
func TestLive_staleWhileAsking(t *testing.T) {
	t.Parallel()
	server := newListing(t)
	c := mustNew(t, Config{URL: server.URL, Key: "test-key", Secret: "test-secret", SnapshotAge: time.Hour})
	go func() { server.hold <- struct{}{} }()
	eventually(t, "the first answer is there", func() bool { return c.Live(t.Context(), server.room).GetActive() })

	// The answer grows one and a half ages old.
	old := *c.snapshot.current.Load()
	old.time = time.Now().Add(-90 * time.Minute)
	c.snapshot.current.Store(&old)
	for range 100 {
		if !c.Live(t.Context(), server.room).GetActive() {
			t.Fatal("the old answer is not used")
		}
	}
	eventually(t, "LiveKit is asked again", func() bool { return server.asked.Load() == 2 })

	// At more than two it says nothing any more.
	old.time = time.Now().Add(-3 * time.Hour)
	c.snapshot.current.Store(&old)
	if got := c.Live(t.Context(), server.room); got != nil {
		t.Errorf("with an answer three hours old: got %v, want nothing known", got)
	}
	close(server.hold)
}

func TestClose_stopsTheQuestion(t *testing.T) {
	t.Parallel()
	server := newListing(t)
	c := mustNew(t, Config{URL: server.URL, Key: "test-key", Secret: "test-secret"})
	c.Live(t.Context(), server.room)
	start := time.Now()
	c.Close()
	if took := time.Since(start); took > callTimeout/2 {
		t.Errorf("Close took %v", took)
	}
	if got := c.Live(t.Context(), server.room); got != nil {
		t.Errorf("after Close: got %v, want nothing known", got)
	}
}

func BenchmarkLive(b *testing.B) {
	c, err := New(Config{URL: "http://127.0.0.1", Key: "test-key", Secret: "test-secret", SnapshotAge: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	c.snapshot.current.Store(&rooms{time: time.Now()})
	room := uuid.New()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Live(b.Context(), room)
		}
	})
}
