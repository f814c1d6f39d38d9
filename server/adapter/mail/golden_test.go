package mail

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-ical"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv/i18ntest"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/web/i18n"
)

var update = flag.Bool("update", false, "write testdata/ anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./server/adapter/mail -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// goldenMessage compares a message with files of testdata.
func goldenMessage(t *testing.T, name string, m *Message) {
	t.Helper()
	golden(t, name+".txt", "Subject: "+m.Subject+"\n\n"+m.Text)
	golden(t, name+".html", m.HTML)
	if m.Calendar != nil {
		text, err := m.Calendar.Serialize()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".ics", strings.ReplaceAll(text, "\r\n", "\n"))
	}
}

var (
	exampleID   = uuid.MustParse("6f1d1b8a-52a5-4e6c-9f0e-0c6f2f5a7e11")
	exampleTime = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
)

func exampleMailer(t *testing.T) *Mailer {
	t.Helper()
	sender, err := NewSender(Config{Host: "mail.example", Port: 587, From: "meet@usher.example", FromName: "Usher Meet", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return &Mailer{
		Sender: sender, Languages: []string{"en", "fr", "de", "nl"},
		Branding: &usherv1.Branding{Name: "Usher Meet", SupportEmail: "help@usher.example", PrimaryColor: "#0b6e4f"},
	}
}

func exampleEnvelope() letter.Envelope {
	return letter.Envelope{
		ID: exampleID, To: "grace@people.example", Language: "en", Timezone: "Europe/Paris", Time: exampleTime,
		Stop: "https://meet.example/-/mail/stop/test-stop",
	}
}

func exampleInvitation() letter.Invitation {
	start := time.Date(2026, 11, 24, 13, 30, 0, 0, time.UTC)
	return letter.Invitation{
		Envelope: exampleEnvelope(), Inviter: "Ada Lovelace", Room: "Analytical Engines", Link: "https://meet.example/i/test-token",
		Message: "Please bring the cards.\n\nA.",
		DialIn: &usherv1.DialIn{Pin: "1234567890", PinDisplay: "123 456 7890#", Numbers: []*usherv1.DialInNumber{
			{E164: "+33123456789", Display: "+33 1 23 45 67 89", Country: "FR"},
			{E164: "+493012345678", Display: "+49 30 12345678", Country: "DE"},
		}},
		Schedule: &letter.Schedule{
			UID: "6f1d1b8a-52a5-4e6c-9f0e-0c6f2f5a7e11@usher.example", Start: start, End: start.Add(time.Hour), Timezone: "Europe/Paris",
			Next: []time.Time{start},
		},
	}
}

func exampleRecording() letter.RecordingReady {
	e := exampleEnvelope()
	e.Stop = ""
	return letter.RecordingReady{
		Envelope: e, Room: "Analytical Engines", Link: "https://meet.example/recording/6f1d1b8a-52a5-4e6c-9f0e-0c6f2f5a7e11",
		Start: time.Date(2026, 11, 1, 13, 30, 0, 0, time.UTC), Duration: 3725 * time.Second, Expire: time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC),
	}
}

func TestMailGolden(t *testing.T) {
	t.Parallel()
	for _, lang := range i18n.Languages {
		l := exampleRecording()
		l.Language = lang
		m, err := exampleMailer(t).WriteRecordingReady(l)
		if err != nil {
			t.Fatal(err)
		}
		goldenMessage(t, "recording."+lang, m)
		l.Transcript, l.Expire, l.Duration = true, time.Time{}, 0
		if m, err = exampleMailer(t).WriteRecordingReady(l); err != nil {
			t.Fatal(err)
		}
		goldenMessage(t, "transcript."+lang, m)
		l = exampleRecording()
		l.Language, l.Interrupted = lang, true
		if m, err = exampleMailer(t).WriteRecordingReady(l); err != nil {
			t.Fatal(err)
		}
		goldenMessage(t, "interrupted."+lang, m)
	}
}

func TestInvitationGolden(t *testing.T) {
	t.Parallel()
	for _, lang := range i18n.Languages {
		for kind, name := range map[letter.InvitationKind]string{letter.Invited: "invite", letter.Changed: "update", letter.Cancelled: "cancel", letter.Unscheduled: "unschedule"} {
			l := exampleInvitation()
			l.Language, l.Kind, l.Schedule.Sequence = lang, kind, int(kind)
			if kind == letter.Cancelled {
				l.Link = ""
			}
			m, err := exampleMailer(t).WriteInvitation(l)
			if err != nil {
				t.Fatal(err)
			}
			goldenMessage(t, name+"."+lang, m)
		}
		l := exampleInvitation()
		l.Language, l.Schedule, l.DialIn, l.Message = lang, nil, nil, ""
		m, err := exampleMailer(t).WriteInvitation(l)
		if err != nil {
			t.Fatal(err)
		}
		goldenMessage(t, "unscheduled."+lang, m)
	}
	l := exampleInvitation()
	s := l.Schedule
	s.Recurrence = "FREQ=WEEKLY;COUNT=20;BYDAY=TU"
	s.Next = []time.Time{s.Start, s.Start.AddDate(0, 0, 7), s.Start.AddDate(0, 0, 14)}
	s.More = 17
	m, err := exampleMailer(t).WriteInvitation(l)
	if err != nil {
		t.Fatal(err)
	}
	goldenMessage(t, "recurring.en", m)
}

func parseCalendar(t *testing.T, text string) *ical.Calendar {
	t.Helper()
	c, err := ical.NewDecoder(strings.NewReader(text)).Decode()
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c
}

// What one library writes another one reads.
func TestCalendar(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		recurrence string
		kind       letter.InvitationKind
		method     string
	}{
		{name: "once", method: "REQUEST"},
		{name: "changed", kind: letter.Changed, method: "REQUEST"},
		{name: "cancelled", kind: letter.Cancelled, method: "CANCEL"},
		{name: "without a time", kind: letter.Unscheduled, method: "CANCEL"},
		{name: "every week across the end of summer time", recurrence: "FREQ=WEEKLY;COUNT=30", method: "REQUEST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := exampleInvitation()
			l.Kind, l.Schedule.Recurrence, l.Schedule.Sequence = tt.kind, tt.recurrence, 3
			m, err := exampleMailer(t).WriteInvitation(l)
			if err != nil {
				t.Fatal(err)
			}
			text, err := m.Calendar.Serialize()
			if err != nil {
				t.Fatal(err)
			}
			for _, raw := range strings.Split(text, "\r\n") {
				if len(raw) > 75 || strings.Contains(raw, "\n") {
					t.Errorf("line of %d bytes: %q", len(raw), raw)
				}
			}
			c := parseCalendar(t, text)
			if got := c.Props.Get("METHOD").Value; got != tt.method {
				t.Errorf("METHOD %s, want %s", got, tt.method)
			}
			events := c.Events()
			if len(events) != 1 {
				t.Fatalf("%d events", len(events))
			}
			checkEvent(t, events[0], l)
		})
	}
}

