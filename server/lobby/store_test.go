package lobby

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
)

func testRules() Rules {
	return Rules{
		Waiting: 30 * time.Second, Grace: 10 * time.Second, Accepted: 6 * time.Hour, Denied: 5 * time.Minute,
		KeepPlace: 15 * time.Minute, Most: 200,
	}
}

// stores runs a test on Redis, and on the one of `usher dev`.
func stores(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Helper()
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		test(t, &Store{Redis: testenv.Redis(t).Client(t), Rules: testRules()})
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		server := miniredis.RunT(t)
		client, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{server.Addr()}, DisableCache: true, AlwaysRESP2: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		test(t, &Store{Redis: client, Rules: testRules()})
	})
}

// guest is somebody with a ticket, new or not.
func guest(room, user uuid.UUID) *auth.LobbyTicket {
	keys := auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil)
	return &auth.LobbyTicket{
		RoomID: room, EntryID: uuid.New(), UserID: user, Identity: keys.NewIdentity(room, user), Meeting: 1,
		RequestTime: time.Now(), Secret: auth.NewTicketSecret(),
	}
}

// said checks the outcome of a script and returns the entry.
func said(t *testing.T, want string) func(outcome, error) *record {
	t.Helper()
	return func(out outcome, err error) *record {
		t.Helper()
		if err != nil || out.word != want {
			t.Fatalf("got %q, %v, want %q", out.word, err, want)
		}
		return out.entry
	}
}

// names are those who wait.
func names(t *testing.T, s *Store, room uuid.UUID) []string {
	t.Helper()
	list, _, err := s.list(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(list))
	for _, r := range list {
		out = append(out, r.Name)
	}
	return out
}

func wantNames(t *testing.T, s *Store, room uuid.UUID, want ...string) {
	t.Helper()
	if got := names(t, s, room); !slices.Equal(got, want) {
		t.Fatalf("waiting are %q, want %q", got, want)
	}
}

func TestRefresh_waitsRenamesAndIsDecided(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		ctx, room := t.Context(), uuid.New()
		ann, bob := guest(room, uuid.Nil), guest(room, uuid.Nil)
		first := said(t, "new")(s.refresh(ctx, ann, "Ann", 1, true))
		if second := said(t, "new")(s.refresh(ctx, bob, "Bob", 1, true)); second.position != 2 || first.position != 1 {
			t.Errorf("positions = %d and %d, want 1 and 2", first.position, second.position)
		}
		wantNames(t, s, room, "Ann", "Bob")
		if e := said(t, "ok")(s.refresh(ctx, ann, "Ann", 1, false)); e.Etag != first.Etag {
			t.Error("a heartbeat changed the etag")
		}
		renamed := said(t, "ok")(s.refresh(ctx, ann, "Eve", 1, false))
		if renamed.Etag == first.Etag || renamed.Asked != first.Asked {
			t.Errorf("after a new name: %+v, want another etag and the same place", renamed)
		}
		said(t, "conflict")(s.decide(ctx, room, first.ID, first.Etag, true, 0, 1))
		accepted := said(t, "new")(s.decide(ctx, room, first.ID, renamed.Etag, true, 0, 1))
		if left := time.Until(accepted.ends); accepted.Status != statusAccepted || left < 5*time.Hour {
			t.Errorf("accepted = %+v for %v", accepted, left)
		}
		said(t, "ok")(s.decide(ctx, room, first.ID, "stale", true, 0, 1))
		said(t, "decided")(s.decide(ctx, room, first.ID, renamed.Etag, false, 0, 1))
		said(t, "gone")(s.decide(ctx, room, uuid.NewString(), "x", true, 0, 1))
		wantNames(t, s, room, "Bob")
		// The next meeting knows nothing of it.
		if e := said(t, "new")(s.refresh(ctx, ann, "Eve", 2, false)); e.Status != statusWaiting || e.position != 2 {
			t.Errorf("in the next meeting: %+v, want waiting at the end", e)
		}
	})
}

