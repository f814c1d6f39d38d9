package text

import (
	"strings"
	"unicode"

	"github.com/google/uuid"
	"github.com/gosimple/unidecode"
	"golang.org/x/text/unicode/norm"
)

// MaxSlug is the length of the longest slug, in characters.
const MaxSlug = 100

// reserved are the first path elements that the server or the web app use themselves, now or one day.
var reserved = map[string]bool{
	"api": true, "app": true, "assets": true, "auth": true, "i": true, "r": true, "media": true, "webhooks": true,
	"healthz": true, "readyz": true, "metrics": true, "recording": true, "recordings": true, "settings": true,
	"admin": true, "docs": true, "static": true, "login": true, "logout": true, "me": true, "new": true, "join": true,
	"help": true, "sdk": true, "openapi": true, "favicon": true, "robots": true, "media-auth": true,
	"livekit": true, "rtc": true, "twirp": true,
}

// Slug turns a name into a slug: letters of all scripts as ASCII letters that stand for them, digits, lower case, every run
// of anything else one dash, at most [MaxSlug] characters. It returns "" for a name with nothing to keep.
//
// Slug(Slug(s)) == Slug(s), so a slug can be looked up as it was typed.
func Slug(name string) string {
	var b slugBuilder
	for _, r := range norm.NFKC.String(name) {
		if r <= unicode.MaxASCII {
			b.add(r)
			continue
		}
		// An accent belongs to the letter before it: é is e, and so it is in every slug that was ever made.
		plain := []rune(norm.NFKD.String(string(r)))
		if plain[0] <= unicode.MaxASCII {
			b.addAll(plain)
			continue
		}
		for _, latin := range unidecode.Unidecode(string(r)) {
			if unicode.IsLetter(r) && strings.ContainsRune("'`\"", latin) {
				continue // a soft sign or a glottal stop, in the middle of a word
			}
			b.add(latin)
		}
	}
	return b.String()
}

// FormerSlug is the slug that rooms got of a name before there was [Slug]: letters that do not consist of an ASCII letter
// and accents are left out. Links to such rooms may have been written with the name.
func FormerSlug(name string) string {
	var b slugBuilder
	b.addAll([]rune(norm.NFKD.String(name)))
	return b.String()
}

// slugBuilder puts a slug together.
type slugBuilder struct {
	strings.Builder

	dash bool
}

func (b *slugBuilder) addAll(runes []rune) {
	for _, r := range runes {
		b.add(r)
	}
}

// add adds a letter or digit, or what separates them. When the slug is full, nothing is added any more.
func (b *slugBuilder) add(r rune) {
	switch {
	case r >= 'A' && r <= 'Z':
		r += 'a' - 'A'
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
	case r >= 0x300 && r <= 0x36f:
		return // an accent
	default:
		b.dash = b.Len() > 0
		return
	}
	switch {
	case b.dash && b.Len() >= MaxSlug-1, b.Len() >= MaxSlug:
		return // neither does anything fit that comes later
	case b.dash:
		b.WriteByte('-')
	}
	b.dash = false
	b.WriteRune(r)
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
