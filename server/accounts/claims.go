package accounts

import "github.com/usher-meet/usher/server/mailbox"

// Claims are the OpenID provider's statements about a person. Empty ones are unknown, and erase nothing.
type Claims struct {
	// Sub is the provider's name for the person, 1 to 255 characters.
	Sub string
	// EmailVerified is the provider's word on that very Email.
	Email         mailbox.Address
	EmailVerified bool
	// EmailRefused says that the provider stated an address, and that [mailbox.Parse] takes none of that kind.
	EmailRefused bool
	// FullName and ShortName are clean text of at most 100 characters.
	FullName, ShortName string
}