func TestRefresh_deniedDoubles(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		s.Rules.Denied, s.Rules.Grace = time.Second, time.Millisecond
		ctx, room, user := t.Context(), uuid.New(), uuid.New()
		ann := guest(room, user)
		for i := range 3 {
			e := said(t, "new")(s.refresh(ctx, ann, "Ann", 1, i == 0))
			denied := said(t, "new")(s.decide(ctx, room, e.ID, e.Etag, false, 0, 1))
			want := s.Rules.Denied << i
			if life := denied.ends.Sub(microseconds(denied.Decided)); life != want {
				t.Errorf("denial %d holds for %v, want %v", i+1, life, want)
			}
			if e := said(t, "ok")(s.refresh(ctx, ann, "Ann", 1, false)); e.Status != statusDenied {
				t.Errorf("who was denied asks again: %+v", e)
			}
			// Another ticket of the same user is no way around it, and giving up neither.
			said(t, "denied")(s.refresh(ctx, guest(room, user), "Ann", 1, true))
			said(t, "ok")(s.finish(ctx, ann, whyCancelled, ""))
			if e := said(t, "ok")(s.refresh(ctx, ann, "Ann", 1, false)); e.Status != statusDenied {
				t.Errorf("who was denied gave up and asks again: %+v", e)
			}
			wantNames(t, s, room)
			time.Sleep(time.Until(denied.ends) + 20*time.Millisecond)
		}
	})
}

func TestRefresh_placeAfterLoss(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		ctx, room := t.Context(), uuid.New()
		people := []*auth.LobbyTicket{}
		for _, name := range []string{"A", "B", "C", "D"} {
			g := guest(room, uuid.Nil)
			g.RequestTime = microseconds(said(t, "new")(s.refresh(ctx, g, name, 1, true)).Asked)
			g.DisplayName = name
			people = append(people, g)
		}
		if err := s.Redis.Do(ctx, s.Redis.B().Flushall().Build()).Error(); err != nil {
			t.Fatal(err)
		}
		people[3].RequestTime = people[3].RequestTime.Add(-time.Hour) // too long ago: at the end
		people[2].Meeting = 0                                         // another meeting: at the end
		for _, i := range []int{1, 3, 0, 2} {
			e := said(t, "new")(s.refresh(ctx, people[i], people[i].DisplayName, 1, false))
			if e.ID != people[i].EntryID.String() {
				t.Errorf("id = %s, want the same as before", e.ID)
			}
		}
		wantNames(t, s, room, "A", "B", "D", "C")
	})
}

func TestRefresh_lapses(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		s.Rules.Waiting, s.Rules.Grace = time.Second, 4*time.Second
		ctx, room := t.Context(), uuid.New()
		ann, bob := guest(room, uuid.Nil), guest(room, uuid.Nil)
		a := said(t, "new")(s.refresh(ctx, ann, "Ann", 1, true))
		said(t, "new")(s.refresh(ctx, bob, "Bob", 1, true))
		time.Sleep(s.Rules.Waiting + 100*time.Millisecond)
		wantNames(t, s, room)
		// A sign of life within the grace brings the place back, and a decision finds who lapsed a moment ago.
		said(t, "ok")(s.touch(ctx, bob, 1))
		wantNames(t, s, room, "Bob")
		said(t, "new")(s.decide(ctx, room, a.ID, a.Etag, true, 0, 1))
		time.Sleep(s.Rules.Waiting + s.Rules.Grace + 100*time.Millisecond)
		said(t, "gone")(s.touch(ctx, bob, 1))
		if e := said(t, "ok")(s.touch(ctx, ann, 1)); e.Status != statusAccepted {
			t.Errorf("the admission is gone: %+v", e)
		}
	})
}

func TestRefresh_full(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		s.Rules.Most = 3
		ctx, room := t.Context(), uuid.New()
		var last *auth.LobbyTicket
		for range 3 {
			last = guest(room, uuid.Nil)
			said(t, "new")(s.refresh(ctx, last, "Somebody", 1, true))
		}
		said(t, "full")(s.refresh(ctx, guest(room, uuid.Nil), "Fourth", 1, true))
		said(t, "ok")(s.refresh(ctx, last, "Renamed", 1, false))
		said(t, "ok")(s.finish(ctx, last, whyCancelled, ""))
		said(t, "ended")(s.touch(ctx, last, 1))
		said(t, "new")(s.refresh(ctx, guest(room, uuid.Nil), "Fourth", 1, true))
	})
}

