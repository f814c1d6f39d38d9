package mail

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"strings"
	texttemplate "text/template"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/web/i18n"
	"github.com/usher-meet/usher/server/web/style"
)

var (
	//go:embed templates
	templates embed.FS
	//go:embed translations/*.json
	translations embed.FS

	sentences = i18n.Load(translations, "translations")
)

var (
	htmlLetter = htmltemplate.Must(htmltemplate.ParseFS(templates, "templates/letter.html"))
	textLetter = texttemplate.Must(texttemplate.ParseFS(templates, "templates/letter.txt"))
)

// Mailer writes letters and sends them. Sender is nil where mail is switched off; every other field is required.
type Mailer struct {
	Sender *Sender
	// Branding is how the instance looks.
	Branding *usherv1.Branding
	// Languages are those of the instance; the first is for readers whose language is unknown.
	Languages []string
}

// Invitation sends a letter about an invitation. It fails as [Sender.Send] does, or with [letter.ErrOff].
func (p *Mailer) Invitation(ctx context.Context, l letter.Invitation) error {
	return p.send(ctx, func() (*Message, error) { return p.WriteInvitation(l) })
}

// RecordingReady sends a letter about a recording. It fails as [Sender.Send] does, or with [letter.ErrOff].
func (p *Mailer) RecordingReady(ctx context.Context, l letter.RecordingReady) error {
	return p.send(ctx, func() (*Message, error) { return p.WriteRecordingReady(l) })
}

// Test sends a letter that says that mail works. It fails as [Sender.Send] does, or with [letter.ErrOff].
func (p *Mailer) Test(ctx context.Context, e letter.Envelope) error {
	return p.send(ctx, func() (*Message, error) {
		s := p.localizer(e, nil)
		return p.write(e, s, s.Text("test.subject"), view{Title: s.Text("test.title"), Intro: s.Text("test.intro")})
	})
}

func (p *Mailer) send(ctx context.Context, write func() (*Message, error)) error {
	if p.Sender == nil {
		return letter.ErrOff
	}
	m, err := write()
	if err != nil {
		return err
	}
	return p.Sender.Send(ctx, m)
}

// view holds what the templates show: texts in the language of the reader.
type view struct {
	Language, Title, Intro string
	// Quote is the message of the inviter.
	Quote string
	// Facts are the lines of the table, and phone those among them that are about the telephone.
	Facts, phone []fact
	// Link is the address of the button, and Copy the sentence above the address for those whose button does not work.
	Link, Button, Copy string
	// Notes are sentences below the button.
	Notes []string
	// Tips are what to prepare before the meeting.
	TipsTitle string
	Tips      []string

	// Brand, Logo (an address), Color and OnColor (of text on Color) are how the instance looks.
	Brand, Logo, Color, OnColor string
	// Sent says who sent the letter. SupportText stands before Support, the address of support.
	Sent, SupportText, Support string
	// StopText is the text of the link to Stop, where letters are unsubscribed.
	StopText, Stop string
}

// QuoteLines are the lines of the inviter's message.
func (v view) QuoteLines() []string { return strings.Split(v.Quote, "\n") }

// fact is a line of the table: what, and how it is.
type fact struct {
	Label string
	Lines []string
}

// most is how long names may be in a letter, in characters.
const most = 100

// WriteInvitation writes a letter about an invitation.
func (p *Mailer) WriteInvitation(l letter.Invitation) (*Message, error) {
	more := 0
	if l.Schedule != nil {
		more = l.Schedule.More
	}
	room := line(l.Room, most)
	s := p.localizer(l.Envelope, map[string]any{
		"Inviter": cmp.Or(line(l.Inviter, most), p.brand()), "Room": room, "More": more,
	})
	kind := [...]string{"invite", "update", "cancel", "unschedule"}[l.Kind]
	v := view{
		Title: s.Text(kind + ".title"), Intro: s.Text(kind + ".intro"), Quote: paragraph(l.Message),
	}
	if l.Kind != letter.Unscheduled {
		v.Facts = whenFacts(s, l.Envelope, l.Schedule)
	}
	if l.Kind == letter.Cancelled {
		v.Quote = ""
	} else {
		v.Link, v.Button, v.Copy = l.Link, s.Text("invite.join"), s.Text("invite.copy")
		v.Notes = []string{s.Text("invite.personal")}
		v.phone = phoneFacts(s, l.DialIn)
		v.Facts = append(v.Facts, v.phone...)
		v.TipsTitle = s.Text("invite.tips")
		for _, tip := range []string{"browser", "devices", "network"} {
			v.Tips = append(v.Tips, s.Text("invite.tip."+tip))
		}
	}
	m, err := p.write(l.Envelope, s, s.Text(kind+".subject"), v)
	if err != nil || l.Schedule == nil || p.Sender == nil {
		return m, err
	}
	m.Calendar = &Calendar{
		Cancelled: l.Kind == letter.Cancelled || l.Kind == letter.Unscheduled, Schedule: *l.Schedule, Summary: room, Link: l.Link,
		Description: calendarText(v), Organizer: string(p.Sender.config.From), Attendee: string(l.To),
		OrganizerName: cmp.Or(line(l.Inviter, most), p.brand()), Stamp: l.Time,
	}
	return m, nil
}

