// Package mailbox has the type of e-mail addresses. Whoever takes an address from outside parses it here, be it typed by a
// person, sent by an OpenID provider or written in the settings: so there is one rule for what an address is, and one
// spelling of each, by which it is stored and compared.
//
// It does not find out whether an address gets mail.
package mailbox

import (
	"errors"
	netmail "net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
)

// Address is an e-mail address in its normal form, or empty for none. Two addresses of one mailbox are equal.
//
// The domain is in lower case and in ASCII, by IDNA. The part before the @ is as it was typed, but for the case of ASCII
// letters. All mail servers in use take those for equal, and no other letter is anybody's but its own: with Unicode's rules
// for case the Kelvin sign would become a k, and whoever has the one would be whoever has the other.
type Address string

// ErrInvalid is returned for text that is no address. It does not repeat the text.
var ErrInvalid = errors.New("must be an e-mail address")

const (
	maxAddress = 254 // bytes; RFC 5321, section 4.5.3.1.3
	maxLocal   = 64  // bytes; RFC 5321, section 4.5.3.1.1
)

// domains maps a domain as people type it to the form that is asked of DNS.
var domains = idna.New(
	idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.CheckJoiners(true), idna.CheckHyphens(true),
	idna.StrictDomainName(true), idna.VerifyDNSLength(true),
)

// identifiers are the characters with which one name can be told from another (RFC 8264): no symbols, control, formatting
// or compatibility characters. Of letters that are not composed (NFC) it makes composed ones.
var identifiers = precis.NewIdentifier()

// Parse reads a bare address, with or without white space around it, into its normal form. Text with a name beside the
// address is none.
//
// It refuses what mail servers read in different ways, since one of them could take it for somebody else's: a part before
// the @ that needs quotes, or with a percent or exclamation mark (the old signs for passing mail on), encoded words,
// characters that cannot be seen, and letters that are not composed (NFC); and IP addresses in place of a domain.
func Parse(typed string) (Address, error) {
	typed = strings.TrimSpace(typed)
	at := strings.LastIndexByte(typed, '@')
	if at < 1 || !utf8.ValidString(typed) || strings.ContainsAny(typed, "<>\r\n") {
		return "", ErrInvalid
	}
	domain, err := readDomain(typed[at+1:])
	if err != nil {
		return "", err
	}
	read, err := netmail.ParseAddress("<" + typed[:at] + "@" + domain + ">")
	if err != nil {
		return "", ErrInvalid
	}
	// The first reading takes off quotes. What needs them cannot be read without.
	again, err := netmail.ParseAddress("<" + read.Address + ">")
	if err != nil || again.Address != read.Address {
		return "", ErrInvalid
	}
	local := strings.TrimSuffix(read.Address, "@"+domain)
	if !isPlain(local) || len(read.Address) > maxAddress {
		return "", ErrInvalid
	}
	return Address(strings.Map(lowerASCII, local) + "@" + domain), nil
}

func readDomain(typed string) (string, error) {
	domain, err := domains.ToASCII(strings.TrimSuffix(typed, "."))
	if err != nil || strings.HasSuffix(domain, ".") {
		return "", ErrInvalid
	}
	// Some characters have an ASCII form that stands for nothing: it must read as itself.
	if again, err := domains.ToASCII(domain); err != nil || again != domain {
		return "", ErrInvalid
	}
	return domain, nil
}

// isPlain reports whether a part before the @ means the same to all mail servers.
func isPlain(local string) bool {
	if len(local) > maxLocal || strings.ContainsAny(local, "%!") || strings.Contains(local, "=?") {
		return false
	}
	composed, err := identifiers.String(local)
	return err == nil && composed == local
}

func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// Domain is what follows the @. It is empty for no address.
func (a Address) Domain() string {
	_, domain, _ := strings.Cut(string(a), "@")
	return domain
}

// IsQualified reports whether the domain is below a top-level one: only then mail finds it from everywhere. Some networks
// have names of their own without a dot.
func (a Address) IsQualified() bool { return strings.Contains(a.Domain(), ".") }

// IsASCII reports whether the address has no other letters. The domain never has, so the part before the @ decides.
func (a Address) IsASCII() bool {
	return !strings.ContainsFunc(string(a), func(r rune) bool { return r > unicode.MaxASCII })
}
