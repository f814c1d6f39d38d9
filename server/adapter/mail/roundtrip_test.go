package mail

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	netmail "net/mail"
	"net/url"
	"slices"
	"strings"
	"testing"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv/calendars"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mailbox"
)

// hardNames are names that writers of calendars have been seen to spoil.
var hardNames = []string{
	"Lovelace, Ada", "Sinéad O'Brien", "Marketing: Ada", "Ada (IT; Paris)", `Ada "Countess" Lovelace`, `"Ada"`, `CORP\ada`, `AC\nDC`,
	`C:\new\, folder\\`, `ends with \`, "^", "^n", "^'", "^^", "a^^'b", `\^n`, "mailto:eve@people.example", `x":mailto:eve@people.example`,
	"Ada;CN=Eve:mailto:eve@people.example", "Ada=Eve", "100% Ada", "%22Ada%22", "%2C", "a|b", "<b>Ada</b>", "&amp;", "Ada\r\nATTENDEE:x", "Ada\tEve",
	"=?utf-8?q?Eve?=", "艾達·勒芙蕾絲", "أدا لوفلايس", "👩\u200d💻 Ada", "A\u0301da", "-", ";", ":", ",", "\\", "'", "''", `\\`, `\;`, `\,`, `\:`, `\N`,
	strings.Repeat("é", 99), strings.Repeat("👩", 60), strings.Repeat("a b, ", 30), strings.Repeat("x", 100), strings.Repeat(`\"^`, 30),
}

// names are the hard ones and n that are made of their parts, the same in every run.
func names(n int) []string {
	parts := []string{
		"a", "Z", "7", " ", "é", "ß", "艾", "ي", "👩\u200d💻", "\u0301", "😀", ",", ";", ":", `"`, "'", `\`, "^", "n", "N", "=", "%", "&", "|", "/", "?",
		"#", "@", "<", ">", "(", ")", "[", "]", "{", "}", "*", "!", "~", "`", "$", "+", "-", "_", ".", "\n", "\r\n", "\t", "\x00", "\x7f", "\u0085",
		"\u2028", "\u202e", "\u00a0", "\ufeff", "\u200b", `\n`, `\,`, "^n", "^'", "^^", "mailto:", "CN=", "BEGIN:VEVENT", "%2C",
	}
	random := rand.New(rand.NewPCG(5545, 6868))
	all := slices.Clone(hardNames)
	for range n {
		var b strings.Builder
		for range 1 + random.IntN(25) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		all = append(all, b.String())
	}
	return all
}

// addresses are what can be written before the @ (RFC 5322, section 3.2.3, and RFC 6531), and is not refused.
var addresses = []mailbox.Address{
	"ada@people.example", "ada+tag@people.example", "o'brien@people.example", "a&b=c@people.example", "a?b@people.example",
	"a#b@people.example", "a/b@people.example", "a{b|c}~d^e`f@people.example", "$*-_.x@people.example", "josé@people.example", "艾達@people.example",
	"ada@xn--bcher-kva.example",
}

// typed is a letter in which every text that somebody can type is a hard one.
type typed struct {
	name, address string
	message       *Message
}

func typedLetters(t *testing.T) []typed {
	t.Helper()
	var all []typed
	for n, name := range names(400) {
		mailer := exampleMailer(t)
		l := exampleInvitation()
		l.Inviter, l.Room, l.Message = name, name, name+"\n\n"+name
		if n%3 == 0 { // then the name of the instance is that of the organiser
			mailer.Branding.Name, l.Inviter = name, ""
		}
		l.DialIn = &usherv1.DialIn{Pin: "1", PinDisplay: name, Numbers: []*usherv1.DialInNumber{{E164: "+33123456789", Display: name}}}
		l.To = addresses[n%len(addresses)]
		l.Link = "https://meet.example/base,path;x/i/test-token"
		if n%5 == 0 {
			l.Kind = letter.Cancelled
			l.Link = ""
		}
		m, err := mailer.WriteInvitation(l)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, typed{name, string(l.To), m})
	}
	return all
}

// Every text that somebody can type comes out of three parsers by other people as it was typed.
func TestCalendar_roundTrip(t *testing.T) {
	t.Parallel()
	letters := typedLetters(t)
	var files []string
	for _, l := range letters {
		text, err := l.message.Calendar.Serialize()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, text)
	}
	for _, reader := range calendars.Parsers {
		t.Run(string(reader), func(t *testing.T) {
			t.Parallel()
			wrong := 0
			for i, e := range calendars.Properties(t, reader, files...) {
				if !checkTyped(t, reader, letters[i], e) {
					wrong++
				}
				if wrong > 10 {
					t.Fatal("and so on")
				}
			}
		})
	}
}

func checkTyped(t *testing.T, reader calendars.Reader, l typed, e calendars.Event) bool {
	t.Helper()
	c := l.message.Calendar
	name := e.Get("ORGANIZER").Parameters["CN"]
	if reader == calendars.VObject {
		// It knows RFC 5545 and not RFC 6868.
		name = strings.NewReplacer("^^", "^", "^'", `"`, "^n", "\n").Replace(name)
	}
	ok := e.Error == ""
	for _, p := range []struct{ what, got, want string }{
		{"METHOD", e.Method, c.method()},
		{"SUMMARY", e.Get("SUMMARY").Value, c.Summary},
		{"DESCRIPTION", e.Get("DESCRIPTION").Value, c.Description},
		{"LOCATION", e.Get("LOCATION").Value, c.Link},
		{"URL", e.Get("URL").Value, c.Link},
		{"UID", e.Get("UID").Value, c.Schedule.UID},
		{"CN", name, unmistakable(c.OrganizerName)},
		{"ORGANIZER", address(e.Get("ORGANIZER").Value), c.Organizer},
		{"ATTENDEE", address(e.Get("ATTENDEE").Value), l.address},
	} {
		if p.got != p.want {
			t.Errorf("%q: %s is %q, want %q", l.name, p.what, p.got, p.want)
			ok = false
		}
	}
	if e.Error != "" {
		t.Errorf("%q: %s", l.name, e.Error)
	}
	return ok
}

// address is that of a URI as RFC 6068 has it. ASCII is all that may be in one.
func address(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "mailto" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(uri, func(r rune) bool { return r > '~' }) {
		return fmt.Sprintf("%q, %v", uri, err)
	}
	plain, err := url.PathUnescape(u.Opaque)
	return cmp.Or(plain, fmt.Sprint(err))
}

// What people typed is in the headers as it was, too.
func TestMessage_headersRoundTrip(t *testing.T) {
	t.Parallel()
	for _, l := range typedLetters(t) {
		msg, err := l.message.compose(Config{From: "meet@usher.example", FromName: l.name})
		if err != nil {
			t.Fatalf("%q: %v", l.name, err)
		}
		var raw strings.Builder
		if _, err := msg.WriteTo(&raw); err != nil {
			t.Fatal(err)
		}
		parsed, err := netmail.ReadMessage(strings.NewReader(raw.String()))
		if err != nil {
			t.Fatalf("%q: %v", l.name, err)
		}
		from, err := netmail.ParseAddress(parsed.Header.Get("From"))
		if err != nil || from == nil || from.Name != headerName(line(l.name, maxSubject)) || from.Address != "meet@usher.example" {
			t.Errorf("%q: from %v, %v in %q", l.name, from, err, parsed.Header.Get("From"))
		}
		to, err := netmail.ParseAddress(parsed.Header.Get("To"))
		if err != nil || to.Address != l.address {
			t.Errorf("%q: to %v, %v", l.address, to, err)
		}
	}
}
