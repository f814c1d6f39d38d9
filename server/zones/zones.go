// Package zones knows the time zones of the IANA database by name, and what a clock in one of them means.
package zones

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
)

//go:embed zones.txt
var table string

// targets has the zone of each name.
var targets = func() map[string]string {
	names := map[string]string{}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, target, alias := strings.Cut(strings.TrimSpace(line), " ")
		if !alias {
			target = name
		}
		names[name] = target
	}
	return names
}()

// Canonical is the name of a zone, for that name or an alias such as US/Eastern. It is false for all others, whatever files
// the system has beside the database: localtime, Factory, posix/Europe/Paris, right/Europe/Paris.
func Canonical(name string) (string, bool) {
	target, ok := targets[name]
	return target, ok
}

// Load is the zone of that name.
func Load(name string) (*time.Location, error) {
	target, ok := Canonical(name)
	if !ok {
		return nil, fmt.Errorf("there is no time zone %q", name)
	}
	return time.LoadLocation(target)
}

// Instant is when clocks in a zone show a time, whose own zone does not matter, as RFC 5545, section 3.3.5, has it: the
// first time where they are set back; and a time that is left out when they are set forward counts as if they had not
// been. [time.Date] does not say which it takes, and takes another in America than in Europe.
func Instant(clock time.Time, zone *time.Location) time.Time {
	clock = time.Date(
		clock.Year(), clock.Month(), clock.Day(), clock.Hour(), clock.Minute(), clock.Second(), clock.Nanosecond(), time.UTC,
	)
	// No zone is further from UTC than 15 hours, or is changed twice within two days.
	const day = 24 * time.Hour
	_, before := clock.Add(-day).In(zone).Zone()
	_, after := clock.Add(day).In(zone).Zone()
	for _, offset := range []int{before, after} {
		at := clock.Add(-time.Duration(offset) * time.Second).In(zone)
		if _, actual := at.Zone(); actual == offset {
			return at
		}
	}
	return clock.Add(-time.Duration(before) * time.Second).In(zone)
}
