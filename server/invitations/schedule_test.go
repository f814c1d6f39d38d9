package invitations

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/internal/testenv/i18ntest"
)

func TestTranslations(t *testing.T) {
	t.Parallel()
	i18ntest.Check(t, translations, "translations")
}

// What people write keeps its lines and the joiners that Persian and many emoji are spelt with, and nothing that nobody
// sees.
func TestClean(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		" Hello,\r\n\r\nbring the cards. \n": "Hello,\n\nbring the cards.",
		"می\u200cخواهم 👩\u200d👩\u200d👧":      "می\u200cخواهم 👩\u200d👩\u200d👧",
		"a\x00b\u202ec\u200bd\xff":           "abcd",
		strings.Repeat("x", 2500):            strings.Repeat("x", 2000),
		// Composing it makes two characters of each.
		strings.Repeat("\u0958", 2000): strings.Repeat("\u0915\u093c", 1000),
		strings.Repeat("x\n", 1500):    strings.TrimSpace(strings.Repeat("x\n", 1000)),
	} {
		if got := clean(typed); got != want {
			t.Errorf("clean(%.40q) = %.40q, want %.40q", typed, got, want)
		}
	}
}

// everyDay has all numbers of the days of a month.
func everyDay() string {
	var byDay, byMonthDay []string
	for _, sign := range []string{"", "-"} {
		for n := range 5 {
			for _, day := range []string{"MO", "TU", "WE", "TH", "FR", "SA", "SU"} {
				byDay = append(byDay, fmt.Sprint(sign, n+1, day))
			}
		}
		for n := range 31 {
			byMonthDay = append(byMonthDay, fmt.Sprint(sign, n+1))
		}
	}
	return strings.Join(byDay, ",") + ";BYMONTHDAY=" + strings.Join(byMonthDay, ",")
}

