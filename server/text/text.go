// Package text cleans the names that people type (of rooms, of themselves, search terms) and makes the slugs of rooms.
//
// What is cleaned can be shown beside other text without reordering or hiding it, and cleaning it again changes nothing.
// It does not judge what a name says.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/usher-meet/usher/server/mailbox"
)

// The joiners of Unicode. Persian and Indic words and many emoji are spelt with them, so they stay between two characters
// and go everywhere else, where nobody can see them.
const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)

// brailleBlank looks like a space and is, to Unicode, a symbol.
const brailleBlank = '\u2800'

// maxMarks is how many combining marks may follow one letter: more than any language writes, and too few to cover the lines
// above and below.
const maxMarks = 10

// Clean makes one line of at most limit characters: composed (NFC), runs of white space one space, none at the ends,
// without control characters, bidirectional formatting, other characters that cannot be seen, and piles of combining marks.
// It returns "" for a text with nothing to see.
func Clean(s string, limit int) string {
	var b strings.Builder
	space, joiner, marks := false, rune(0), 0
	// Composed before, so that marks are counted as they will be, and once more after: what is left out may have kept others
	// apart.
	for _, r := range norm.NFC.String(s) {
		switch {
		case unicode.IsSpace(r), r == brailleBlank:
			space = true
			continue
		case r == zeroWidthJoiner, r == zeroWidthNonJoiner:
			joiner = r
			continue
		case invisible(r):
			continue
		case !unicode.Is(unicode.M, r):
			marks = 0
		case marks == maxMarks:
			continue
		default:
			marks++
		}
		switch {
		case b.Len() == 0:
		case space:
			b.WriteByte(' ')
		case joiner != 0:
			b.WriteRune(joiner)
		}
		space, joiner = false, 0
		b.WriteRune(r)
	}
	return cut(norm.NFC.String(b.String()), limit)
}

// Storable reports whether both databases keep a text as it is: PostgreSQL takes neither NUL nor what is not UTF-8.
func Storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// MakeStorable puts U+FFFD, the replacement character, in the place of what PostgreSQL cannot store. It is for free text: a
// name with a character of another kind in it may be somebody else's, so names are refused where they are not [Storable].
func MakeStorable(s string) string {
	if Storable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}

// Key is the form in which names are sorted and searched without regard to case. It is not longer than name in characters.
func Key(name string) string { return strings.ToLower(name) }

// PersonName is how an account is shown to others: by its full name, else its short one, and never by its e-mail address,
// which some providers give as a name, in whatever spelling.
func PersonName(fullName, shortName string, email mailbox.Address) string {
	for _, name := range []string{fullName, shortName} {
		name = Clean(name, MaxPersonName)
		same, err := mailbox.Parse(name)
		if name != "" && !strings.EqualFold(name, string(email)) && (err != nil || same != email) {
			return name
		}
	}
	return ""
}

// MaxPersonName is how long a person's name may be, in characters.
const MaxPersonName = 100

// invisible reports whether r is a control or formatting character, or another one that is drawn as nothing.
func invisible(r rune) bool {
	switch {
	case r == utf8.RuneError:
		return true
	case unicode.Is(unicode.Prepended_Concatenation_Mark, r):
		// Formatting characters that are seen, such as the Arabic number sign.
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point)
}

// cut keeps the first limit characters, and no space or joiner at the end of them.
func cut(s string, limit int) string {
	n := 0
	for i := range s {
		if n == limit {
			return strings.TrimRight(s[:i], " \u200c\u200d")
		}
		n++
	}
	return s
}
