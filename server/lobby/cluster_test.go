package lobby

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// The same scripts on a Redis Cluster: each room is on one node, rooms are on different ones, and the news of all of them
// reach the one subscription of a process.
func TestLobbyCluster(t *testing.T) {
	t.Parallel()
	addresses := testenv.RedisCluster(t)
	stores := []*Store{}
	for range 2 {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addresses, DisableCache: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		stores = append(stores, &Store{Redis: c, Rules: testRules()})
	}
	one, two := stores[0], stores[1]
	streams := []*openStreams{newOpenStreams(one.Redis), newOpenStreams(two.Redis)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	subscribed, ended := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	heard := map[uuid.UUID]bool{}
	once := sync.OnceFunc(func() { close(subscribed) })
	go func() {
		defer close(ended)
		_ = two.subscribe(ctx, once, func(room uuid.UUID, what string) {
			mu.Lock()
			defer mu.Unlock()
			heard[room] = heard[room] || what != "list"
		})
	}()
	<-subscribed
	const rooms = 30
	for range rooms {
		room := uuid.New()
		ann, bob, eve := guest(room, uuid.Nil), guest(room, uuid.New()), guest(room, uuid.Nil)
		a := said(t, "new")(one.refresh(t.Context(), ann, "Ann", 1, true))
		b := said(t, "new")(two.refresh(t.Context(), bob, "Bob", 1, true))
		e := said(t, "new")(one.refresh(t.Context(), eve, "Eve", 1, true))
		wantNames(t, two, room, "Ann", "Bob", "Eve")
		said(t, "new")(two.decide(t.Context(), room, a.ID, a.Etag, true, 0, 1))
		said(t, "decided")(one.decide(t.Context(), room, a.ID, a.Etag, false, 0, 1))
		if decided, err := two.decideAll(t.Context(), room, []seenEntry{{ID: b.ID, Etag: b.Etag}}, false, 1); err != nil || len(decided) != 1 {
			t.Fatalf("decided %v, %v", decided, err)
		}
		said(t, "ok")(two.finish(t.Context(), eve, whyCancelled, ""))
		said(t, "ended")(one.touch(t.Context(), eve, 1))
		wantNames(t, one, room)
		if ok, _, err := one.takeNotice(t.Context(), room); err != nil || !ok {
			t.Fatalf("notice: %v, %v", ok, err)
		}
		said(t, "new")(one.refresh(t.Context(), guest(room, uuid.Nil), "Zoe", 1, true))
		if err := two.clear(t.Context(), room, 2); err != nil {
			t.Fatal(err)
		}
		wantNames(t, one, room)
		if err := two.remove(t.Context(), room, eve.Identity, uuid.New()); err != nil {
			t.Fatal(err)
		}
		said(t, "invalid")(one.refresh(t.Context(), eve, "Eve", 1, false))
		user := &auth.Caller{Kind: auth.User, User: &ent.User{ID: uuid.New()}, AddressPrefix: "192.0.2.0/24"}
		rules := StreamRules{MaxAge: time.Minute, PerTicket: 1, PerUser: 10, PerNetwork: 1000}
		release := opened(t, streams[0], rules, user, e.ID)
		wantTooMany(t, streams[1], rules, user, e.ID)
		release()
		opened(t, streams[1], rules, user, e.ID)
		if err := one.clear(t.Context(), room, 0); err != nil {
			t.Fatal(err)
		}
		said(t, "gone")(two.decide(t.Context(), room, e.ID, e.Etag, true, 0, 1))
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		n := len(heard)
		mu.Unlock()
		if n == rooms {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("heard of %d rooms, want %d", n, rooms)
		}
	}
	cancel()
	<-ended
	keys := []string{}
	for address, node := range one.Redis.Nodes() {
		n, err := node.Do(t.Context(), node.B().Dbsize().Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, fmt.Sprint(address, ": ", n))
		if n == 0 {
			t.Errorf("%s holds nothing: the rooms are not spread", address)
		}
	}
	t.Log(keys)
}
