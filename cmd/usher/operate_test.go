package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/settings/settingstest"
	"github.com/usher-meet/usher/server/telephony"
)

// operatorFixture is an instance to operate: a database and a Redis, and the settings that name them.
type operatorFixture struct {
	environ  []string
	db       *dbtx.DB
	sessions *auth.Sessions
}

// instances runs a test on PostgreSQL and on SQLite, each with a Redis.
func instances(t *testing.T, test func(t *testing.T, o *operatorFixture)) {
	t.Helper()
	for name, database := range map[string]func(*testing.T) string{"postgres": emptyPostgres, "sqlite": emptySQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, redis := database(t), redisServer(t)
			mustUsher(t, []string{"USHER_DATABASE_URL=" + address}, "migrate", "up")
			client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{redis}, DisableCache: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			db, err := dbtx.Open(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(db.Close)
			test(t, &operatorFixture{
				environ:  []string{"USHER_DATABASE_URL=" + address, "USHER_REDIS_ADDRESSES=" + redis, "USHER_SECRET=" + settingstest.Secret},
				db:       db,
				sessions: &auth.Sessions{Redis: client, IdleTimeout: time.Hour, MaxAge: time.Hour},
			})
		})
	}
}

// write runs a transaction that must succeed.
func (o *operatorFixture) write(t *testing.T, fn func(ctx context.Context, tx *ent.Client) error) {
	t.Helper()
	if err := o.db.Run(t.Context(), func(tx *ent.Client) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// mustUser makes an account that can sign in.
func (o *operatorFixture) mustUser(t *testing.T, name string) *ent.User {
	t.Helper()
	var u *ent.User
	o.write(t, func(ctx context.Context, tx *ent.Client) (err error) {
		lower := strings.ToLower(name)
		u, err = tx.User.Create().SetSub("test-" + lower).SetEmail(mailbox.Address(lower + "@example.org")).SetEmailVerified(true).
			SetFullName(name + " Test").SetShortName(name).Save(ctx)
		return err
	})
	return u
}

// mustRoom makes a room with an owner.
func (o *operatorFixture) mustRoom(t *testing.T, slug string, owner *ent.User) *ent.Room {
	t.Helper()
	var r *ent.Room
	o.write(t, func(ctx context.Context, tx *ent.Client) (err error) {
		r, err = tx.Room.Create().SetName("The " + slug).SetNameKey("the " + slug).SetSlug(slug).
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Save(ctx)
		if err != nil {
			return err
		}
		return tx.Member.Create().SetRoomID(r.ID).SetUserID(owner.ID).SetRole(usherv1.Role_ROLE_OWNER).Exec(ctx)
	})
	return r
}

func TestToken(t *testing.T) {
	t.Parallel()
	instances(t, func(t *testing.T, o *operatorFixture) {
		u := o.mustUser(t, "Ada")
		var made tokenView
		mustJSON(t, &made, o.environ, "token", "create", "ADA@example.org", "--scope", "read,rooms", "--name", "test", "--expires", "1h")
		request := httpRequest(made.Token)
		authenticator := o.authenticator()
		caller, err := authenticator.Caller(request)
		if err != nil || caller.User.ID != u.ID {
			t.Fatalf("the token is refused: %v", err)
		}
		if diff := cmp.Diff([]string{"read", "rooms"}, caller.Scopes); diff != "" {
			t.Errorf("scopes (-want +got):\n%s", diff)
		}

		list := mustUsher(t, o.environ, "token", "list", "ada@example.org", "--json")
		wantGolden(t, "token-list.json", list)
		if strings.Contains(list, made.Token) {
			t.Error("the list shows the token")
		}
		mustUsher(t, o.environ, "token", "create", "ada@example.org")
		short := mustUsher(t, o.environ, "token", "list", "--limit", "0")
		if lines := strings.Count(short, "\n"); lines != 3 || !strings.Contains(short, "There are more: use --limit.") {
			t.Errorf("a short list:\n%s", short)
		}
		var second struct{ Tokens []tokenView }
		mustJSON(t, &second, o.environ, "token", "list", "--limit", "1")
		mustUsher(t, o.environ, "token", "revoke", second.Tokens[0].ID)
		mustUsher(t, o.environ, "token", "revoke", made.ID)
		if _, err := authenticator.Caller(request); err == nil {
			t.Error("the token still works")
		}
		var left struct{ Tokens []tokenView }
		mustJSON(t, &left, o.environ, "token", "list")
		if len(left.Tokens) != 0 {
			t.Errorf("still listed: %v", left.Tokens)
		}
		mustJSON(t, &left, o.environ, "token", "list", "--all")
		if len(left.Tokens) != 2 || left.Tokens[0].RevokeTime == nil {
			t.Errorf("not listed with --all: %v", left.Tokens)
		}

		for want, args := range map[string][]string{
			"there is no such user":      {"token", "create", "nobody@example.org"},
			"scopes read, rooms":         {"token", "create", "ada@example.org", "--scope", "everything"},
			"expire in the future":       {"token", "create", "ada@example.org", "--expires=-1h"},
			"there is no such API token": {"token", "revoke", uuid.NewString()},
		} {
			wantRefused(t, usher(t, o.environ, args...), 1, want)
		}
		wantRefused(t, usher(t, o.environ, "token", "create", "ada"), 2, "an account is named by its id or e-mail address")
	})
}

// authenticator is that of a server on this instance.
func (o *operatorFixture) authenticator() *auth.Authenticator {
	return &auth.Authenticator{DB: o.db, Keys: auth.NewKeys([]byte(settingstest.Secret), nil), Sessions: o.sessions, Log: slog.New(slog.DiscardHandler)}
}

// httpRequest carries a bearer token.
func httpRequest(token string) *http.Request {
	r, _ := http.NewRequest(http.MethodPost, "http://localhost/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestUser(t *testing.T) {
	t.Parallel()
	instances(t, func(t *testing.T, o *operatorFixture) {
		ada, bob := o.mustUser(t, "Ada"), o.mustUser(t, "Bob")
		o.mustRoom(t, "weekly", ada)

		wantGolden(t, "user-list.json", mustUsher(t, o.environ, "user", "list", "--query", "ADA", "--json"))
		wantGolden(t, "user-show.json", mustUsher(t, o.environ, "user", "show", "ada@example.org", "--json"))
		wantGolden(t, "user-export.json", mustUsher(t, o.environ, "user", "export", ada.ID.String()))
		if out := mustUsher(t, o.environ, "user", "list", "--limit", "1"); !strings.Contains(out, "There are more") || !strings.Contains(out, "bob@example.org") {
			t.Errorf("the newest account and a hint, want:\n%s", out)
		}

		token, err := o.sessions.Create(t.Context(), bob.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		mustUsher(t, o.environ, "user", "deactivate", "bob@example.org")
		if _, err := o.sessions.Lookup(t.Context(), token); err == nil {
			t.Error("a deactivated user is still signed in")
		}
		if n := o.db.Read.LiveTask.Query().Where(livetask.UserID(bob.ID)).CountX(t.Context()); n != 1 {
			t.Errorf("%d tasks remove the user from meetings, want 1", n)
		}
		var inactive struct{ Users []userView }
		mustJSON(t, &inactive, o.environ, "user", "list", "--inactive")
		if len(inactive.Users) != 1 || inactive.Users[0].ID != bob.ID.String() {
			t.Errorf("inactive: %v", inactive.Users)
		}
		mustUsher(t, o.environ, "user", "reactivate", bob.ID.String())

		wantRefused(t, usher(t, o.environ, "user", "delete", "ada@example.org"), 2, "repeat the command with --yes")
		wantRefused(t, usher(t, o.environ, "user", "delete", "ada@example.org", "--yes"), 1, "last owner of rooms")
		wantRefused(t, usher(t, o.environ, "user", "merge", "ada@example.org", "bob@example.org", "--yes"), 1, "both accounts have a sub")
		mustUsher(t, o.environ, "user", "merge", "ada@example.org", "bob@example.org", "--drop-sub", "--yes")
		var shown userView
		mustJSON(t, &shown, o.environ, "user", "show", "bob@example.org")
		if len(shown.Rooms) != 1 || shown.Rooms[0].Role != "owner" {
			t.Errorf("rooms after the merge: %v", shown.Rooms)
		}
		wantRefused(t, usher(t, o.environ, "user", "show", ada.ID.String()), 1, "there is no such user")
		mustUsher(t, o.environ, "room", "delete", "weekly", "--yes")
		mustUsher(t, o.environ, "user", "delete", "bob@example.org", "--yes")
		if n := o.db.Read.User.Query().CountX(t.Context()); n != 0 {
			t.Errorf("%d accounts are left", n)
		}
	})
}

// testJob is a job that no server knows.
type testJob struct {
	RoomID string `json:"room_id"`
}

func (testJob) Kind() string { return "test.job" }

func TestJobs(t *testing.T) {
	t.Parallel()
	instances(t, func(t *testing.T, o *operatorFixture) {
		// A server that gives the job up at once.
		r := jobs.NewRegistry()
		given := make(chan struct{}, 2)
		jobs.Handle(r, func(context.Context, testJob) error {
			defer func() { given <- struct{}{} }()
			return jobs.Permanent(errors.New("the room of ada@example.org is gone"))
		})
		server, err := jobs.New(o.db, r, jobs.Options{Keep: time.Hour, StopTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := server.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		enqueue := func() {
			o.write(t, func(ctx context.Context, tx *ent.Client) error {
				return server.Enqueue(ctx, tx, testJob{RoomID: uuid.NewString()})
			})
		}
		enqueue()
		<-given
		stop()
		running.Wait()
		enqueue() // and nobody does it

		wantGolden(t, "jobs-list.json", mustUsher(t, o.environ, "jobs", "list", "--json"))
		wantGolden(t, "jobs-show.json", mustUsher(t, o.environ, "jobs", "show", "1", "--json"))
		if out := mustUsher(t, o.environ, "jobs", "list"); !strings.Contains(out, "dead     1 of") || !strings.Contains(out, "of *** is gone") {
			t.Errorf("the list:\n%s", out)
		}
		if out := mustUsher(t, o.environ, "jobs", "list", "--limit", "1"); !strings.Contains(out, "There are more: use --limit") {
			t.Errorf("a short list:\n%s", out)
		}
		var dead, all struct{ Jobs []jobView }
		mustJSON(t, &dead, o.environ, "jobs", "list", "--state", "dead", "--kind", "test.job")
		mustJSON(t, &all, o.environ, "jobs", "list", "--state", "all", "--kind", "test.other")
		if len(dead.Jobs) != 1 || len(all.Jobs) != 0 {
			t.Errorf("dead: %v, of another kind: %v", dead.Jobs, all.Jobs)
		}
		var retried jobView
		mustJSON(t, &retried, o.environ, "jobs", "retry", "1")
		if retried.State != "waiting" || retried.EndTime != nil {
			t.Errorf("after the retry: %+v", retried)
		}
		wantRefused(t, usher(t, o.environ, "jobs", "retry", "1"), 1, "waiting to be done already")
		wantRefused(t, usher(t, o.environ, "jobs", "delete", "1"), 2, "repeat the command with --yes")
		mustUsher(t, o.environ, "jobs", "delete", "1", "--yes")
		wantRefused(t, usher(t, o.environ, "jobs", "show", "1"), 1, "see usher jobs list --state=all")
	})
}

// Errors say what to do next.
func TestAdvice(t *testing.T) {
	t.Parallel()
	instances(t, func(t *testing.T, o *operatorFixture) {
		o.mustUser(t, "Ada")
		mustUsher(t, o.environ, "user", "deactivate", "ada@example.org")
		wantRefused(t, usher(t, o.environ, "token", "create", "ada@example.org"), 1, "usher user reactivate")
		wantRefused(t, usher(t, o.environ, "user", "show", "eve@example.org"), 1, "see usher user list")
		wantRefused(t, usher(t, o.environ, "room", "show", "none"), 1, "see usher room list")
		gone := append(slices.Clone(o.environ), "USHER_REDIS_ADDRESSES=127.0.0.1:1")
		wantRefused(t, usher(t, gone, "user", "reactivate", "ada@example.org"), 1, "USHER_REDIS_ADDRESSES says where it is")
		wantRefused(t, usher(t, append(settingstest.Environ(), gone...), "serve"), 1, "USHER_REDIS_ADDRESSES says where it is")
		gone = append(slices.Clone(o.environ), "USHER_DATABASE_URL=postgres://test@127.0.0.1:1/test")
		wantRefused(t, usher(t, gone, "user", "list"), 1, "the database that USHER_DATABASE_URL names cannot be used")
		wantRefused(t, usher(t, append(settingstest.Environ(), gone...), "serve"), 1, "USHER_DATABASE_URL says where it is")
	})
}

func TestUser_sameAddress(t *testing.T) {
	t.Parallel()
	instances(t, func(t *testing.T, o *operatorFixture) {
		for range 2 {
			o.write(t, func(ctx context.Context, tx *ent.Client) error {
				return tx.User.Create().SetSub(uuid.NewString()).SetEmail("same@example.org").Exec(ctx)
			})
		}
		wantRefused(t, usher(t, o.environ, "user", "deactivate", "same@example.org"), 1, "several accounts have this address")
	})
}

func TestRoom(t *testing.T) {
	t.Parallel()
	instances(t, func(t *testing.T, o *operatorFixture) {
		ada, bob := o.mustUser(t, "Ada"), o.mustUser(t, "Bob")
		r := o.mustRoom(t, "weekly", ada)
		o.mustRoom(t, "other", bob)

		wantGolden(t, "room-list.json", mustUsher(t, o.environ, "room", "list", "--query", "WEEK", "--json"))
		mustUsher(t, o.environ, "room", "set-owner", "Weekly", "bob@example.org")
		wantGolden(t, "room-show.json", mustUsher(t, o.environ, "room", "show", r.ID.String(), "--json"))
		var his struct{ Rooms []roomView }
		mustJSON(t, &his, o.environ, "room", "list", "--user", "bob@example.org")
		if len(his.Rooms) != 2 {
			t.Errorf("rooms of the new owner: %v", his.Rooms)
		}

		line := uuid.NewString()
		var pin *ent.Pin
		o.write(t, func(ctx context.Context, tx *ent.Client) (err error) {
			if pin, err = tx.Pin.Create().SetTrunkID(line).SetPin("123456789").SetRoomID(r.ID).Save(ctx); err != nil {
				return err
			}
			return tx.DispatchRule.Create().SetID(r.ID).SetRuleID("SDR_test").Exec(ctx)
		})
		wantRefused(t, usher(t, o.environ, "room", "rotate-pins"), 2, "repeat the command with --yes")
		var rotated struct{ Rooms int }
		mustJSON(t, &rotated, o.environ, "room", "rotate-pins", "--yes")
		var found struct{ Jobs []jobView }
		mustJSON(t, &found, o.environ, "jobs", "list", "--state", "all", "--kind", telephony.RotateJob{}.Kind())
		if rotated.Rooms != 1 || len(found.Jobs) != 1 || !strings.Contains(string(found.Jobs[0].Args), pin.ID.String()) {
			t.Errorf("rotate-pins: %d rooms and the jobs %+v, want one about the PIN %s", rotated.Rooms, found.Jobs, pin.ID)
		}

		wantRefused(t, usher(t, o.environ, "room", "show", "none"), 1, "there is no such room")
		wantRefused(t, usher(t, o.environ, "room", "delete", "weekly"), 2, "repeat the command with --yes")
		mustUsher(t, o.environ, "room", "delete", "weekly", "--yes")
		wantRefused(t, usher(t, o.environ, "room", "delete", "weekly", "--yes"), 1, "there is no such room")
		if n := o.db.Read.LiveTask.Query().Where(livetask.RoomID(r.ID), livetask.KindEQ(livetask.KindCloseRoom)).CountX(t.Context()); n != 1 {
			t.Errorf("%d tasks end the meeting, want 1", n)
		}
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) string{
		"postgres": emptyPostgres, "sqlite": emptySQLite,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environ := []string{"USHER_DATABASE_URL=" + database(t)}
			type status struct {
				UpToDate   bool `json:"up_to_date"`
				Migrations []struct{ Applied bool }
			}
			var before, after status
			mustJSON(t, &before, environ, "migrate", "status")
			if before.UpToDate || len(before.Migrations) == 0 || before.Migrations[0].Applied {
				t.Errorf("an empty database: %+v", before)
			}
			if out := mustUsher(t, environ, "migrate", "status"); !strings.Contains(out, "run `usher migrate up`") {
				t.Errorf("no hint what to do:\n%s", out)
			}
			mustUsher(t, environ, "migrate", "up")
			mustJSON(t, &after, environ, "migrate", "status")
			if !after.UpToDate {
				t.Errorf("a migrated database: %+v", after)
			}
			if out := mustUsher(t, environ, "migrate", "up"); !strings.Contains(out, "up to date") {
				t.Errorf("the second time:\n%s", out)
			}
		})
	}
}
