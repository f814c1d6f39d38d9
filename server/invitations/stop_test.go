package invitations

import (
	"testing"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/mailbox"
)

// Who asked for no more mail gets none, though their address is hashed in another form than then, or with another secret.
func TestSuppressed_formerForms(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		a := newArchive(t, db)
		former := []byte("test-former-secret-of-32-characters-or-more")
		a.Keys = auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), former)
		then := auth.NewKeys(former, nil)
		for _, c := range []struct {
			name    string
			key     []byte
			hashed  mailbox.Address // what was hashed when mail was stopped
			address mailbox.Address // how that mailbox is spelt today
		}{
			{"as it is", a.Keys.Current(auth.PurposeSuppression), "ada@people.example", "ada@people.example"},
			{"folded by Unicode's rules", a.Keys.Current(auth.PurposeSuppression), "élodie@people.example", "Élodie@people.example"},
			{"with the former secret", then.Current(auth.PurposeSuppression), "bob@people.example", "bob@people.example"},
			{"both", then.Current(auth.PurposeSuppression), "åsa@people.example", "Åsa@people.example"},
		} {
			is := func() (no bool) {
				a.run(func(tx *ent.Client) (err error) { no, err = a.suppressed(t.Context(), tx, c.address); return err })
				return no
			}
			if is() {
				t.Errorf("%s: no mail to somebody who did not ask for that", c.name)
			}
			a.run(func(tx *ent.Client) error { return suppress(t.Context(), tx, hashAddress(c.key, c.hashed)) })
			if !is() {
				t.Errorf("%s: mail to somebody who asked for none", c.name)
			}
			// From now on it is known as if they asked today, so that the secret of before may go.
			a.Keys = auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil)
			if !is() {
				t.Errorf("%s: mail after the former secret is gone", c.name)
			}
			a.Keys = auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), former)
		}
	})
}
