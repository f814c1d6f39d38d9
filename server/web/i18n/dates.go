package i18n

import (
	"fmt"
	"strings"
	"time"

	"github.com/usher-meet/usher/server/zones"
)

// calendarWords are how a language names days and writes dates. Time's own names are English.
type calendarWords struct {
	days, months []string
	// date has day of the week, day, month and year; at joins date and time; until joins two times.
	date      func(weekday string, day int, month string, year int) string
	clock     func(t time.Time) string
	at, until string
}

func clock24(t time.Time) string { return t.Format("15:04") }

var calendars = map[string]calendarWords{
	"en": {
		days:   words("Sunday Monday Tuesday Wednesday Thursday Friday Saturday"),
		months: words("January February March April May June July August September October November December"),
		date:   func(w string, d int, m string, y int) string { return fmt.Sprintf("%s, %s %d, %d", w, m, d, y) },
		clock:  func(t time.Time) string { return t.Format("3:04 PM") }, at: ", ", until: " – ",
	},
	"fr": {
		days:   words("dimanche lundi mardi mercredi jeudi vendredi samedi"),
		months: words("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
		date: func(w string, d int, m string, y int) string {
			if d == 1 {
				return fmt.Sprintf("%s 1er %s %d", w, m, y)
			}
			return fmt.Sprintf("%s %d %s %d", w, d, m, y)
		},
		clock: clock24, at: " à ", until: " – ",
	},
	"de": {
		days:   words("Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag"),
		months: words("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
		date:   func(w string, d int, m string, y int) string { return fmt.Sprintf("%s, %d. %s %d", w, d, m, y) },
		clock:  func(t time.Time) string { return t.Format("15:04") + " Uhr" }, at: ", ", until: " – ",
	},
	"nl": {
		days:   words("zondag maandag dinsdag woensdag donderdag vrijdag zaterdag"),
		months: words("januari februari maart april mei juni juli augustus september oktober november december"),
		date:   func(w string, d int, m string, y int) string { return fmt.Sprintf("%s %d %s %d", w, d, m, y) },
		clock:  clock24, at: " om ", until: " – ",
	},
}

func words(s string) []string { return strings.Fields(s) }

// Zone is the zone of a reader, UTC for none.
func Zone(name string) *time.Location {
	zone, err := zones.Load(name)
	if err != nil {
		return time.UTC
	}
	return zone
}

// Day is a date.
func (s *Localizer) Day(t time.Time) string {
	return s.words.date(s.words.days[t.Weekday()], t.Day(), s.words.months[t.Month()-1], t.Year())
}

// Moment is a date and time, without the zone.
func (s *Localizer) Moment(t time.Time) string { return s.Day(t) + s.words.at + s.words.clock(t) }

// Span is from start to end, with the zone in which both are read.
func (s *Localizer) Span(start, end time.Time) string {
	if start.YearDay() == end.YearDay() && start.Year() == end.Year() {
		return s.Moment(start) + s.words.until + s.words.clock(end) + " " + ZoneText(start)
	}
	return s.Moment(start) + s.words.until + s.Moment(end) + " " + ZoneText(start)
}

// ZoneText names the zone by place and by distance: abbreviations mean different things in different countries.
func ZoneText(t time.Time) string {
	_, seconds := t.Zone()
	if seconds == 0 && t.Location() == time.UTC {
		return "(UTC)"
	}
	sign := "+"
	if seconds < 0 {
		sign, seconds = "−", -seconds
	}
	offset := fmt.Sprintf("UTC%s%d", sign, seconds/3600)
	if minutes := seconds / 60 % 60; minutes != 0 {
		offset += fmt.Sprintf(":%02d", minutes)
	}
	return fmt.Sprintf("(%s, %s)", strings.ReplaceAll(t.Location().String(), "_", " "), offset)
}

// Length is a duration as h:mm:ss or m:ss, which every reader understands.
func Length(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
