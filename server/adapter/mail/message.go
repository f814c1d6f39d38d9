package mail

import (
	"fmt"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/text"
)

// Message is a letter as it is sent.
type Message struct {
	// ID is the part of the Message-ID before the @. It stays when the same message is sent again.
	ID string
	// To is the one address that gets it.
	To      mailbox.Address
	Subject string
	// Text and HTML say the same.
	Text, HTML string
	// Calendar is nil for a letter without a date.
	Calendar *Calendar
	// Stop is an address that ends mail like this when it is posted to; empty for none.
	Stop string
	// Language is that of the text.
	Language string
	Date     time.Time
}

// maxSubject is how long a subject may be, in characters: longer ones are cut by mail clients anyway.
const maxSubject = 150

// readAddress reads an address again: what a release before [mailbox.Parse] stored may be spelt in another way, or none.
func readAddress(stored mailbox.Address) (mailbox.Address, error) {
	address, err := mailbox.Parse(string(stored))
	if err != nil {
		return "", &letter.RefusedError{}
	}
	return address, nil
}

// compose makes the message. What came from people is in encoded words and encoded bodies only, so that no line break of
// theirs is one of the message. It fails with a [letter.RefusedError] for an address that cannot be written.
func (m *Message) compose(c Config) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	to, err := readAddress(m.To)
	if err != nil {
		return nil, err
	}
	from, err := readAddress(c.From)
	if err != nil {
		return nil, err
	}
	name := headerName(line(c.FromName, maxSubject))
	msg.FromMailAddress(&netmail.Address{Name: name, Address: string(from)})
	msg.ToMailAddress(&netmail.Address{Address: string(to)})
	msg.Subject(line(m.Subject, maxSubject))
	msg.SetDateWithValue(m.Date)
	msg.SetMessageIDWithValue(m.ID + "@" + c.From.Domain())
	msg.SetGenHeader("Content-Language", line(m.Language, 35))
	// Nobody wants to know that these people are on holiday (RFC 3834).
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.Stop != "" {
		msg.SetListUnsubscribe(m.Stop)
		if strings.HasPrefix(m.Stop, "https://") {
			msg.SetListUnsubscribePost()
		}
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	if m.Calendar != nil {
		entry, err := m.Calendar.Serialize()
		if err != nil {
			return nil, fmt.Errorf("write calendar entry: %w", err)
		}
		kind := gomail.ContentType("text/calendar; method=" + m.Calendar.method())
		msg.AddAlternativeString(kind, entry, gomail.WithPartEncoding(gomail.EncodingB64))
	}
	return msg, nil
}

// headerName is a name for the header of an address. The standard library puts a backslash into encoded words as it is,
// where RFC 2047, section 5, has none.
func headerName(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
		return strings.ReplaceAll(s, `\`, string(wideBackslash))
	}
	return s
}

// line is text on one line, without what could end a header or turn it around.
func line(s string, most int) string {
	s = text.Clean(s, most+1)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return text.Clean(s, most-1) + "…"
}
