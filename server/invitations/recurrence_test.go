package invitations

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teambition/rrule-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/adapter/mail"
	"github.com/usher-meet/usher/server/internal/testenv/calendars"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/zones"
)

// writtenByCalendars are rules as Google, Outlook and Apple write them. END stands for COUNT or UNTIL.
var writtenByCalendars = []string{
	"RRULE:FREQ=DAILY;END", "FREQ=WEEKLY;WKST=MO;END;BYDAY=MO,TU,WE,TH,FR", "FREQ=WEEKLY;WKST=SU;END;INTERVAL=2;BYDAY=SU,WE",
	"FREQ=WEEKLY;END;INTERVAL=1;BYDAY=MO;WKST=SU", "FREQ=MONTHLY;END;BYDAY=-1FR", "FREQ=MONTHLY;END;BYDAY=2TU", "FREQ=MONTHLY;END;BYDAY=5MO",
	"FREQ=MONTHLY;END;BYMONTHDAY=31", "FREQ=MONTHLY;END;BYMONTHDAY=-1", "FREQ=MONTHLY;END;INTERVAL=3;BYMONTHDAY=30", "FREQ=MONTHLY;END",
	"FREQ=MONTHLY;END;INTERVAL=1;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "FREQ=MONTHLY;END;INTERVAL=1;BYDAY=SU,MO,TU,WE,TH,FR,SA;BYSETPOS=2",
	"FREQ=MONTHLY;END;BYDAY=MO;BYSETPOS=1", "FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=1,15;END", "FREQ=YEARLY;END;BYMONTHDAY=24;BYMONTH=12",
	"FREQ=YEARLY;END;BYDAY=1MO;BYMONTH=9;WKST=SU", "FREQ=YEARLY;INTERVAL=1;BYMONTH=3,6;BYDAY=2TU;END", "FREQ=YEARLY;END",
	"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;END", "FREQ=YEARLY;BYMONTH=11;BYDAY=TH;BYSETPOS=4;END", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13;END",
	"FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13;END", "FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3;END", "FREQ=DAILY;INTERVAL=10;END",
	"FREQ=DAILY;BYMONTH=1;END", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=MO;END", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU;END",
	"FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR;END", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=-2;END", "FREQ=YEARLY;BYMONTH=5;BYDAY=MO;END",
	"FREQ=YEARLY;BYMONTH=4;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1;END", "FREQ=MONTHLY;BYDAY=1MO,-1FR;END", "FREQ=MONTHLY;BYMONTHDAY=28,-1;END",
	"FREQ=YEARLY;BYMONTH=1,7;BYMONTHDAY=31,-31;END", "FREQ=YEARLY;INTERVAL=4;END",
}

// one is a rule with a meeting that fits it.
type one struct {
	text string
	schedule
}

var ruleZones = []string{
	"Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca", "America/Santiago", "Pacific/Auckland", "UTC",
	"Europe/Dublin", "America/St_Johns", "Africa/Cairo", "Pacific/Kiritimati",
}

// rules are n rules, the same in every run: those that calendars write, and others made of all parts.
func rules(t *testing.T, n int) []one {
	t.Helper()
	random := rand.New(rand.NewPCG(5545, 7986))
	var all []one
	taken := map[string]bool{}
	for i := 0; len(all) < n; i++ {
		var text string
		if i < 4*len(writtenByCalendars) {
			text = writtenByCalendars[i%len(writtenByCalendars)]
		} else {
			text = randomRule(random)
		}
		if o, ok := fit(random, text); ok {
			all = append(all, o)
			taken[text] = true
		}
		if i > 50*n {
			t.Fatalf("%d rules that fit of %d", len(all), i)
		}
	}
	for _, text := range writtenByCalendars {
		if !taken[text] {
			t.Errorf("%s was never taken", text)
		}
	}
	return all
}

