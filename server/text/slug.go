package text

import (
	"strings"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"
)

// MaxSlug is the length of the longest slug, in characters.
const MaxSlug = 100

// reserved are the first path elements that the server or the web app use themselves, now or one day.
var reserved = map[string]bool{
	"api": true, "app": true, "assets": true, "auth": true, "i": true, "r": true, "media": true, "webhooks": true,
	"healthz": true, "readyz": true, "metrics": true, "recording": true, "recordings": true, "settings": true,
	"admin": true, "docs": true, "static": true, "login": true, "logout": true, "me": true, "new": true, "join": true,
	"help": true, "sdk": true, "openapi": true, "favicon": true, "robots": true, "media-auth": true, "livekit": true, "rtc": true, "twirp": true,
}

// Slug turns a name into a slug: decomposed (NFKD), ASCII letters and digits in lower case, every run of anything else one
// dash, at most [MaxSlug] characters. It returns "" for a name with nothing to keep.
//
// Slug(Slug(s)) == Slug(s), so a slug can be looked up as it was typed.
func Slug(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range norm.NFKD.String(name) {
		switch {
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case r >= 0x300 && r <= 0x36f:
			continue // a combining accent belongs to the letter before it
		default:
			dash = true
			continue
		}
		if dash && b.Len() > 0 {
			if b.Len() >= MaxSlug-1 {
				break
			}
			b.WriteByte('-')
		}
		dash = false
		if b.Len() >= MaxSlug {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSuffix(b.String(), "-")
}

// AllowedSlug reports whether a slug may be the address of a room: made by [Slug], not reserved, and not to be taken for an
// id.
func AllowedSlug(s string) bool {
	if s == "" || s != Slug(s) || reserved[s] {
		return false
	}
	_, isID := ParseID(s)
	return !isID
}

// ParseID reads a UUID in any of its spellings: with or without dashes, in braces, as a URN, in any case.
func ParseID(s string) (uuid.UUID, bool) {
	id, err := uuid.Parse(strings.TrimSpace(s))
	return id, err == nil
}