// calendarText is the description of the calendar entry.
func calendarText(v view) string {
	parts := []string{v.Intro}
	if v.Quote != "" {
		parts = append(parts, v.Quote)
	}
	if v.Link != "" {
		parts = append(parts, v.Button+": "+v.Link)
	}
	for _, f := range v.phone {
		parts = append(parts, f.Label+": "+strings.Join(f.Lines, ", "))
	}
	return strings.Join(parts, "\n\n")
}

// whenFacts say when a meeting is, in the zone of the reader.
func whenFacts(s *i18n.Localizer, e letter.Envelope, schedule *letter.Schedule) []fact {
	if schedule == nil {
		return nil
	}
	zone := i18n.Zone(cmp.Or(e.Timezone, schedule.Timezone))
	facts := []fact{{s.Text("invite.when"), []string{s.Span(schedule.Start.In(zone), schedule.End.In(zone))}}}
	if len(schedule.Next) < 2 {
		return facts
	}
	repeats := fact{Label: s.Text("invite.repeats")}
	for _, t := range schedule.Next[1:] {
		repeats.Lines = append(repeats.Lines, s.Moment(t.In(zone)))
	}
	if schedule.More > 0 {
		repeats.Lines = append(repeats.Lines, s.Text("invite.more"))
	}
	return append(facts, repeats)
}

func phoneFacts(s *i18n.Localizer, d *usherv1.DialIn) []fact {
	if d == nil || len(d.GetNumbers()) == 0 {
		return nil
	}
	numbers := fact{Label: s.Text("invite.phone")}
	for _, n := range d.GetNumbers() {
		numbers.Lines = append(numbers.Lines, line(cmp.Or(n.GetDisplay(), n.GetE164()), most))
	}
	return []fact{numbers, {s.Text("invite.pin"), []string{line(cmp.Or(d.GetPinDisplay(), d.GetPin()), most)}}}
}

// WriteRecordingReady writes a letter about a recording.
func (p *Mailer) WriteRecordingReady(l letter.RecordingReady) (*Message, error) {
	s := p.localizer(l.Envelope, map[string]any{"Room": line(l.Room, most)})
	kind := "recording"
	if l.Transcript {
		kind = "transcript"
	}
	zone := i18n.Zone(l.Timezone)
	v := view{
		Title: s.Text(kind + ".title"), Intro: s.Text(kind + ".intro"),
		Link: l.Link, Button: s.Text(kind + ".open"), Copy: s.Text("invite.copy"),
		Notes: []string{s.Text("recording.access")},
	}
	if l.Interrupted {
		v.Notes = append([]string{s.Text("recording.interrupted")}, v.Notes...)
	}
	start := l.Start.In(zone)
	v.Facts = []fact{{s.Text("recording.when"), []string{s.Moment(start) + " " + i18n.ZoneText(start)}}}
	if l.Duration > 0 {
		v.Facts = append(v.Facts, fact{s.Text("recording.length"), []string{i18n.Length(l.Duration)}})
	}
	if !l.Expire.IsZero() {
		v.Facts = append(v.Facts, fact{s.Text("recording.expires"), []string{s.Day(l.Expire.In(zone))}})
	}
	return p.write(l.Envelope, s, s.Text(kind+".subject"), v)
}

func (p *Mailer) brand() string { return cmp.Or(line(p.Branding.GetName(), most), "Usher") }

// localizer speaks the language of the reader.
func (p *Mailer) localizer(e letter.Envelope, data map[string]any) *i18n.Localizer {
	if data == nil {
		data = map[string]any{}
	}
	data["Brand"] = p.brand()
	return sentences.Localizer(i18n.Match(p.Languages, e.Language), data)
}

// write fills the templates.
func (p *Mailer) write(e letter.Envelope, s *i18n.Localizer, subject string, v view) (*Message, error) {
	b := p.Branding
	v.Language, v.Brand, v.Logo, v.Support, v.Stop = s.Language, p.brand(), b.GetLogoUrl(), b.GetSupportEmail(), e.Stop
	v.Color = cmp.Or(b.GetPrimaryColor(), "#553772")
	v.OnColor = style.On(v.Color)
	v.Sent, v.SupportText, v.StopText = s.Text("footer.sent"), s.Text("footer.support"), s.Text("footer.stop")
	if err := s.Err(); err != nil {
		return nil, err
	}
	var text, html bytes.Buffer
	if err := textLetter.Execute(&text, v); err != nil {
		return nil, fmt.Errorf("write text: %w", err)
	}
	if err := htmlLetter.Execute(&html, v); err != nil {
		return nil, fmt.Errorf("write HTML: %w", err)
	}
	return &Message{
		ID: e.ID.String(), To: e.To, Subject: subject, Text: text.String(), HTML: html.String(), Stop: e.Stop,
		Language: s.Language, Date: cmp.Or(e.Time, time.Now()),
	}, nil
}

// maxLines is how many lines of what somebody wrote are shown.
const maxLines = 50

// paragraph is text of several lines: no more than one empty line at a time, and nothing that turns the direction.
func paragraph(s string) string {
	var lines []string
	for _, l := range strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
		l = line(l, 2000)
		if l == "" && (len(lines) == 0 || lines[len(lines)-1] == "") {
			continue
		}
		if lines = append(lines, l); len(lines) == maxLines {
			break
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