func TestReadSchedule(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name       string
		start, end *timestamppb.Timestamp
		zone, rule string
		field      string // that is wrong; empty: none
		count      int
	}{
		{name: "no time", zone: "UTC"},
		{name: "once", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", count: 1},
		{name: "ten weeks", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "Europe/Paris", rule: "FREQ=WEEKLY;COUNT=10", count: 10},
		{name: "with its name", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "Europe/Paris", rule: "RRULE:FREQ=WEEKLY;COUNT=10", count: 10},
		{name: "until a day", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "Europe/Paris", rule: "FREQ=DAILY;UNTIL=20261205T235959Z", count: 5},
		{name: "no zone", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "Mars/Olympus", field: "timezone"},
		{name: "the zone of the machine", zone: "Local", field: "timezone"},
		{name: "that as a file", zone: "localtime", field: "timezone"},
		{name: "the zone of nowhere", zone: "Factory", field: "timezone"},
		{name: "a zone of some systems", zone: "posix/Europe/Paris", field: "timezone"},
		{name: "no zone at all", zone: "", field: "timezone"},
		{name: "end without start", end: timestamppb.New(start), zone: "UTC", field: "end_time"},
		{name: "rule without start", zone: "UTC", rule: "FREQ=DAILY;COUNT=2", field: "recurrence"},
		{name: "start without end", start: timestamppb.New(start), zone: "UTC", field: "end_time"},
		{name: "end before start", start: timestamppb.New(start), end: timestamppb.New(start.Add(-time.Hour)), zone: "UTC", field: "end_time"},
		{name: "end at start", start: timestamppb.New(start), end: timestamppb.New(start), zone: "UTC", field: "end_time"},
		{name: "eight days", start: timestamppb.New(start), end: timestamppb.New(start.Add(8 * 24 * time.Hour)), zone: "UTC", field: "end_time"},
		{name: "a time that is none", start: &timestamppb.Timestamp{Seconds: 1 << 60}, end: timestamppb.New(start), zone: "UTC", field: "start_time"},
		{name: "for ever", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=DAILY", field: "recurrence"},
		{name: "both ends", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=DAILY;COUNT=2;UNTIL=20261205T000000Z", field: "recurrence"},
		{name: "too often", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=DAILY;COUNT=401", field: "recurrence"},
		{name: "too often until", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=DAILY;UNTIL=20290101T000000Z", field: "recurrence"},
		{name: "too long", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=YEARLY;COUNT=7", field: "recurrence"},
		{name: "every second", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=SECONDLY;COUNT=2", field: "recurrence"},
		{name: "at other hours", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=DAILY;COUNT=2;BYHOUR=1,2", field: "recurrence"},
		{name: "the 30th of February", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=3", field: "recurrence"},
		{name: "another first day", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=WEEKLY;BYDAY=FR;COUNT=3", field: "recurrence"},
		{name: "longer when written anew", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=MONTHLY;COUNT=2;BYDAY=" + everyDay(), field: "recurrence"},
		{name: "nonsense", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "every tuesday", field: "recurrence"},
		{name: "two lines", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "FREQ=DAILY;COUNT=2\r\nATTENDEE:x", field: "recurrence"},
		{name: "a start of its own", start: timestamppb.New(start), end: timestamppb.New(start.Add(time.Hour)), zone: "UTC", rule: "DTSTART:20200101T000000Z;FREQ=DAILY;COUNT=2", field: "recurrence"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := readSchedule("", tt.start, tt.end, tt.zone, tt.rule)
			if tt.field != "" {
				if err == nil || !strings.Contains(err.Error(), tt.field) {
					t.Errorf("got %v, want %s to be refused", err, tt.field)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(s.starts) != tt.count {
				t.Errorf("%d occurrences, want %d", len(s.starts), tt.count)
			}
			again := schedule{start: s.start, end: s.end, timezone: s.timezone}
			if err := again.repeat(s.recurrence); tt.count > 0 && (err != nil || len(again.starts) != tt.count || again.recurrence != s.recurrence) {
				t.Errorf("read again: %d occurrences of %q, %v", len(again.starts), s.recurrence, err)
			}
		})
	}
}

// What was stored under an alias, or under the name of a file, goes on by its zone.
func TestStoredSchedule_zone(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	end := start.Add(time.Hour)
	for stored, want := range map[string]string{
		"Asia/Calcutta": "Asia/Kolkata", "posix/Europe/Paris": "Europe/Paris", "right/US/Eastern": "America/New_York", "localtime": "UTC", "": "UTC",
	} {
		i := &ent.Invitation{StartTime: &start, EndTime: &end, Timezone: stored, Recurrence: "FREQ=WEEKLY;COUNT=3"}
		if s := storedSchedule(i); s.timezone != want || len(s.starts) != 3 {
			t.Errorf("%q became %q with %d occurrences, want %q with 3", stored, s.timezone, len(s.starts), want)
		}
	}
	s, err := readSchedule("", nil, nil, "US/Eastern", "")
	if err != nil || s.timezone != "America/New_York" {
		t.Errorf("US/Eastern became %q, %v", s.timezone, err)
	}
}

// A link admits from 15 minutes before to 4 hours after each occurrence, whatever summer time does in between.
func TestSchedule_admits(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 10, 19, 9, 0, 0, 0, zone) // Monday; summer time ends on Sunday
	s, err := readSchedule("", timestamppb.New(start), timestamppb.New(start.Add(time.Hour)), "Europe/Paris", "FREQ=WEEKLY;COUNT=2")
	if err != nil {
		t.Fatal(err)
	}
	second := time.Date(2026, 10, 26, 9, 0, 0, 0, zone)
	for _, tt := range []struct {
		at   time.Time
		want bool
	}{
		{start.Add(-15*time.Minute - time.Second), false},
		{start.Add(-15 * time.Minute), true},
		{start.Add(5*time.Hour - time.Second), true},
		{start.Add(5 * time.Hour), false},
		{start.Add(48 * time.Hour), false},
		{second.Add(-15*time.Minute - time.Second), false},
		{second.Add(-15 * time.Minute), true},
		{second.Add(5 * time.Hour), false},
	} {
		if got := s.admits(tt.at); got != tt.want {
			t.Errorf("at %v: %v, want %v", tt.at, got, tt.want)
		}
	}
	if !(schedule{}).admits(start) {
		t.Error("without a time, it admits until it ends")
	}
	if got, want := s.expire(start, 30*24*time.Hour), second.Add(time.Hour+30*24*time.Hour); !got.Equal(want) {
		t.Errorf("expires %v, want %v", got, want)
	}
	if at, _ := s.current(start.Add(2 * time.Hour)); !at.Equal(second) {
		t.Errorf("the next one is at %v, want %v", at, second)
	}
}

func FuzzRecurrence(f *testing.F) {
	for _, s := range []string{"FREQ=WEEKLY;COUNT=10", "FREQ=DAILY;UNTIL=20261205T000000Z", "FREQ=MONTHLY;BYDAY=-1FR;COUNT=3", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=2", "FREQ=DAILY;COUNT=3\nEXDATE:20261202T090000Z"} {
		f.Add(s)
	}
	start := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, rule string) {
		s := schedule{start: start, timezone: "Europe/Paris"}
		if s.repeat(rule) != nil {
			return
		}
		if n := len(s.starts); n == 0 || n > mostOccurrences || strings.ContainsAny(s.rule, "\r\n") || len(s.recurrence) > maxRecurrence {
			t.Errorf("%q: %d occurrences, %q", rule, len(s.starts), s.recurrence)
		}
		again := schedule{start: start, timezone: "Europe/Paris"}
		if err := again.repeat(s.recurrence); err != nil || !slices.EqualFunc(s.starts, again.starts, time.Time.Equal) {
			t.Errorf("%q became %q, which means something else: %v", rule, s.recurrence, err)
		}
	})
}
