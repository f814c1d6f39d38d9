package oidc

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/text"
)

// claimSet are the claims of an ID token or user-info.
type claimSet map[string]any

func (c claimSet) text(name string) string {
	s, _ := c[name].(string)
	return strings.TrimSpace(s)
}

// isTrue takes "true" and "True" for true, as some providers write it.
func (c claimSet) isTrue(name string) bool {
	b, _ := c[name].(bool)
	return b || strings.EqualFold(c.text(name), "true")
}

// unread names the claims that are used here and cannot be read, since their type is not the one of the specification or an
// address is none, each with what it is and without its value.
func (c Config) unread(claims claimSet) []string {
	var unread []string
	texts := append([]string{"email", "name", c.shortNameClaim()}, c.fullNameClaims()...)
	slices.Sort(texts)
	for _, name := range slices.Compact(texts) {
		switch claims[name].(type) {
		case nil, string:
		default:
			unread = append(unread, name+" ("+jsonType(claims[name])+")")
		}
	}
	if email := claims.text("email"); email != "" {
		if _, err := mailbox.Parse(email); err != nil {
			unread = append(unread, "email (no address)")
		}
	}
	const verified = "email_verified"
	switch v := claims[verified].(type) {
	case nil, bool:
	case string:
		if !claims.isTrue(verified) && !strings.EqualFold(strings.TrimSpace(v), "false") {
			unread = append(unread, verified+" (text)")
		}
	default:
		unread = append(unread, verified+" ("+jsonType(v)+")")
	}
	return unread
}

// fullNameClaims are the claims that can make the full name of somebody without a name.
func (c Config) fullNameClaims() []string {
	if len(c.FullNameClaims) == 0 {
		return []string{"given_name", "family_name", "usual_name"}
	}
	return c.FullNameClaims
}

// jsonType names the JSON type of a value that was decoded.
func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "text"
	case bool:
		return "boolean"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	}
	return "number"
}

const (
	maxSub  = 255 // characters; OpenID Connect Core 1.0, section 2
	maxName = 100
)

// person reads who signed in. The user-info is newer and fuller than the ID token, so it goes first.
func (c Config) person(proven, told claimSet) (accounts.Claims, error) {
	// Not trimmed: two subjects that differ in white space are two people.
	sub, _ := proven["sub"].(string)
	if sub == "" || utf8.RuneCountInString(sub) > maxSub || strings.ContainsRune(sub, 0) {
		return accounts.Claims{}, errors.New("the sub must have 1 to 255 characters, and none that is null")
	}
	person := accounts.Claims{Sub: sub}
	for _, claims := range []claimSet{told, proven} {
		// Address and verification come from one place: the one's word is not about the other's address.
		if email, err := mailbox.Parse(claims.text("email")); err == nil && person.Email == "" {
			person.Email, person.EmailVerified = email, claims.isTrue("email_verified")
		}
		person.EmailRefused = person.EmailRefused || claims.text("email") != ""
		if person.FullName == "" {
			person.FullName = text.Clean(c.fullName(claims), maxName)
		}
		if person.ShortName == "" {
			person.ShortName = text.Clean(claims.text(c.shortNameClaim()), maxName)
		}
	}
	person.EmailRefused = person.EmailRefused && person.Email == ""
	return person, nil
}

func (c Config) fullName(claims claimSet) string {
	if name := claims.text("name"); name != "" {
		return name
	}
	var parts []string
	for _, name := range c.FullNameClaims {
		parts = append(parts, claims.text(name))
	}
	if len(c.FullNameClaims) == 0 {
		family := claims.text("family_name")
		if family == "" {
			family = claims.text("usual_name")
		}
		parts = []string{claims.text("given_name"), family}
	}
	return strings.Join(parts, " ") // text.Clean drops the spaces of those that are empty
}

func (c Config) shortNameClaim() string {
	if c.ShortNameClaim == "" {
		return "given_name"
	}
	return c.ShortNameClaim
}