// What cannot be read is dropped, wherever it is met.
func TestStore_corruptValues(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		ctx, room := t.Context(), uuid.New()
		tag := keyPrefix + room.String() + "}"
		for i, value := range []string{"", "{", "null", "[]", `"text"`, "{}", `{"status":1}`, `{"status":"1","name":3}`} {
			g := guest(room, uuid.Nil)
			e := said(t, "new")(s.refresh(ctx, g, "Ann", 1, true))
			b := s.Redis.B()
			if err := s.Redis.Do(ctx, b.Hset().Key(tag+":entries").FieldValue().FieldValue(e.ID, value).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			switch i % 4 {
			case 0:
				wantNames(t, s, room)
			case 1:
				said(t, "gone")(s.decide(ctx, room, e.ID, e.Etag, true, 0, 1))
			case 2:
				said(t, "gone")(s.touch(ctx, g, 1))
			case 3:
				if decided, err := s.decideAll(ctx, room, []seenEntry{{ID: e.ID, Etag: e.Etag}}, true, 1); err != nil || len(decided) != 0 {
					t.Errorf("%q: decided %v, %v", value, decided, err)
				}
			}
			wantNames(t, s, room)
		}
		g := guest(room, uuid.Nil)
		if err := s.Redis.Do(ctx, s.Redis.B().Hset().Key(tag+":denials").FieldValue().
			FieldValue("entry:"+g.EntryID.String(), "nonsense").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		said(t, "new")(s.refresh(ctx, g, "Ann", 1, true))
	})
}

func TestClear(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		ctx, room := t.Context(), uuid.New()
		ann, bob, eve := guest(room, uuid.Nil), guest(room, uuid.Nil), guest(room, uuid.Nil)
		said(t, "new")(s.refresh(ctx, ann, "Ann", 1, true))
		b := said(t, "new")(s.refresh(ctx, bob, "Bob", 1, true))
		e := said(t, "new")(s.refresh(ctx, eve, "Eve", 1, true))
		said(t, "new")(s.decide(ctx, room, b.ID, b.Etag, true, 0, 1))
		said(t, "new")(s.decide(ctx, room, e.ID, e.Etag, false, 0, 1))
		if err := s.clear(ctx, room, 0); err != nil {
			t.Fatal(err)
		}
		wantNames(t, s, room)
		said(t, "ended")(s.touch(ctx, ann, 1))
		said(t, "ended")(s.touch(ctx, bob, 1))
		if r := said(t, "ok")(s.touch(ctx, eve, 1)); r.Status != statusDenied {
			t.Errorf("a denial ended with the meeting: %+v", r)
		}
		said(t, "new")(s.refresh(ctx, bob, "Bob", 1, false))
		wantNames(t, s, room, "Bob")
	})
}

