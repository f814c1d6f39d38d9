package accounts_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
)

func newAccounts(db *dbtx.DB) *accounts.Accounts {
	return &accounts.Accounts{DB: db, CreateUsers: true, MatchByEmail: true, Log: slog.New(slog.DiscardHandler)}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	const address = "ada@people.example"
	withEmail := func(c *ent.UserCreate) { c.SetEmail(address).SetEmailVerified(true) }
	verified := accounts.Claims{Sub: "test-new", Email: address, EmailVerified: true, FullName: "Ada King"}
	for _, c := range []struct {
		name   string
		before [](func(*ent.UserCreate))
		change func(*accounts.Accounts)
		claims accounts.Claims
		// want is the number of the account from before, -1 for a new one, -2 for none.
		want int
		err  string
	}{
		{name: "the first sign-in makes an account", claims: verified, want: -1},
		{name: "unless switched off", change: func(a *accounts.Accounts) { a.CreateUsers = false }, claims: verified, want: -2, err: "does not make accounts"},
		{name: "by sub", before: []func(*ent.UserCreate){func(c *ent.UserCreate) { c.SetSub("test-new") }, withEmail}, claims: verified, want: 0},
		{name: "by verified address", before: []func(*ent.UserCreate){withEmail}, claims: verified, want: 0},
		{name: "by address only if switched on", before: []func(*ent.UserCreate){withEmail}, change: func(a *accounts.Accounts) { a.MatchByEmail = false }, claims: verified, want: -1},
		{name: "by address only if verified", before: []func(*ent.UserCreate){withEmail}, claims: accounts.Claims{Sub: "test-new", Email: address}, want: -1},
		{name: "by an address that is trusted", before: []func(*ent.UserCreate){withEmail}, change: func(a *accounts.Accounts) { a.TrustEmail = true }, claims: accounts.Claims{Sub: "test-new", Email: address}, want: 0},
		{name: "no address is none, trusted or not", before: []func(*ent.UserCreate){func(*ent.UserCreate) {}}, change: func(a *accounts.Accounts) { a.TrustEmail = true }, claims: accounts.Claims{Sub: "test-new"}, want: -1},
		{name: "an empty address matches nobody", before: []func(*ent.UserCreate){func(*ent.UserCreate) {}}, claims: accounts.Claims{Sub: "test-new", EmailVerified: true}, want: -1},
		{name: "the account of another sub is not taken", before: []func(*ent.UserCreate){func(c *ent.UserCreate) { withEmail(c); c.SetSub("test-other") }}, claims: verified, want: -1},
		{name: "several with one address", before: []func(*ent.UserCreate){withEmail, withEmail}, claims: verified, want: -2, err: "several accounts"},
		{name: "inactive", before: []func(*ent.UserCreate){func(c *ent.UserCreate) { c.SetSub("test-new").SetActive(false) }}, claims: verified, want: -2, err: "deactivated"},
		{name: "inactive by address", before: []func(*ent.UserCreate){func(c *ent.UserCreate) { withEmail(c); c.SetActive(false) }}, claims: verified, want: -2, err: "deactivated"},
		{name: "no sub", claims: accounts.Claims{Email: address, EmailVerified: true}, want: -2, err: "usable sub"},
		{name: "a sub of one character", claims: accounts.Claims{Sub: "."}, want: -1},
		{name: "a sub of 255 characters", claims: accounts.Claims{Sub: strings.Repeat("𝒜", 255)}, want: -1},
		{name: "a sub with odd characters", claims: accounts.Claims{Sub: "a b\n'\";--%_\\|é"}, want: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
				var before []*ent.User
				for _, b := range c.before {
					before = append(before, authtest.NewUser(t, db, b))
				}
				service := newAccounts(db)
				if c.change != nil {
					c.change(service)
				}
				got, err := service.SignIn(t.Context(), c.claims)
				if c.want == -2 {
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Errorf("SignIn = %v, %v, want an error with %q", got, err, c.err)
					}
				} else if err != nil {
					t.Fatal(err)
				} else if got.Sub == nil || *got.Sub != c.claims.Sub {
					t.Errorf("sub %v, want %q", got.Sub, c.claims.Sub)
				}
				if c.want >= 0 && got.ID != before[c.want].ID {
					t.Errorf("account %s, want number %d", got.ID, c.want)
				}
				users, err := db.Read.User.Query().Count(t.Context())
				if want := len(before) + map[bool]int{true: 1}[c.want == -1]; err != nil || users != want {
					t.Errorf("%d accounts, %v, want %d", users, err, want)
				}
			})
		})
	}
}