func checkEvent(t *testing.T, e ical.Event, l letter.Invitation) {
	t.Helper()
	start, err := e.DateTimeStart(time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	end, err := e.DateTimeEnd(time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	if !start.Equal(l.Schedule.Start) || !end.Equal(l.Schedule.End) {
		t.Errorf("from %v to %v, want %v to %v", start, end, l.Schedule.Start, l.Schedule.End)
	}
	text := func(name string) string {
		s, err := e.Props.Text(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return s
	}
	if text("UID") != l.Schedule.UID || text("SUMMARY") != l.Room || e.Props.Get("SEQUENCE").Value != "3" {
		t.Errorf("uid %s, summary %s, sequence %s", text("UID"), text("SUMMARY"), e.Props.Get("SEQUENCE").Value)
	}
	if text("LOCATION") != l.Link || !strings.Contains(text("DESCRIPTION"), "Ada Lovelace") {
		t.Errorf("location %q, description %q", text("LOCATION"), text("DESCRIPTION"))
	}
	organizer, attendees := e.Props.Get("ORGANIZER"), e.Props.Values("ATTENDEE")
	if organizer.Value != "mailto:meet@usher.example" || organizer.Params.Get("CN") != "Ada Lovelace" {
		t.Errorf("organizer %v", organizer)
	}
	if len(attendees) != 1 || attendees[0].Value != "mailto:grace@people.example" || attendees[0].Params.Get("RSVP") != "FALSE" {
		t.Errorf("attendees %v", attendees)
	}
	if l.Schedule.Recurrence == "" {
		return
	}
	// The hour stays what it is in Paris.
	set, err := e.RecurrenceSet(time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	zone := i18n.Zone("Europe/Paris")
	all := set.All()
	for _, at := range all {
		if at.In(zone).Hour() != 14 || at.In(zone).Minute() != 30 {
			t.Errorf("an occurrence at %v", at.In(zone))
		}
	}
	if len(all) != 30 || all[0].UTC().Hour() == all[29].UTC().Hour() {
		t.Errorf("%d occurrences, the last at %v: summer time does not come into it", len(all), all[len(all)-1])
	}
}

func TestTranslations(t *testing.T) {
	t.Parallel()
	i18ntest.Check(t, translations, "translations")
}

func TestLine(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"Weekly\r\nBcc:\u2028x": "Weekly Bcc: x",
		// Joiners are letters' own: without them it is spelt wrong, and with spaces it is three words.
		"می\u200cخواهم":  "می\u200cخواهم",
		"👩\u200d💻":       "👩\u200d💻",
		"a\u202eb\x00c":  "abc",
		"0123456789abc":  "0123456789abc",
		"0123456789abcd": "0123456789ab…",
	} {
		if got := line(typed, 13); got != want {
			t.Errorf("line(%q) = %q, want %q", typed, got, want)
		}
	}
}
