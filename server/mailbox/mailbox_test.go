package mailbox

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]Address{
		"ada@people.example":            "ada@people.example",
		" Ada.Lovelace@People.EXAMPLE ": "ada.lovelace@people.example",
		"ada+tag@people.example":        "ada+tag@people.example",
		"ada@people.example.":           "ada@people.example",
		`"ada"@people.example`:          "ada@people.example",
		"ada@localhost":                 "ada@localhost",
		// Spellings of one domain.
		"ada@bücher.example":        "ada@xn--bcher-kva.example",
		"ada@BÜCHER。example":        "ada@xn--bcher-kva.example",
		"ada@bu\u0308cher.example":  "ada@xn--bcher-kva.example",
		"ada@XN--Bcher-KVA.example": "ada@xn--bcher-kva.example",
		"ada@b\u00adücher.example":  "ada@xn--bcher-kva.example",
		"ada@\u212aelvin.example":   "ada@kelvin.example",
		"ada@faß.example":           "ada@xn--fa-hia.example",
		"ada@fass.example":          "ada@fass.example",
		// Only ASCII letters have a case.
		"José@people.example":      "josé@people.example",
		"JOSÉ@people.example":      "josÉ@people.example",
		"İan@people.example":       "İan@people.example",
		"ſam@people.example":       "",
		"علي@people.example":       "علي@people.example",
		"用户@people.example":        "用户@people.example",
		"\u212aate@people.example": "",
		// Not composed, or composed of what looks like something else.
		"jose\u0301@people.example": "",
		"ｋate@people.example":       "",
		"ﬁ@people.example":          "",
		// What nobody sees.
		"a\u202eda@people.example": "", "a\u2066da@people.example": "", "a\u200fda@people.example": "",
		"a\u200bda@people.example": "", "a\u034fda@people.example": "", "a\ufe0fda@people.example": "",
		"a\u00adda@people.example": "", "a\x00da@people.example": "", "ada\x7f@people.example": "", "ada\xff@people.example": "",
		// What mail servers pass on, or read in different ways.
		"a%b@people.example": "", "a!b@people.example": "", "@a,@b:ada@people.example": "",
		"=?utf-8?q?ada?=@people.example": "", `"a b"@people.example`: "", `"a@b"@people.example`: "", `"a%b"@people.example`: "",
		"\"\u202ea\"@people.example": "", `"a"b@people.example`: "", "ada(countess)@people.example": "", "a,b@people.example": "",
		"ada@people.example(home)": "", "ada @people.example": "", "a b@people.example": "",
		// No address, or more than one.
		"": "", "ada": "", "@": "", "@people.example": "", "ada@": "", "a@b@people.example": "", "ada@.": "",
		"Ada <ada@people.example>": "", "<ada@people.example>": "", "ada@people.example,bob@people.example": "",
		"ada@people.example\r\nBcc: x@y.z": "", "ada@people.example>\r\nX: <y": "", "ada@x.example> <bob@people.example": "",
		".ada@people.example": "", "ada.@people.example": "", "a..da@people.example": "",
		// No domain.
		"ada@[127.0.0.1]": "", "ada@[IPv6:::1]": "", "ada@people..example": "", "ada@-people.example": "", "ada@people-.example": "",
		"ada@xn--a.example": "", "ada@xn--.example": "", "ada@people_x.example": "", "ada@pe\u202eople.example": "", "ada@a\u200db.example": "",
		"ada@people.example..": "", "ada@people.example。.": "",
		strings.Repeat("a", 64) + "@people.example":        Address(strings.Repeat("a", 64) + "@people.example"),
		strings.Repeat("a", 65) + "@people.example":        "",
		strings.Repeat("é", 33) + "@people.example":        "",
		"ada@" + strings.Repeat("a", 64) + ".example":      "",
		"ada@" + strings.Repeat("a.", 121) + "example":     Address("ada@" + strings.Repeat("a.", 121) + "example"),
		"adam@" + strings.Repeat("ab.", 81) + "example":    "",
		"ada@" + strings.Repeat("bücher.", 20) + "example": "",
	} {
		got, err := Parse(typed)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Parse(%q) = %q, %v, want %q", typed, got, err, want)
		}
	}
}

func TestAddress_domain(t *testing.T) {
	t.Parallel()
	for a, want := range map[Address]struct {
		domain    string
		qualified bool
	}{
		"ada@people.example": {"people.example", true}, "ada@localhost": {"localhost", false}, "": {},
	} {
		if a.Domain() != want.domain || a.IsQualified() != want.qualified {
			t.Errorf("%q has the domain %q, %t, want %+v", a, a.Domain(), a.IsQualified(), want)
		}
	}
}

// The normal form is its own, whatever was typed.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"ada@people.example", "josé@bücher.example", "a@b\r\nc", `"x"@y.z`, "\u212a@\u212a.example", "İ@x.example", "a%b@c", "ada@localhost",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		a, err := Parse(typed)
		if err != nil {
			return
		}
		if strings.ContainsAny(string(a), "\r\n\x00<>% !\"") || strings.Count(string(a), "@") != 1 || len(a) > maxAddress {
			t.Errorf("%q became %q", typed, a)
		}
		for _, same := range []string{string(a), " " + string(a) + ".", strings.Map(upperASCII, string(a))} {
			if again, err := Parse(same); err != nil || again != a {
				t.Errorf("%q became %q, and of that %q became %q, %v", typed, a, same, again, err)
			}
		}
	})
}

func upperASCII(r rune) rune {
	if 'a' <= r && r <= 'z' {
		return r - 'a' + 'A'
	}
	return r
}
