package server

import (
	"context"

	"github.com/usher-meet/usher/gen/ent/user"
)

// checkAddresses looks whether the OpenID provider verifies addresses. Nobody whose address is not verified gets what was
// given to that address.
func (d *doctor) checkAddresses(ctx context.Context) {
	if d.db == nil || d.Config.OIDC.Issuer == "" {
		return
	}
	const name = "addresses"
	came := d.db.Read.User.Query().Where(user.SubNotNil(), user.EmailNEQ(""))
	all, err := came.Clone().Count(ctx)
	if err != nil {
		d.bad(name, "%v", err)
		return
	}
	verified, err := came.Where(user.EmailVerified(true)).Count(ctx)
	switch {
	case err != nil:
		d.bad(name, "%v", err)
	case all == 0:
		d.good(name, "nobody has signed in with one yet")
	case verified == 0 && d.Config.OIDC.TrustEmail:
		d.good(name, "USHER_OIDC_TRUST_EMAIL takes them for verified from each person's next sign-in on")
	case verified == 0:
		d.bad(name, "%d people signed in, and the OpenID provider verified no address of theirs (email_verified): whoever was "+
			"added by e-mail stays pending. Let it verify them, or read in docs/settings.md what USHER_OIDC_TRUST_EMAIL risks", all)
	default:
		d.good(name, "the OpenID provider verified %d of %d", verified, all)
	}
}
