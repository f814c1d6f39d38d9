package invitations

import (
	netmail "net/mail"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/net/idna"
)

// maxAddress is how long an address may be (RFC 5321, section 4.5.3.1), in bytes.
const maxAddress = 254

// normalize reads an address into the form in which it is kept and compared: trimmed, the domain in lower case and ASCII.
// The part before the @ stays as it is: only its own server knows whether case matters there. ok is false for what is no
// address.
func normalize(typed string) (address string, ok bool) {
	typed = strings.TrimSpace(typed)
	if strings.ContainsAny(typed, "\r\n\x00<>") || len(typed) > maxAddress || !utf8.ValidString(typed) {
		return "", false
	}
	at := strings.LastIndexByte(typed, '@')
	if at < 1 || at > 64 {
		return "", false
	}
	domain, err := idna.Lookup.ToASCII(strings.TrimSuffix(typed[at+1:], "."))
	if err != nil || !strings.Contains(domain, ".") || strings.HasPrefix(domain, "[") || strings.HasSuffix(domain, ".") {
		return "", false
	}
	// Some characters have an ASCII form that stands for nothing: it must read as itself.
	if again, err := idna.Lookup.ToASCII(domain); err != nil || again != domain {
		return "", false
	}
	address = typed[:at] + "@" + strings.ToLower(domain)
	parsed, err := netmail.ParseAddress("<" + address + ">")
	if err != nil || parsed.Address != address || len(address) > maxAddress {
		return "", false
	}
	return address, true
}

// folded is the form by which accounts and those who want no mail are found: servers that tell case apart are rarer than
// people who type it as it comes.
func folded(address string) string { return strings.ToLower(address) }

// openKey is a value that no two open invitations share.
func openKey(room uuid.UUID, address string) string { return room.String() + " " + address }
