package livekit

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/livekit/protocol/livekit"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// newPhoneClient connects to a livekit-server with a Redis, which has one trunk for each number.
func newPhoneClient(t *testing.T, numbers ...string) (*Client, []string) {
	t.Helper()
	server := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})
	c := mustNew(t, Config{URL: server.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret})
	trunks := make([]string, len(numbers))
	for i, number := range numbers {
		err := c.callSIP(t.Context(), "create trunk", func(ctx context.Context) error {
			res, err := c.sip.CreateSIPInboundTrunk(ctx, &livekit.CreateSIPInboundTrunkRequest{
				Trunk: &livekit.SIPInboundTrunkInfo{Name: "test", Numbers: []string{number}},
			})
			trunks[i] = res.GetSipTrunkId()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return c, trunks
}

func newRule(trunk, pin string) meeting.DispatchRule {
	room := uuid.NewString()
	return meeting.DispatchRule{Name: "SIP_" + room, Room: room, PIN: pin, Trunks: []string{trunk}, Held: true, HidesNumbers: true}
}

// What this package counts on about LiveKit's rules.
func TestDispatchRules(t *testing.T) {
	t.Parallel()
	c, trunks := newPhoneClient(t, "+33123456789", "+3222222222")
	ctx := t.Context()
	listed, err := c.InboundTrunks(ctx)
	if err != nil || len(listed) != 2 || listed[0].Bounded || listed[0].Authenticated || len(listed[0].Numbers) != 1 {
		t.Fatalf("trunks: %+v, %v", listed, err)
	}

	rule := newRule(trunks[0], "0123456789")
	if rule.ID, err = c.CreateRule(ctx, rule); err != nil || rule.ID == "" {
		t.Fatalf("create: %q, %v", rule.ID, err)
	}
	wantRules(t, c, trunks[0], rule)
	wantRules(t, c, trunks[1])

	if _, err := c.CreateRule(ctx, newRule(trunks[0], rule.PIN)); !errors.Is(err, meeting.ErrClash) {
		t.Errorf("another room's rule with the PIN: %v, want a clash", err)
	}
	if _, err := c.CreateRule(ctx, rule); !errors.Is(err, meeting.ErrClash) {
		t.Errorf("the same rule again: %v, want a clash", err)
	}
	elsewhere := newRule(trunks[1], rule.PIN)
	if elsewhere.ID, err = c.CreateRule(ctx, elsewhere); err != nil {
		t.Errorf("the same PIN on another trunk: %v", err)
	}

	// A rule that is changed keeps its id and says just what it was told.
	rule.PIN, rule.Held = "9876543210", false
	if err := c.UpdateRule(ctx, rule); err != nil {
		t.Fatal(err)
	}
	wantRules(t, c, trunks[0], rule)
	second := newRule(trunks[1], "5555555555")
	if second.ID, err = c.CreateRule(ctx, second); err != nil {
		t.Fatal(err)
	}
	second.PIN = elsewhere.PIN
	if err := c.UpdateRule(ctx, second); !errors.Is(err, meeting.ErrClash) {
		t.Errorf("an update to a PIN in use: %v, want a clash", err)
	}

	if err := c.DeleteRule(ctx, rule.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteRule(ctx, rule.ID); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("deleting a rule twice: %v, want meeting.ErrNotFound", err)
	}
	if err := c.UpdateRule(ctx, rule); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("updating a rule that was deleted: %v, want meeting.ErrNotFound", err)
	}
	wantRules(t, c, trunks[0])
}

// wantRules compares the rules for a trunk.
func wantRules(t *testing.T, c *Client, trunk string, want ...meeting.DispatchRule) {
	t.Helper()
	got, err := c.ListRules(t.Context(), trunk)
	if err != nil || len(got) != len(want) {
		t.Fatalf("rules for %s: %+v, %v, want %+v", trunk, got, err, want)
	}
	for i, w := range want {
		if g := got[i]; g.ID != w.ID || g.Name != w.Name || g.Room != w.Room || g.PIN != w.PIN || g.Held != w.Held ||
			g.HidesNumbers != w.HidesNumbers || len(g.Trunks) != 1 || g.Trunks[0] != w.Trunks[0] {
			t.Errorf("rule %d for %s: %+v, want %+v", i, trunk, g, w)
		}
	}
}

// Two rules that clash on another trunk do not keep ours from being made.
func TestCreateRule_clashElsewhere(t *testing.T) {
	t.Parallel()
	c, trunks := newPhoneClient(t, "+33123456789", "+3222222222")
	ctx := t.Context()
	pair := newRule(trunks[1], "1111111111")
	for tries := 0; ; tries++ {
		// LiveKit looks and stores in two steps, so of several at once more than one comes through.
		done := make(chan struct{})
		for range 8 {
			go func() { _, _ = c.CreateRule(ctx, pair); done <- struct{}{} }()
		}
		for range 8 {
			<-done
		}
		rules, err := c.ListRules(ctx, trunks[1])
		if err != nil {
			t.Fatal(err)
		}
		if len(rules) > 1 {
			break
		}
		if tries == 500 {
			t.Fatal("LiveKit made no two rules in 500 tries")
		}
		for _, r := range rules {
			if err := c.DeleteRule(ctx, r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := c.CreateRule(ctx, newRule(trunks[1], "2222222222")); !errors.Is(err, meeting.ErrClash) {
		t.Errorf("a rule beside the pair: %v, want a clash", err)
	}
	if _, err := c.CreateRule(ctx, newRule(trunks[0], "2222222222")); err != nil {
		t.Errorf("a rule for another trunk: %v", err)
	}
}

func TestInboundTrunks_withoutRedis(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	if _, err := c.InboundTrunks(t.Context()); !errors.Is(err, meeting.ErrNoTelephony) {
		t.Errorf("got %v, want meeting.ErrNoTelephony", err)
	}
}

// A list of addresses that everybody's is in keeps nobody out.
func TestBounded(t *testing.T) {
	t.Parallel()
	for _, addresses := range [][]string{
		nil, {"0.0.0.0/0"}, {"192.0.2.1", "0.0.0.0/0"}, {"0.0.0.0/1", "128.0.0.0/1"}, {"::/0"}, {" 0.0.0.0/0 "},
	} {
		if bounded(addresses) {
			t.Errorf("%v keeps somebody out", addresses)
		}
	}
	for _, addresses := range [][]string{{"192.0.2.1"}, {"192.0.2.0/24"}, {"10.0.0.0/8"}, {"2001:db8::/32"}, {"sip.example.org"}} {
		if !bounded(addresses) {
			t.Errorf("%v keeps nobody out", addresses)
		}
	}
}