// A sign of life and a decision at the same moment, from two replicas: the decision holds, for as long as it should.
func TestHeartbeatCannotUndoDecision(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	one, two := &Store{Redis: server.Client(t), Rules: testRules()}, &Store{Redis: server.Client(t), Rules: testRules()}
	ctx, room := t.Context(), uuid.New()
	for round := range 100 {
		g := guest(room, uuid.Nil)
		e := said(t, "new")(one.refresh(ctx, g, "Ann", 1, true))
		allow := round%2 == 0
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 5 {
					if _, err := two.touch(ctx, g, 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Go(func() {
			if _, err := one.decide(ctx, room, e.ID, e.Etag, allow, 0, 1); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		after := said(t, "ok")(two.touch(ctx, g, 1))
		want, life := statusDenied, time.Duration(0)
		if allow {
			want, life = statusAccepted, 5*time.Hour
		}
		if after.Status != want || time.Until(after.ends) < max(life, 4*time.Minute) {
			t.Fatalf("round %d: after the decision %+v until %v, want status %d", round, after, after.ends, want)
		}
	}
}

// Hosts who decide differently at the same moment: one decision counts, and the others are told.
func TestDecisionRace(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	ctx, room := t.Context(), uuid.New()
	hosts := []*Store{}
	for range 6 {
		hosts = append(hosts, &Store{Redis: server.Client(t), Rules: testRules()})
	}
	for round := range 50 {
		g := guest(room, uuid.Nil)
		e := said(t, "new")(hosts[0].refresh(ctx, g, "Ann", 1, true))
		words := make([]string, len(hosts))
		var group sync.WaitGroup
		for i, h := range hosts {
			group.Go(func() {
				out, err := h.decide(ctx, room, e.ID, e.Etag, i%2 == 0, 0, 1)
				if err != nil {
					t.Error(err)
				}
				words[i] = out.word
			})
		}
		group.Wait()
		slices.Sort(words)
		if want := []string{"decided", "decided", "decided", "new", "ok", "ok"}; !slices.Equal(words, want) {
			t.Fatalf("round %d: outcomes %v, want %v", round, words, want)
		}
	}
}

// Redis gone: a clear refusal, and nothing is lost when it is back.
func TestStore_redisGone(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s := &Store{Redis: server.Client(t), Rules: testRules()}
	ctx, room := t.Context(), uuid.New()
	g := guest(room, uuid.Nil)
	said(t, "new")(s.refresh(ctx, g, "Ann", 1, true))
	server.Kill()
	if _, err := s.touch(ctx, g, 1); !errors.Is(err, fault.ErrRedis) {
		t.Errorf("without Redis: %v, want REDIS_UNAVAILABLE", err)
	}
	server.Restart()
	// Each of the client's connections finds out by itself that the old server is gone.
	patiently := func(call func() error) {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if !errors.Is(call(), fault.ErrRedis) {
				return
			}
		}
	}
	var out outcome
	var err error
	patiently(func() error { out, err = s.touch(ctx, g, 1); return err })
	said(t, "ok")(out, err)
	var waiting []*record
	patiently(func() error { waiting, _, err = s.list(ctx, room); return err })
	if err != nil || len(waiting) != 1 || waiting[0].Name != "Ann" {
		t.Errorf("waiting are %d (%v), want Ann", len(waiting), err)
	}
}

// The news of one process reach the subscription of another, on both kinds of Redis.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		room, subscribed, got, ended := uuid.New(), make(chan struct{}), make(chan string, 10), make(chan error, 1)
		once := sync.OnceFunc(func() { close(subscribed) })
		go func() {
			ended <- s.subscribe(ctx, once, func(id uuid.UUID, what string) { got <- fmt.Sprint(id == room, " ", what) })
		}()
		<-subscribed
		g := guest(room, uuid.Nil)
		e := said(t, "new")(s.refresh(t.Context(), g, "Ann", 1, true))
		said(t, "ok")(s.touch(t.Context(), g, 1)) // no news
		said(t, "new")(s.decide(t.Context(), room, e.ID, e.Etag, true, 0, 1))
		for _, want := range []string{"true list", "true entry " + e.ID} {
			select {
			case news := <-got:
				if news != want {
					t.Errorf("news %q, want %q", news, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("no news, want %q", want)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v, want that it was cancelled", err)
		}
	})
}

// What nobody comes back to leaves nothing in Redis but the count of denials.
func TestStore_expires(t *testing.T) {
	t.Parallel()
	s := &Store{Redis: testenv.Redis(t).Client(t), Rules: testRules()}
	s.Rules.Waiting, s.Rules.Grace, s.Rules.Accepted = 200*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
	room := uuid.New()
	for range 5 {
		said(t, "new")(s.refresh(t.Context(), guest(room, uuid.Nil), "Ann", 1, true))
	}
	e := said(t, "new")(s.refresh(t.Context(), guest(room, uuid.Nil), "Bob", 1, true))
	said(t, "new")(s.decide(t.Context(), room, e.ID, e.Etag, true, 0, 1))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		n, err := s.Redis.Do(t.Context(), s.Redis.B().Dbsize().Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d keys are left", n)
		}
	}
}

// A meeting that is over takes its own entries with it, and none of the next one's, however late that is heard.
func TestClear_earlierMeetings(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		ctx, room := t.Context(), uuid.New()
		ann, bob, eve, zoe := guest(room, uuid.Nil), guest(room, uuid.Nil), guest(room, uuid.Nil), guest(room, uuid.Nil)
		said(t, "new")(s.refresh(ctx, ann, "Ann", 1, true))
		b := said(t, "new")(s.refresh(ctx, bob, "Bob", 1, true))
		said(t, "new")(s.decide(ctx, room, b.ID, b.Etag, true, 0, 1))
		said(t, "new")(s.refresh(ctx, eve, "Eve", 2, true))
		z := said(t, "new")(s.refresh(ctx, zoe, "Zoe", 2, true))
		said(t, "new")(s.decide(ctx, room, z.ID, z.Etag, true, 0, 2))
		for range 2 {
			if err := s.clear(ctx, room, 2); err != nil {
				t.Fatal(err)
			}
			wantNames(t, s, room, "Eve")
			said(t, "ended")(s.touch(ctx, ann, 2))
			said(t, "ended")(s.touch(ctx, bob, 2))
			if e := said(t, "ok")(s.touch(ctx, zoe, 2)); e.Status != statusAccepted {
				t.Errorf("an admission to the next meeting: %+v", e)
			}
		}
	})
}

