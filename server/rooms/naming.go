package rooms

import (
	"crypto/rand"
	"errors"
	"strings"

	"github.com/usher-meet/usher/server/text"
)

// errSlugCollision is a derived slug that another room has: derive another one.
var errSlugCollision = errors.New("derived slug is taken")

// The alphabets of what is made up. Suffixes leave out what is easily misread.
const (
	codeLetters   = "abcdefghijklmnopqrstuvwxyz"
	suffixLetters = "abcdefghjkmnpqrstuvwxyz23456789"
	suffixLength  = 6
)

// explicitSlug is the slug that somebody asked for; empty for none. It fails with [ErrNameReserved].
func explicitSlug(asked string) (string, error) {
	if strings.TrimSpace(asked) == "" {
		return "", nil
	}
	made := text.Slug(asked)
	// In some spellings of a UUID, what is left after slugifying no longer reads as one.
	if _, isID := text.ParseID(asked); isID || !text.AllowedSlug(made) {
		return "", ErrNameReserved
	}
	return made, nil
}

// derivedSlug is the slug of a name: the slugified name, with a random suffix when that may not be one or was found taken,
// or code when nothing is left of the name.
func derivedSlug(name, code string, attempt int) string {
	base := text.Slug(name)
	switch {
	case base == "":
		return code
	case attempt == 0 && text.AllowedSlug(base):
		return base
	}
	base = strings.TrimSuffix(base[:min(len(base), text.MaxSlug-1-suffixLength)], "-")
	return base + "-" + randomText(suffixLetters, suffixLength)
}

// randomCode is a name for rooms without one, such as "abc-defg-hij". It cannot be guessed.
func randomCode() string {
	letters := randomText(codeLetters, 10)
	return letters[:3] + "-" + letters[3:7] + "-" + letters[7:]
}

// randomText draws n of the letters, each as likely as any other.
func randomText(letters string, n int) string {
	out := make([]byte, 0, n)
	// Bytes beyond the last whole multiple would make the first letters likelier.
	limit := byte(256 - 256%len(letters)) //nolint:gosec // 1 to 255 for these alphabets
	var drawn [32]byte
	for {
		_, _ = rand.Read(drawn[:]) // never fails (crypto/rand)
		for _, b := range drawn {
			if limit != 0 && b >= limit {
				continue
			}
			if out = append(out, letters[int(b)%len(letters)]); len(out) == n {
				return string(out)
			}
		}
	}
}
