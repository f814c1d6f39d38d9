package invitations

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/usher-meet/usher/server/zones"
)

const (
	// mostOccurrences is how often a meeting may repeat, those that are left out included.
	mostOccurrences = 400
	// maxRecurrence is how long a recurrence may be once it is written anew.
	maxRecurrence = 500
)

// errNoRule is for what cannot be read at all.
var errNoRule = errors.New("cannot be read as an RRULE of RFC 5545, such as FREQ=WEEKLY;COUNT=10")

// repeat reads a recurrence, writes it anew, and lists when the meeting begins. The rule is read in the zone of the meeting:
// its days and hours are those of the people there, whatever summer time does.
func (s *schedule) repeat(text string) error {
	if text == "" {
		s.starts = []time.Time{s.start}
		return nil
	}
	zone, err := zones.Load(s.timezone)
	if err != nil {
		return err
	}
	rule, exceptions, err := readLines(text, zone)
	if err != nil {
		return err
	}
	option, err := readRule(rule, zone)
	if err != nil && s.stored {
		// It may be one that was taken before these rules were.
		option, err = rrule.StrToROptionInLocation(rule, zone)
	}
	if err != nil {
		return err
	}
	all, err := occurrences(option, s.start, zone)
	if err != nil {
		return err
	}
	s.rule = option.RRuleString()
	s.recurrence = s.rule
	if err := s.leaveOut(all, exceptions); err != nil {
		return err
	}
	if len(s.recurrence) > maxRecurrence {
		return fmt.Errorf("must be %d characters at most, with a sign before each number of a week", maxRecurrence)
	}
	return nil
}

// leaveOut takes exceptions out of all occurrences. Those that are none have no effect, and are not kept.
func (s *schedule) leaveOut(all, exceptions []time.Time) error {
	separator := "\nEXDATE:"
	for i, start := range all {
		switch {
		case !slices.ContainsFunc(exceptions, start.Equal):
			s.starts = append(s.starts, start)
		case i == 0:
			return errors.New("EXDATE leaves out start_time, which must be the first occurrence")
		default:
			s.except = append(s.except, start)
			s.recurrence += separator + start.Format(rrule.DateTimeFormat)
			separator = ","
		}
	}
	return nil
}

// occurrences lists when a meeting begins. It stops at the first that is too many or too late: a rule can be about days
// that never come.
//
// The library is asked about a clock without a zone, and has neither COUNT nor UNTIL: what a clock means where summer time
// begins or ends is said by RFC 5545, and not by the library. It begins with the first day of the first week, since it takes
// what BYSETPOS counts from there on.
func occurrences(option *rrule.ROption, start time.Time, zone *time.Location) ([]time.Time, error) {
	local := start.In(zone)
	clock := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, time.UTC)
	rule := *option
	rule.Dtstart, rule.Count, rule.Until = clock, 0, clock.Add(horizon+48*time.Hour)
	if rule.Freq == rrule.WEEKLY {
		rule.Dtstart = clock.AddDate(0, 0, -((dayOfWeek(clock) - rule.Wkst.Day() + 7) % 7))
	}
	days := []rrule.Weekday{rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA, rrule.SU}
	if rule.Freq == rrule.WEEKLY && len(rule.Byweekday) == 0 {
		rule.Byweekday = []rrule.Weekday{days[dayOfWeek(clock)]}
	}
	r, err := rrule.NewRRule(rule)
	if err != nil {
		return nil, errNoRule
	}
	last := start.Add(horizon)
	var starts []time.Time
	for next := r.Iterator(); ; {
		shown, ok := next()
		if ok && shown.Before(clock) {
			continue
		}
		at := zones.Instant(shown, zone).UTC()
		switch {
		case option.Count > 0 && len(starts) == option.Count, !option.Until.IsZero() && (!ok || at.After(option.Until)):
			return starts, checkFirst(starts, start)
		case !ok || at.After(last):
			return nil, errors.New("must end within 5 years, and take place as often as COUNT says until then")
		case len(starts) == mostOccurrences:
			return nil, fmt.Errorf("must be %d times at most", mostOccurrences)
		}
		starts = append(starts, at)
	}
}

// dayOfWeek is 0 for Monday.
func dayOfWeek(t time.Time) int { return (int(t.Weekday()) + 6) % 7 }

// checkFirst refuses a rule that start_time does not follow: calendars would disagree whether that is an occurrence.
func checkFirst(starts []time.Time, start time.Time) error {
	switch {
	case len(starts) == 0:
		return errors.New("never happens")
	case !starts[0].Equal(start):
		return errors.New("does not fit start_time, which must be the first occurrence")
	}
	return nil
}