// fit finds a beginning that fits a rule. It is false for a rule that is refused.
func fit(random *rand.Rand, text string) (one, bool) {
	zone, err := zones.Load(ruleZones[random.IntN(len(ruleZones))])
	if err != nil {
		return one{}, false
	}
	clocks := []time.Duration{9 * time.Hour, 2*time.Hour + 30*time.Minute, 90 * time.Minute, 0, 23*time.Hour + 45*time.Minute}
	clock := clocks[random.IntN(len(clocks))]
	length := []time.Duration{time.Hour, 15 * time.Minute, 5 * time.Hour}[random.IntN(3)]
	day := time.Date(2026+random.IntN(4), time.Month(1+random.IntN(12)), 1+random.IntN(31), 0, 0, 0, 0, time.UTC)
	option, err := readRule(strings.TrimPrefix(strings.Replace(text, "END", "COUNT=1", 1), "RRULE:"), zone)
	if err != nil {
		return one{}, false
	}
	for range 4 {
		// The first day that fits in itself may not be the first occurrence: then the next one may be.
		option.Dtstart, option.Count, option.Until = day.Add(clock), 0, day.AddDate(6, 0, 0)
		r, err := rrule.NewRRule(*option)
		if err != nil {
			return one{}, false
		}
		first, ok := r.Iterator()()
		if !ok {
			return one{}, false
		}
		day = first.Truncate(24*time.Hour).AddDate(0, 0, 1)
		start := zones.Instant(first, zone)
		end := fmt.Sprintf("COUNT=%d", 1+random.IntN(30))
		if random.IntN(2) == 0 {
			end = "UNTIL=" + start.AddDate(random.IntN(2), random.IntN(14), random.IntN(3)).UTC().Format("20060102T150405Z")
		}
		rule := strings.Replace(text, "END", end, 1)
		s, err := readSchedule("", timestamppb.New(start), timestamppb.New(start.Add(length)), zone.String(), rule)
		if err != nil {
			continue
		}
		if random.IntN(3) > 0 && len(s.starts) > 2 { // leave out some
			rule += "\nEXDATE;TZID=" + zone.String() + ":" + s.starts[len(s.starts)-1].In(zone).Format("20060102T150405") +
				"\nEXDATE:" + s.starts[1].Format("20060102T150405Z")
			if s, err = readSchedule("", timestamppb.New(start), timestamppb.New(start.Add(length)), zone.String(), rule); err != nil {
				panic(err)
			}
		}
		return one{rule, s}, true
	}
	return one{}, false
}

func randomRule(random *rand.Rand) string {
	frequency := []string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}[random.IntN(4)]
	rule := []string{"FREQ=" + frequency, "END"}
	add := func(name string, values func() string) {
		if random.IntN(3) > 0 {
			return
		}
		var list []string
		for range 1 + random.IntN(3) {
			list = append(list, values())
		}
		rule = append(rule, name+"="+strings.Join(list, ","))
	}
	within := func(n int) func() string {
		return func() string {
			sign := []string{"", "+", "-"}[random.IntN(3)]
			return sign + fmt.Sprint(1+random.IntN(n))
		}
	}
	day := func() string { return []string{"MO", "TU", "WE", "TH", "FR", "SA", "SU"}[random.IntN(7)] }
	if frequency != "MONTHLY" {
		add("BYMONTH", func() string { return fmt.Sprint(1 + random.IntN(12)) })
	}
	add("BYDAY", func() string {
		if frequency == "MONTHLY" && random.IntN(2) == 0 {
			return within(5)() + day()
		}
		return day()
	})
	if frequency == "MONTHLY" || frequency == "YEARLY" {
		add("BYMONTHDAY", within(31))
		add("BYSETPOS", within(4))
	}
	if random.IntN(2) == 0 {
		rule = append(rule, fmt.Sprintf("INTERVAL=%d", 1+random.IntN(4)))
	}
	if random.IntN(2) == 0 {
		rule = append(rule, "WKST="+day())
	}
	return strings.Join(rule, ";")
}