// Whoever was put out of the meeting comes back with no ticket of theirs, whether or not there is an entry.
func TestRemove(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		ctx, room, user := t.Context(), uuid.New(), uuid.New()
		ann, bob := guest(room, user), guest(room, uuid.Nil)
		phone, lost := guest(room, user), guest(room, uuid.Nil)
		a := said(t, "new")(s.refresh(ctx, ann, "Ann", 1, true))
		said(t, "new")(s.decide(ctx, room, a.ID, a.Etag, true, 0, 1))
		said(t, "new")(s.refresh(ctx, bob, "Bob", 1, true))
		said(t, "new")(s.refresh(ctx, phone, "Ann's phone", 1, true))
		if err := s.remove(ctx, room, ann.Identity, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		said(t, "invalid")(s.touch(ctx, ann, 1))
		said(t, "invalid")(s.refresh(ctx, ann, "Ann", 1, false))
		said(t, "invalid")(s.admit(ctx, ann, user, 1))
		said(t, "gone")(s.decide(ctx, room, a.ID, a.Etag, true, 0, 1))
		wantNames(t, s, room, "Bob", "Ann's phone")
		// Blocked: on all devices.
		if err := s.remove(ctx, room, ann.Identity, user); err != nil {
			t.Fatal(err)
		}
		said(t, "invalid")(s.refresh(ctx, phone, "Ann's phone", 1, false))
		wantNames(t, s, room, "Bob")
		// Redis had no entry of theirs.
		if err := s.remove(ctx, room, lost.Identity, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		said(t, "invalid")(s.refresh(ctx, lost, "Lost", 1, false))
		said(t, "new")(s.refresh(ctx, guest(room, uuid.Nil), "Lost again", 1, true))
		// What is no time voids nothing.
		b := s.Redis.B()
		if err := s.Redis.Do(ctx, b.Hset().Key(keyPrefix+room.String()+"}:denials").FieldValue().FieldValue("void:"+bob.Identity, "{").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		said(t, "ok")(s.touch(ctx, bob, 1))
	})
}

// The list of 200 is one command of ours, and the script reads all records at once.
func TestList_oneRoundTrip(t *testing.T) {
	t.Parallel()
	s := &Store{Redis: testenv.Redis(t).Client(t), Rules: testRules()}
	room := uuid.New()
	for range 200 {
		said(t, "new")(s.refresh(t.Context(), guest(room, uuid.Nil), "Ann", 1, true))
	}
	calls := func() map[string]int {
		t.Helper()
		text, err := s.Redis.Do(t.Context(), s.Redis.B().Info().Section("commandstats").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		calls := map[string]int{}
		for line := range strings.Lines(text) {
			name, rest, ok := strings.Cut(line, ":calls=")
			count, _, _ := strings.Cut(rest, ",")
			if n, err := strconv.Atoi(count); ok && err == nil {
				calls[strings.TrimPrefix(name, "cmdstat_")] = n
			}
		}
		return calls
	}
	if len(names(t, s, room)) != 200 { // and Redis knows the script
		t.Fatal("not all are listed")
	}
	before := calls()
	names(t, s, room)
	got := calls()
	for name, n := range before {
		if got[name] -= n; got[name] == 0 {
			delete(got, name)
		}
	}
	delete(got, "info") // ours
	want := map[string]int{"evalsha": 1, "time": 1, "zrangebyscore": 2, "zrange": 1, "hmget": 1, "zmscore": 1}
	if !maps.Equal(got, want) {
		t.Errorf("Redis did %v, want %v", got, want)
	}
}
