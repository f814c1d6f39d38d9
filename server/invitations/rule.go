package invitations

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/usher-meet/usher/server/zones"
)

// readLines takes a recurrence apart: an RRULE, with or without its name, and lines with EXDATE.
func readLines(text string, zone *time.Location) (rule string, exceptions []time.Time, err error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ToUpper(strings.NewReplacer("\n ", "", "\n\t", "").Replace(strings.TrimSpace(text))) // long lines are folded
	for line := range strings.SplitSeq(text, "\n") {
		name, value, named := strings.Cut(line, ":")
		property, parameters, _ := strings.Cut(name, ";")
		switch {
		case !named && strings.HasPrefix(line, "FREQ=") || !named && strings.Contains(line, ";FREQ="):
			value = line
			fallthrough
		case name == "RRULE":
			if rule != "" {
				return "", nil, errors.New("must have one RRULE")
			}
			rule = value
		case named && property == "EXDATE":
			dates, err := readExceptions(parameters, value, zone)
			if err != nil {
				return "", nil, err
			}
			exceptions = append(exceptions, dates...)
		default:
			return "", nil, errors.New("must be the value of one RRULE, such as FREQ=WEEKLY;COUNT=10, and below it lines with EXDATE")
		}
	}
	return rule, exceptions, nil
}

// readExceptions reads the times of an EXDATE. Text is in upper case.
func readExceptions(parameters, value string, zone *time.Location) ([]time.Time, error) {
	for p := range strings.SplitSeq(parameters, ";") {
		name, v, _ := strings.Cut(p, "=")
		switch {
		case p == "", name == "VALUE" && v == "DATE-TIME":
		case name == "TZID" && strings.EqualFold(v, zone.String()):
		default:
			return nil, fmt.Errorf("EXDATE must have times in UTC, or in the zone of the meeting, %s", zone)
		}
	}
	var dates []time.Time
	for text := range strings.SplitSeq(value, ",") {
		at, err := readTime(text, zone)
		if err != nil {
			return nil, fmt.Errorf("EXDATE %w", err)
		}
		dates = append(dates, at)
	}
	return dates, nil
}

// readTime reads a time in UTC, or of a clock in the zone of the meeting. A date alone is none: calendars disagree whether
// the time of the meeting on that day is meant.
func readTime(text string, zone *time.Location) (time.Time, error) {
	if at, err := time.Parse(rrule.DateTimeFormat, text); err == nil {
		return at, nil
	}
	clock, err := time.Parse(rrule.LocalDateTimeFormat, text)
	if err != nil {
		return time.Time{}, errors.New("must be a time as DTSTART is, such as 20261231T235959Z, and no date alone")
	}
	return zones.Instant(clock, zone).UTC(), nil
}

const (
	number, weekday = `\d{1,4}`, `(MO|TU|WE|TH|FR|SA|SU)`
	signed          = `[+-]?0*[1-9]\d{0,2}`
)

// parts are what a rule can consist of (RFC 5545, section 3.3.10). No month has a day of the week more than five times, and
// the library panics at those that are far outside.
var parts = map[string]*regexp.Regexp{
	"FREQ": regexp.MustCompile(`^(DAILY|WEEKLY|MONTHLY|YEARLY)$`), "UNTIL": regexp.MustCompile(`^.+$`),
	"COUNT": regexp.MustCompile(`^` + number + `$`), "INTERVAL": regexp.MustCompile(`^` + number + `$`),
	"WKST": regexp.MustCompile(`^` + weekday + `$`), "BYDAY": list(`([+-]?0?[1-5])?` + weekday), "BYMONTH": list(`\d{1,2}`),
	"BYMONTHDAY": list(signed), "BYYEARDAY": list(signed), "BYWEEKNO": list(signed), "BYSETPOS": list(signed),
}

func list(of string) *regexp.Regexp { return regexp.MustCompile(`^` + of + `(,` + of + `)*$`) }