// What the letter, the calendar file, the end of the link and the page say about when a meeting takes place is what other
// implementations of RFC 5545 make of the file.
func TestRecurrence_agrees(t *testing.T) {
	t.Parallel()
	all := rules(t, 500)
	var files []string
	for _, o := range all {
		files = append(files, checkOne(t, o))
	}
	for _, reader := range calendars.Expanders {
		t.Run(string(reader), func(t *testing.T) {
			t.Parallel()
			for i, e := range calendars.Occurrences(t, reader, files...) {
				o := all[i]
				var ends []time.Time
				for _, start := range o.starts {
					ends = append(ends, start.Add(o.end.Sub(o.start)))
				}
				if knownErrors[reader][o.rule+" in "+o.timezone] {
					continue
				}
				if e.Error != "" || !agree(e.Starts, o.starts, o) {
					t.Errorf("%s of %q in %s from %s: %s\n%s", o.rule, o.text, o.timezone, o.start, e.Error, difference(e.Starts, o.starts, o))
				} else if !agree(e.Ends, ends, o) {
					t.Errorf("ends of %s in %s from %s:\n%s", o.rule, o.timezone, o.start, difference(e.Ends, ends, o))
				}
			}
		})
	}
}

// knownErrors are rules that readers get wrong, with their zone. Each was worked out by hand.
var knownErrors = map[calendars.Reader]map[string]bool{
	calendars.ICalJS: {
		// It finds no first day.
		"FREQ=YEARLY;INTERVAL=2;UNTIL=20290209T140000Z;BYMONTH=1,5;BYMONTHDAY=-25,-12,19 in America/New_York": true,
	},
	calendars.LibICal: {
		// The third week counts as the second.
		"FREQ=WEEKLY;INTERVAL=2;WKST=SA;UNTIL=20280801T131500Z;BYDAY=TU,TH in Australia/Lord_Howe": true,
		// Summer time began two days before, and the hour that was left out then is still left out.
		"FREQ=WEEKLY;INTERVAL=2;WKST=SU;UNTIL=20310401T133000Z;BYDAY=SU,TU in Pacific/Auckland": true,
	},
}

// agree compares times. Within some days of a change of clocks readers are off by up to an hour: they do not do what RFC 5545
// says about times that clocks show twice or never (3.3.5), or about how long a meeting is (3.8.5.3).
func agree(got, want []time.Time, o one) bool {
	zone, err := zones.Load(o.timezone)
	return err == nil && slices.EqualFunc(got, want, func(a, b time.Time) bool {
		_, before := b.Add(-72 * time.Hour).In(zone).Zone()
		_, after := b.Add(24 * time.Hour).In(zone).Zone()
		off := a.Sub(b).Abs()
		return off == 0 || before != after && off <= time.Hour
	})
}

// difference are the first times that differ.
func difference(got, want []time.Time, o one) string {
	zone, _ := zones.Load(o.timezone)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !got[i].Equal(want[i]) {
			show := func(times []time.Time) (shown []string) {
				for _, at := range times[min(i, len(times)):min(i+3, len(times))] {
					shown = append(shown, at.In(zone).Format("Mon 2006-01-02 15:04 -07"))
				}
				return shown
			}
			return fmt.Sprintf("number %d of %d is %v, want %v of %d", i, len(got), show(got), show(want), len(want))
		}
	}
	return ""
}