func TestAccounts_update(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		service := newAccounts(db)
		sign := func(c accounts.Claims) *ent.User {
			t.Helper()
			u, err := service.SignIn(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		first := sign(accounts.Claims{Sub: "test", Email: "a@x.example", EmailVerified: true, FullName: "Ada", ShortName: "A"})
		same := sign(accounts.Claims{Sub: "test"})
		if same.ID != first.ID || same.Email != "a@x.example" || !same.EmailVerified || same.FullName != "Ada" || same.ShortName != "A" {
			t.Errorf("empty claims changed the account to %+v", same)
		}
		if !same.UpdateTime.Equal(first.UpdateTime) {
			t.Error("a sign-in with nothing new wrote the account")
		}
		moved := sign(accounts.Claims{Sub: "test", Email: "b@x.example", FullName: "Ada King"})
		if moved.Email != "b@x.example" || moved.EmailVerified || moved.FullName != "Ada King" || moved.ShortName != "A" {
			t.Errorf("new claims made %+v, want the new address, not verified, and the new name", moved)
		}
		if again := sign(accounts.Claims{Sub: "test", Email: "b@x.example", EmailVerified: true}); !again.EmailVerified {
			t.Error("the address was verified since, and the account does not know")
		}
	})
}

// TestAccounts_trustEmail: an address that is trusted counts as verified from the next sign-in on, and no longer when trust is
// withdrawn.
func TestAccounts_trustEmail(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		a := newAccounts(db)
		for n, trusted := range []bool{false, true, false} {
			a.TrustEmail = trusted
			u, err := a.SignIn(t.Context(), accounts.Claims{Sub: "test-new", Email: "ada@people.example"})
			if err != nil {
				t.Fatal(err)
			}
			if u.EmailVerified != trusted {
				t.Errorf("sign-in %d: verified %t, want %t", n, u.EmailVerified, trusted)
			}
		}
	})
}

// TestAccounts_refusedAddress: whoever now has an address that is none here had another one before, which the provider does
// not vouch for any more.
func TestAccounts_refusedAddress(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		a := newAccounts(db)
		for _, c := range []struct {
			claims   accounts.Claims
			verified bool
		}{
			{accounts.Claims{Email: "kate@people.example", EmailVerified: true}, true},
			{accounts.Claims{}, true}, // empty claims erase nothing
			{accounts.Claims{EmailRefused: true}, false},
			{accounts.Claims{Email: "kate@people.example", EmailVerified: true}, true},
		} {
			c.claims.Sub = "test-kate"
			u, err := a.SignIn(t.Context(), c.claims)
			if err != nil {
				t.Fatal(err)
			}
			if u.Email != "kate@people.example" || u.EmailVerified != c.verified {
				t.Errorf("after %+v: %q, verified %t, want %t", c.claims, u.Email, u.EmailVerified, c.verified)
			}
		}
	})
}

func TestAccounts_concurrentFirstSignIn(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		service := newAccounts(db)
		const browsers = 16
		var (
			all sync.WaitGroup
			mu  sync.Mutex
			ids = map[uuid.UUID]int{}
		)
		begin := make(chan struct{})
		for range browsers {
			all.Go(func() {
				<-begin
				u, err := service.SignIn(t.Context(), accounts.Claims{Sub: "test", FullName: "Ada"})
				if err != nil {
					t.Errorf("concurrent first sign-in: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[u.ID]++
			})
		}
		close(begin)
		all.Wait()
		users, err := db.Read.User.Query().Count(t.Context())
		if err != nil || users != 1 || len(ids) != 1 {
			t.Errorf("%d accounts (%v) for %d answers, want one for all", users, err, len(ids))
		}
	})
}