// readRule reads a rule in upper case. Its errors name the part: rules come from calendars, and whoever typed none cannot
// guess.
func readRule(text string, zone *time.Location) (*rrule.ROption, error) {
	found := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimSuffix(text, ";"), ";") {
		name, value, _ := strings.Cut(part, "=")
		form, known := parts[name]
		_, twice := found[name]
		switch {
		case name == "FREQ" && (value == "HOURLY" || value == "MINUTELY" || value == "SECONDLY"),
			name == "BYHOUR", name == "BYMINUTE", name == "BYSECOND":
			return nil, errors.New("must be daily or less often, without BYHOUR, BYMINUTE and BYSECOND")
		case !known && found["FREQ"] != "":
			return nil, fmt.Errorf("has a part that is not supported: %.20q", name)
		case !known:
			return nil, errNoRule
		case twice:
			return nil, fmt.Errorf("has %s twice", name)
		case !form.MatchString(value):
			return nil, fmt.Errorf("has a %s that cannot be read", name)
		}
		found[name] = value
	}
	if err := checkParts(found); err != nil {
		return nil, err
	}
	until := found["UNTIL"]
	delete(found, "UNTIL")
	var rest []string
	for name, value := range found {
		rest = append(rest, name+"="+value)
	}
	option, err := rrule.StrToROption(strings.Join(rest, ";"))
	if err != nil {
		return nil, errNoRule
	}
	if until != "" {
		if option.Until, err = readTime(until, zone); err != nil {
			return nil, fmt.Errorf("UNTIL %w", err)
		}
	}
	tidy(option)
	return option, nil
}

// tidy sorts lists, and takes out what is there twice: some calendars count on that.
func tidy(option *rrule.ROption) {
	for _, numbers := range []*[]int{&option.Bymonth, &option.Bymonthday, &option.Bysetpos} {
		slices.Sort(*numbers)
		*numbers = slices.Compact(*numbers)
	}
	first := option.Wkst.Day()
	slices.SortFunc(option.Byweekday, func(a, b rrule.Weekday) int {
		return cmp.Or(cmp.Compare(a.N(), b.N()), cmp.Compare((a.Day()-first+7)%7, (b.Day()-first+7)%7))
	})
	option.Byweekday = slices.Compact(option.Byweekday)
}

// agreed are the parts, with each frequency, about whose meaning calendars agree. Google, Outlook and Apple write no others.
var agreed = map[string]string{
	"DAILY": "BYDAY BYMONTH", "WEEKLY": "BYDAY BYMONTH", "MONTHLY": "BYDAY BYMONTHDAY BYSETPOS",
	"YEARLY": "BYDAY BYMONTH BYMONTHDAY BYSETPOS",
}

// checkParts refuses what RFC 5545 does, and of the rest what calendars read in different ways.
func checkParts(found map[string]string) error {
	freq := found["FREQ"]
	has := func(name string) bool { return found[name] != "" }
	if freq == "" {
		return errNoRule
	}
	for name := range found {
		if strings.HasPrefix(name, "BY") && !slices.Contains(strings.Fields(agreed[freq]), name) {
			return fmt.Errorf("cannot have %s with FREQ=%s: calendars do not agree about what that means", name, freq)
		}
	}
	count, _ := strconv.Atoi(found["COUNT"])
	interval, _ := strconv.Atoi(found["INTERVAL"])
	switch {
	case has("COUNT") == has("UNTIL"):
		return errors.New("must have either COUNT or UNTIL")
	case has("COUNT") && count == 0, has("INTERVAL") && interval == 0:
		return errors.New("must have numbers above 0 for COUNT and INTERVAL")
	case count > mostOccurrences:
		return fmt.Errorf("must be %d times at most", mostOccurrences)
	case strings.ContainsAny(found["BYDAY"], "123456789") && freq != "MONTHLY" && freq != "YEARLY":
		return errors.New("cannot have numbers before the days of BYDAY, except by month or year")
	case has("BYSETPOS") && (!has("BYDAY") || strings.Contains(found["BYMONTH"], ",")):
		return errors.New("needs BYDAY beside BYSETPOS, and one month in BYMONTH if it has that")
	case mixed(found["BYDAY"]):
		return errors.New("must have a number before each day of BYDAY or before none")
	case freq == "YEARLY" && !has("BYMONTH") && (has("BYDAY") || has("BYMONTHDAY")):
		return errors.New("needs BYMONTH beside BYDAY or BYMONTHDAY with FREQ=YEARLY: calendars do not agree about what it means else")
	}
	return nil
}

// mixed reports whether some days of BYDAY have numbers and others have none.
func mixed(days string) bool {
	var numbers, none bool
	for day := range strings.SplitSeq(days, ",") {
		numbers, none = numbers || len(day) > 2, none || len(day) == 2
	}
	return numbers && none
}
