package auth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
)

func TestAPITokens_create(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := authtest.NewAPIOn(t, db, testenv.Redis(t).Client(t))
		tokens := &auth.APITokens{DB: db, Keys: w.Keys}
		u, inactive := w.User(), w.User(func(c *ent.UserCreate) { c.SetActive(false) })
		soon := time.Now().Add(time.Hour)
		for _, c := range []struct {
			name string
			wish auth.CreateAPITokenParams
			want string
		}{
			{"no scopes", auth.CreateAPITokenParams{UserID: u.ID, ExpireTime: soon}, "scopes"},
			{"an unknown scope", auth.CreateAPITokenParams{UserID: u.ID, Scopes: []string{"read", "telephony"}, ExpireTime: soon}, "scopes"},
			{"no end", auth.CreateAPITokenParams{UserID: u.ID, Scopes: []string{"read"}}, "expire"},
			{"367 days", auth.CreateAPITokenParams{UserID: u.ID, Scopes: []string{"read"}, ExpireTime: soon.AddDate(0, 0, 367)}, "366 days"},
			{"a long name", auth.CreateAPITokenParams{UserID: u.ID, Scopes: []string{"read"}, ExpireTime: soon, Name: strings.Repeat("n", 101)}, "100"},
			{"nobody", auth.CreateAPITokenParams{UserID: uuid.New(), Scopes: []string{"read"}, ExpireTime: soon}, "no such user"},
			{"an inactive user", auth.CreateAPITokenParams{UserID: inactive.ID, Scopes: []string{"read"}, ExpireTime: soon}, "deactivated"},
		} {
			if _, _, err := tokens.Create(t.Context(), c.wish); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
		if all, err := tokens.List(t.Context(), uuid.Nil); err != nil || len(all) != 0 {
			t.Errorf("List after refusals = %v, %v, want none", all, err)
		}
		w.APIToken(u, auth.ScopeRead)
		w.APIToken(u, auth.ScopeRooms)
		for id, want := range map[uuid.UUID]int{u.ID: 2, uuid.Nil: 2, inactive.ID: 0} {
			if all, err := tokens.List(t.Context(), id); err != nil || len(all) != want {
				t.Errorf("List(%s) = %v, %v, want %d", id, all, err, want)
			}
		}
		if err := tokens.Revoke(t.Context(), uuid.New()); !errors.Is(err, auth.ErrNoToken) {
			t.Errorf("Revoke of nothing: %v, want ErrNoToken", err)
		}
	})
}
