package mail

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// contentLines writes the lines of a calendar (RFC 5545, section 3.1). The libraries in Go put backslashes into parameters,
// where they are letters, or leave long lines as they are.
type contentLines struct{ text strings.Builder }

// String is what was written.
func (w *contentLines) String() string { return w.text.String() }

// add writes a property. Its value is written as it is. Parameters are names, each with a text.
func (w *contentLines) add(name, value string, parameters ...string) {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i+1 < len(parameters); i += 2 {
		b.WriteString(";" + parameters[i] + "=" + parameter(parameters[i+1]))
	}
	w.fold(b.String() + ":" + value)
}

// maxLine is how long a line may be, in bytes.
const maxLine = 75

// fold breaks a long line, and no character.
func (w *contentLines) fold(line string) {
	for room := maxLine; len(line) > room; room = maxLine - 1 {
		for !utf8.RuneStart(line[room]) {
			room--
		}
		w.text.WriteString(line[:room] + "\r\n ")
		line = line[room:]
	}
	w.text.WriteString(line + "\r\n")
}

// escaped is text as the value of a property (section 3.3.11).
func escaped(s string) string { return escape.Replace(s) }

var escape = strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)

// caret writes what a parameter cannot hold by itself (RFC 6868).
var caret = strings.NewReplacer("^", "^^", `"`, "^'", "\r\n", "^n", "\n", "^n", "\r", "^n")

// parameter is text as the value of a parameter. Some readers take more characters for special ones than section 3.2
// does, so only what has none at all goes without quotation marks.
func parameter(s string) string {
	s = caret.Replace(unmistakable(s))
	if strings.ContainsFunc(s, func(r rune) bool { return !isPlain(r) && r != ' ' }) {
		return `"` + s + `"`
	}
	return s
}

// isPlain reports whether a character has no other meaning anywhere.
func isPlain(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '.' || r == '_' || r == '/'
}

// wideBackslash looks like a backslash and escapes nothing.
const wideBackslash = '＼'

// unmistakable is text for a parameter, in which a backslash is a character like any other. Many readers take one all the
// same for the beginning of what a text has there, such as \n or \,: those become characters that look alike.
func unmistakable(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r == '\\' && (i+1 == len(s) || strings.IndexByte(`,;:\nN"`, s[i+1]) >= 0) {
			r = wideBackslash
		}
		b.WriteRune(r)
	}
	return b.String()
}

// mailto is the address of a mailbox as a URI (RFC 6068): in ASCII, and without what has a meaning in URIs.
func mailto(address string) string {
	var b strings.Builder
	b.WriteString("mailto:")
	for _, c := range []byte(address) {
		if isPlain(rune(c)) && c != '/' || strings.IndexByte("~!$'*+@", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