// checkOne compares what is said by Usher itself, and returns the calendar file.
func checkOne(t *testing.T, o one) string {
	t.Helper()
	length, last := o.end.Sub(o.start), o.starts[len(o.starts)-1]
	if got, want := o.expire(o.start.Add(-time.Hour), 30*24*time.Hour), last.Add(length+30*24*time.Hour); !got.Equal(want) {
		t.Errorf("%q ends %v, want %v", o.text, got, want)
	}
	for i, start := range o.starts {
		if got, _ := o.current(start.Add(time.Second)); !got.Equal(start) && (i == 0 || start.Sub(o.starts[i-1]) >= length) {
			t.Errorf("%q: the page has %v at %v", o.text, got, start)
		}
	}
	sender, err := mail.NewSender(mail.Config{Host: "mail.example", From: "meet@usher.example"})
	if err != nil {
		t.Fatal(err)
	}
	mailer := &mail.Mailer{Sender: sender, Languages: []string{"de"}, Branding: &usherv1.Branding{}}
	l := o.inLetter("1@usher.example", 0, o.start)
	m, err := mailer.WriteInvitation(letter.Invitation{
		Envelope: letter.Envelope{To: "ada@people.example", Time: o.start}, Room: "Cards", Link: "https://meet.example/i/x", Schedule: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	zone, err := zones.Load(o.timezone)
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range o.starts[:min(len(o.starts), shownOccurrences)] {
		if shown := start.In(zone).Format("15:04 Uhr"); !strings.Contains(m.Text, start.In(zone).Format("2. ")) || !strings.Contains(m.Text, shown) {
			t.Errorf("%q: %v is not in the letter:\n%s", o.text, start.In(zone), m.Text)
		}
	}
	if len(l.Next)+l.More != len(o.starts) {
		t.Errorf("%q: %d and %d more in the letter, want %d", o.text, len(l.Next), l.More, len(o.starts))
	}
	file, err := m.Calendar.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What calendars read in different ways, and what RFC 5545 has not, is refused with the reason.
func TestRecurrence_refused(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC) // a Tuesday
	for rule, reason := range map[string]string{
		"FREQ=YEARLY;COUNT=2;BYWEEKNO=49":                            "BYWEEKNO",
		"FREQ=YEARLY;COUNT=2;BYYEARDAY=335":                          "BYYEARDAY",
		"FREQ=YEARLY;COUNT=2;BYMONTHDAY=1":                           "needs BYMONTH",
		"FREQ=YEARLY;COUNT=2;BYDAY=1TU":                              "needs BYMONTH",
		"FREQ=DAILY;COUNT=2;BYMONTHDAY=1,-1":                         "BYMONTHDAY with FREQ=DAILY",
		"FREQ=WEEKLY;COUNT=2;BYMONTHDAY=1":                           "BYMONTHDAY with FREQ=WEEKLY",
		"FREQ=WEEKLY;COUNT=2;BYDAY=TU,WE;BYSETPOS=1":                 "BYSETPOS with FREQ=WEEKLY",
		"FREQ=WEEKLY;COUNT=2;BYDAY=1TU":                              "numbers before the days",
		"FREQ=MONTHLY;COUNT=2;BYMONTH=12":                            "BYMONTH with FREQ=MONTHLY",
		"FREQ=MONTHLY;COUNT=2;BYMONTHDAY=1;BYSETPOS=1":               "needs BYDAY beside BYSETPOS",
		"FREQ=MONTHLY;COUNT=2;BYDAY=1TU,WE":                          "before none",
		"FREQ=YEARLY;COUNT=2;BYMONTH=1,12;BYDAY=TU;BYSETPOS=1":       "one month",
		"FREQ=MONTHLY;COUNT=2;BYDAY=1TU,53TU":                        "BYDAY that cannot be read",
		"FREQ=MONTHLY;COUNT=2;BYDAY=0TU":                             "BYDAY that cannot be read",
		"FREQ=MONTHLY;COUNT=2;BYMONTHDAY=0":                          "BYMONTHDAY that cannot be read",
		"FREQ=WEEKLY;COUNT=2;WKST=1MO":                               "WKST that cannot be read",
		"FREQ=DAILY;COUNT=2;INTERVAL=0":                              "above 0",
		"FREQ=DAILY;COUNT=0;UNTIL=20261205T000000Z":                  "either COUNT or UNTIL",
		"FREQ=DAILY;COUNT=-1":                                        "COUNT that cannot be read",
		"FREQ=DAILY;COUNT=2;COUNT=3":                                 "COUNT twice",
		"FREQ=YEARLY;COUNT=2;BYEASTER=1":                             "not supported",
		"FREQ=YEARLY;COUNT=2;RSCALE=CHINESE":                         "not supported",
		"FREQ=DAILY;UNTIL=20261205":                                  "no date alone",
		"FREQ=DAILY;COUNT=2\nRRULE:FREQ=DAILY;COUNT=2":               "one RRULE",
		"FREQ=DAILY;COUNT=2\nRDATE:20261205T090000Z":                 "one RRULE",
		"FREQ=DAILY;COUNT=2\nEXDATE:20261201T090000Z":                "leaves out start_time",
		"FREQ=DAILY;COUNT=2\nEXDATE;VALUE=DATE:20261202":             "in the zone of the meeting",
		"FREQ=DAILY;COUNT=2\nEXDATE;TZID=Asia/Tokyo:20261202T180000": "in the zone of the meeting",
		"W1 TU #10": "one RRULE",
	} {
		s := schedule{start: start, timezone: "UTC"}
		if err := s.repeat(rule); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v, want %q", rule, err, reason)
		}
	}
}

// Forms that calendars use beside the plain one are read as what they mean, and written in one.
func TestRecurrence_forms(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC) // nine in Paris
	for text, want := range map[string]string{
		"rrule:freq=weekly;count=3;byday=tu;":                                                "FREQ=WEEKLY;COUNT=3;BYDAY=TU",
		"COUNT=3;INTERVAL=1;FREQ=WEEKLY":                                                     "FREQ=WEEKLY;INTERVAL=1;COUNT=3",
		"FREQ=WEEKLY;COUNT=\r\n 3":                                                           "FREQ=WEEKLY;COUNT=3",
		"FREQ=DAILY;UNTIL=20261203T090000":                                                   "FREQ=DAILY;UNTIL=20261203T080000Z",
		"FREQ=WEEKLY;COUNT=3;BYDAY=WE,TU,TU":                                                 "FREQ=WEEKLY;COUNT=3;BYDAY=TU,WE",
		"FREQ=MONTHLY;COUNT=3;BYMONTHDAY=15,+1":                                              "FREQ=MONTHLY;COUNT=3;BYMONTHDAY=1,15",
		"EXDATE:20261202T080000Z\nRRULE:FREQ=DAILY;COUNT=3":                                  "FREQ=DAILY;COUNT=3\nEXDATE:20261202T080000Z",
		"FREQ=DAILY;COUNT=4\r\nEXDATE;TZID=Europe/Paris:20261202T090000,20261204T090000\r\n": "FREQ=DAILY;COUNT=4\nEXDATE:20261202T080000Z,20261204T080000Z",
		"FREQ=DAILY;COUNT=2\nEXDATE:20261224T080000Z":                                        "FREQ=DAILY;COUNT=2", // no occurrence
	} {
		s := schedule{start: start, timezone: "Europe/Paris"}
		if err := s.repeat(text); err != nil || s.recurrence != want {
			t.Errorf("%q became %q, %v, want %q", text, s.recurrence, err, want)
		}
	}
}

// A rule that was taken once, and would be refused today, goes on for those who have it in their calendar.
func TestStoredSchedule_oldRule(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	end := start.Add(time.Hour)
	s := storedSchedule(&ent.Invitation{StartTime: &start, EndTime: &end, Timezone: "UTC", Recurrence: "FREQ=DAILY;COUNT=3;BYMONTHDAY=1,-1"})
	if len(s.starts) != 3 || s.rule != "FREQ=DAILY;COUNT=3;BYMONTHDAY=1,-1" {
		t.Errorf("%d occurrences of %q", len(s.starts), s.rule)
	}
}
