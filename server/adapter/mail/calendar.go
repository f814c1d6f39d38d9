package mail

import (
	"fmt"
	"strconv"
	"time"

	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/zones"
)

// Calendar is a meeting as an entry for calendars (RFC 5545), sent by one organiser to one attendee (RFC 5546).
type Calendar struct {
	// Cancelled takes the entry out of the calendar.
	Cancelled bool
	Schedule  letter.Schedule
	Summary   string
	// Description is plain text, and Link the address of the meeting.
	Description, Link string
	// Organizer is the address that sends, under the name of who invites.
	Organizer, OrganizerName string
	Attendee                 string
	// Stamp is when this version of the entry was made.
	Stamp time.Time
}

func (c *Calendar) status() string {
	if c.Cancelled {
		return "CANCELLED"
	}
	return "CONFIRMED"
}

func (c *Calendar) method() string {
	if c.Cancelled {
		return "CANCEL"
	}
	return "REQUEST"
}

// Serialize writes the entry. A meeting that is once has its times in UTC. One that repeats has them in its zone, which is
// described: in UTC it would move by an hour when summer ends, and the days of its rule would be other days.
func (c *Calendar) Serialize() (string, error) {
	zone, err := zones.Load(c.Schedule.Timezone)
	if err != nil {
		return "", fmt.Errorf("zone of the meeting: %w", err)
	}
	inZone := c.Schedule.Recurrence != "" && zone != time.UTC && c.Schedule.Timezone != "UTC"
	var w contentLines
	w.add("BEGIN", "VCALENDAR")
	w.add("VERSION", "2.0")
	w.add("PRODID", "-//Usher//Usher//EN")
	w.add("METHOD", c.method())
	if inZone {
		addZone(&w, zone, c.Schedule.Start)
	}
	w.add("BEGIN", "VEVENT")
	w.add("UID", escaped(c.Schedule.UID))
	w.add("DTSTAMP", c.Stamp.UTC().Format(utcTime))
	w.add("SEQUENCE", strconv.Itoa(c.Schedule.Sequence))
	w.add("SUMMARY", escaped(c.Summary))
	if c.Description != "" {
		w.add("DESCRIPTION", escaped(c.Description))
	}
	if c.Link != "" {
		w.add("LOCATION", escaped(c.Link))
		w.add("URL", c.Link)
	}
	w.add("ORGANIZER", mailto(c.Organizer), "CN", c.OrganizerName)
	// The answer is given on the page of the link: nobody reads the mailbox of the organiser.
	w.add("ATTENDEE", mailto(c.Attendee), "CUTYPE", "INDIVIDUAL", "ROLE", "REQ-PARTICIPANT",
		"PARTSTAT", "NEEDS-ACTION", "RSVP", "FALSE")
	w.add("STATUS", c.status())
	c.addTimes(&w, zone, inZone)
	w.add("END", "VEVENT")
	w.add("END", "VCALENDAR")
	return w.String(), nil
}

const (
	// utcTime is a time in UTC, and localTime one of the zone that a parameter names.
	utcTime, localTime = "20060102T150405Z", "20060102T150405"
)

func (c *Calendar) addTimes(w *contentLines, zone *time.Location, inZone bool) {
	s := c.Schedule
	if inZone {
		w.add("DTSTART", s.Start.In(zone).Format(localTime), "TZID", s.Timezone)
		if end := s.End.In(zone); zones.Instant(end, zone).Equal(end) {
			w.add("DTEND", end.Format(localTime), "TZID", s.Timezone)
		} else { // the clock shows that time twice, and the first time would be taken
			w.add("DURATION", fmt.Sprintf("PT%dS", int(s.End.Sub(s.Start).Seconds())))
		}
	} else {
		w.add("DTSTART", s.Start.UTC().Format(utcTime))
		w.add("DTEND", s.End.UTC().Format(utcTime))
	}
	if s.Recurrence != "" {
		w.add("RRULE", s.Recurrence)
	}
	// In the type of DTSTART, as the rule's own occurrences are.
	for _, at := range s.Except {
		if inZone {
			w.add("EXDATE", at.In(zone).Format(localTime), "TZID", s.Timezone)
		} else {
			w.add("EXDATE", at.UTC().Format(utcTime))
		}
	}
}

// zoneYears is for how long after its start the zone of a meeting is described: as long as meetings may repeat.
const zoneYears = 5

// addZone describes the zone by its changes, one observance for each. Rules for all times would be shorter, but the ones
// that the zone's database has are not to be had in Go.
func addZone(w *contentLines, zone *time.Location, start time.Time) {
	w.add("BEGIN", "VTIMEZONE")
	defer w.add("END", "VTIMEZONE")
	w.add("TZID", escaped(zone.String()))
	at := start.In(zone).AddDate(-1, 0, 0)
	end := start.AddDate(zoneYears, 1, 0)
	from, _ := at.ZoneBounds()
	if from.IsZero() {
		from = at
	}
	for changes := 0; from.Before(end) && changes < 4*zoneYears+8; changes++ {
		in := from.In(zone)
		_, before := from.Add(-time.Second).In(zone).Zone()
		name, offset := in.Zone()
		kind := "STANDARD"
		if in.IsDST() {
			kind = "DAYLIGHT"
		}
		w.add("BEGIN", kind)
		// A change happens by the clock that went until then.
		w.add("DTSTART", in.UTC().Add(time.Duration(before)*time.Second).Format(localTime))
		w.add("TZOFFSETFROM", offsetText(before))
		w.add("TZOFFSETTO", offsetText(offset))
		w.add("TZNAME", escaped(name))
		w.add("END", kind)
		_, next := in.ZoneBounds()
		if next.IsZero() {
			return
		}
		from = next
	}
}

// offsetText is an offset in seconds as RFC 5545 writes it: +hhmm.
func offsetText(seconds int) string {
	sign := '+'
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	return fmt.Sprintf("%c%02d%02d", sign, seconds/3600, seconds/60%60)
}
