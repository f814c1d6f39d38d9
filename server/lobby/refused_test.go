package lobby

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// Whatever Redis refuses to its user, a script that fails leaves the room as it was: no guest in the list of a host who was
// told to try again, and no key that never ends.
func TestStore_refusedCommands(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	admin := &Store{Redis: server.Client(t), Rules: testRules()}
	refused := []string{
		"resetchannels", "-publish", "-hset", "-hdel", "-zadd", "-zrem", "-pexpireat", "-pexpire", "-pttl", "-zrank", "-zrevrange",
		"-zcard", "-hkeys",
	}
	for _, rule := range refused {
		limited, failed := &Store{Redis: limitedClient(t, server, rule), Rules: testRules()}, false
		for name, change := range changes(t, admin) {
			room, run := change(t)
			before := contents(t, admin, room)
			err := run(limited)
			if err == nil {
				continue
			}
			failed = true
			if !errors.Is(err, fault.ErrRedis) {
				t.Errorf("%s, with %q: %v, want REDIS_UNAVAILABLE", name, rule, err)
			}
			if after := contents(t, admin, room); !slices.Equal(after, before) {
				t.Errorf("%s failed because of %q, and left\n%s\nwhere before was\n%s",
					name, rule, strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		}
		if !failed {
			t.Errorf("nothing failed with %q: the test shows nothing", rule)
		}
	}
}

// changes are those that the scripts make: each returns a room, and what is to be done in it.
func changes(t *testing.T, admin *Store) map[string]func(*testing.T) (uuid.UUID, func(*Store) error) {
	t.Helper()
	ctx := t.Context()
	// waiting is a room with a guest whom nobody has decided about.
	waiting := func(t *testing.T) (uuid.UUID, *record, func(*Store, context.Context) error) {
		t.Helper()
		room := uuid.New()
		ticket := guest(room, uuid.New())
		e := said(t, "new")(admin.refresh(ctx, ticket, "Ann", 1, true))
		return room, e, func(s *Store, ctx context.Context) error {
			_, err := s.finish(ctx, ticket, whyCancelled, "")
			return err
		}
	}
	decide := func(allow bool) func(*testing.T) (uuid.UUID, func(*Store) error) {
		return func(t *testing.T) (uuid.UUID, func(*Store) error) {
			room, e, _ := waiting(t)
			return room, func(s *Store) error {
				_, err := s.decide(ctx, room, e.ID, e.Etag, allow, 0, 1)
				return err
			}
		}
	}
	calls := []meeting.Call{{ID: "SCL_test", Identity: "sip_test", Name: "Phone"}}
	return map[string]func(*testing.T) (uuid.UUID, func(*Store) error){
		"a first request": func(*testing.T) (uuid.UUID, func(*Store) error) {
			room := uuid.New()
			return room, func(s *Store) error {
				_, err := s.refresh(ctx, guest(room, uuid.Nil), "Ann", 1, true)
				return err
			}
		},
		"an admission": decide(true),
		"a denial":     decide(false),
		"giving up": func(t *testing.T) (uuid.UUID, func(*Store) error) {
			room, _, cancel := waiting(t)
			return room, func(s *Store) error { return cancel(s, ctx) }
		},
		"the end of a meeting": func(t *testing.T) (uuid.UUID, func(*Store) error) {
			room, _, _ := waiting(t)
			return room, func(s *Store) error { return s.clear(ctx, room, 0) }
		},
		"a removal": func(t *testing.T) (uuid.UUID, func(*Store) error) {
			room, e, _ := waiting(t)
			return room, func(s *Store) error { return s.remove(ctx, room, e.Identity, uuid.Nil) }
		},
		"a phone call": func(*testing.T) (uuid.UUID, func(*Store) error) {
			room := uuid.New()
			return room, func(s *Store) error {
				_, err := s.calls(ctx, room, 1, false, calls, true)
				return err
			}
		},
		"the end of a phone call": func(t *testing.T) (uuid.UUID, func(*Store) error) {
			room := uuid.New()
			if _, err := admin.calls(ctx, room, 1, false, calls, true); err != nil {
				t.Fatal(err)
			}
			return room, func(s *Store) error {
				_, err := s.runOne(ctx, callEndedScript, room, arguments{ID: callEntry(room, calls[0])})
				return err
			}
		},
	}
}

// limitedClient connects as a user who may do all that concerns Usher's keys and channels, but for one rule.
func limitedClient(t *testing.T, server *testenv.RedisServer, rule string) rueidis.Client {
	t.Helper()
	set := []string{"SETUSER", "usher" + rule, "reset", "on", ">test-password", "~usher:1:*", "&usher:1:lobby:{*}:news", "+@all", rule}
	admin := server.Client(t)
	if err := admin.Do(t.Context(), admin.B().Arbitrary("ACL").Args(set...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.Address}, Username: "usher" + rule, Password: "test-password", DisableCache: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// contents are the keys of a room with what is in them. All of them end some time.
func contents(t *testing.T, s *Store, room uuid.UUID) (out []string) {
	t.Helper()
	ctx, b, tag := t.Context(), s.Redis.B, keyPrefix+room.String()+"}"
	for _, name := range []string{":entries", ":denials"} {
		fields, err := s.Redis.Do(ctx, b().Hgetall().Key(tag+name).Build()).AsStrMap()
		if err != nil {
			t.Fatal(err)
		}
		for field, value := range fields {
			out = append(out, fmt.Sprintln(name, field, value))
		}
	}
	for _, name := range []string{":waiting", ":expire"} {
		members, err := s.Redis.Do(ctx, b().Zrange().Key(tag+name).Min("0").Max("-1").Withscores().Build()).AsZScores()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			out = append(out, fmt.Sprintln(name, m.Member, int64(m.Score)))
		}
	}
	for _, name := range []string{":entries", ":denials", ":waiting", ":expire"} {
		left, err := s.Redis.Do(ctx, b().Pttl().Key(tag+name).Build()).AsInt64()
		if err != nil || left == -1 || time.Duration(left)*time.Millisecond > 3*deniedMost {
			t.Errorf("%s ends in %d ms, %v", name, left, err)
		}
	}
	slices.Sort(out)
	return out
}
