package lobby

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/ratelimit"
)

// opened takes a stream that must be allowed.
func opened(t *testing.T, o *openStreams, rules StreamRules, c *auth.Caller, entry string) func() {
	t.Helper()
	release, err := o.take(t.Context(), rules, c, entry)
	if err != nil {
		t.Fatalf("a stream that may be open: %v", err)
	}
	return release
}

func wantTooMany(t *testing.T, o *openStreams, rules StreamRules, c *auth.Caller, entry string) {
	t.Helper()
	if _, err := o.take(t.Context(), rules, c, entry); !errors.Is(err, ratelimit.ErrLimited) {
		t.Fatalf("one stream too many: %v, want RATE_LIMITED", err)
	}
}

// Streams are counted over all replicas, by ticket, user and network.
func TestOpenStreams(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s *Store) {
		one, two := newOpenStreams(s.Redis), newOpenStreams(s.Redis)
		rules := StreamRules{MaxAge: time.Minute, PerTicket: 2, PerUser: 3, PerNetwork: 5}
		guest := &auth.Caller{AddressPrefix: "192.0.2.0/24"}
		entry := uuid.NewString()
		closeFirst := opened(t, one, rules, guest, entry)
		opened(t, two, rules, guest, entry)
		wantTooMany(t, one, rules, guest, entry)
		wantTooMany(t, two, rules, guest, entry)
		closeFirst()
		closeFirst() // once
		opened(t, two, rules, guest, entry)
		wantTooMany(t, one, rules, guest, entry)

		user := &auth.Caller{Kind: auth.User, User: &ent.User{ID: uuid.New()}, AddressPrefix: "192.0.2.0/24"}
		closeHost := opened(t, one, rules, user, "")
		opened(t, two, rules, user, "")
		opened(t, two, rules, user, "")
		elsewhere := *user
		elsewhere.AddressPrefix = "198.51.100.0/24"
		wantTooMany(t, one, rules, &elsewhere, "")
		// Two are open in the network: those of hosts are their own.
		closeGuest := opened(t, one, rules, guest, uuid.NewString())
		opened(t, two, rules, guest, uuid.NewString())
		opened(t, two, rules, guest, uuid.NewString())
		wantTooMany(t, one, rules, guest, uuid.NewString())
		opened(t, one, rules, &auth.Caller{AddressPrefix: "203.0.113.0/24"}, uuid.NewString())
		closeHost()
		opened(t, one, rules, user, "")
		wantTooMany(t, one, rules, guest, uuid.NewString())
		closeGuest()
		opened(t, one, rules, guest, uuid.NewString())
		// What was refused counted nowhere.
		wantTooMany(t, two, rules, guest, uuid.NewString())
	})
}

// The streams of a replica that was killed lapse with its lease, and those of one that lives do not.
func TestOpenStreams_killed(t *testing.T) {
	t.Parallel()
	s := &Store{Redis: testenv.Redis(t).Client(t)}
	killed, lives := newOpenStreams(s.Redis), newOpenStreams(s.Redis)
	killed.lease, lives.lease = 2*time.Second, 2*time.Second
	rules := StreamRules{MaxAge: time.Minute, PerNetwork: 2}
	c := &auth.Caller{AddressPrefix: "192.0.2.0/24"}
	late := opened(t, killed, rules, c, "")
	stays := opened(t, lives, rules, c, "")
	wantTooMany(t, lives, rules, c, "")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := lives.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := lives.take(t.Context(), rules, c, ""); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the streams of the killed replica still count")
		}
	}
	wantTooMany(t, lives, rules, c, "")
	// It was only asleep: what lapsed is not released twice, nor at the cost of others.
	late()
	wantTooMany(t, killed, rules, c, "")
	stays()
	opened(t, killed, rules, c, "")
}

// Without Redis nobody is kept out by what cannot be counted, and after a loss of its data nothing counts below nothing.
func TestOpenStreams_redisGone(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	client := server.Client(t)
	o := newOpenStreams(client)
	rules := StreamRules{MaxAge: time.Minute, PerNetwork: 2}
	c := &auth.Caller{AddressPrefix: "192.0.2.0/24"}
	before := []func(){opened(t, o, rules, c, ""), opened(t, o, rules, c, "")}
	if err := client.Do(t.Context(), client.B().Flushall().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	for _, release := range before {
		release()
	}
	opened(t, o, rules, c, "")
	opened(t, o, rules, c, "")
	wantTooMany(t, o, rules, c, "")
	server.Kill()
	opened(t, o, rules, c, "")()
}

// Counters that are forgotten end by themselves.
func TestOpenStreams_expire(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	o := newOpenStreams(client)
	o.lease = 200 * time.Millisecond
	opened(t, o, StreamRules{MaxAge: -time.Minute + 200*time.Millisecond, PerNetwork: 2, PerTicket: 2}, &auth.Caller{AddressPrefix: "192.0.2.0/24"}, uuid.NewString())
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		n, err := client.Do(t.Context(), client.B().Dbsize().Build()).AsInt64()
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
