package accounts

// Claims are the OpenID provider's statements about a person. Empty ones are unknown, and erase nothing.
type Claims struct {
	// Sub is the provider's name for the person, 1 to 255 characters.
	Sub string
	// Email is lower case, and EmailVerified is the provider's word on that very address.
	Email         string
	EmailVerified bool
	// FullName and ShortName are clean text of at most 100 characters.
	FullName, ShortName string
}
