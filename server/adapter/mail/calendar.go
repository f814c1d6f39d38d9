package mail

import (
	"fmt"
	"strings"
	"time"

	ics "github.com/arran4/golang-ical"

	"github.com/usher-meet/usher/server/letter"
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

func (c *Calendar) method() ics.Method {
	if c.Cancelled {
		return ics.MethodCancel
	}
	return ics.MethodRequest
}

// serialize writes the entry. A meeting that is once has its times in UTC. One that repeats has them in its zone, which is
// described: in UTC it would move by an hour when summer ends, and the days of its rule would be other days.
func (c *Calendar) serialize() (string, error) {
	cal := ics.NewCalendar()
	cal.SetProductId("-//Usher//Usher//EN")
	cal.SetMethod(c.method())
	e := ics.NewEvent(c.Schedule.UID)
	e.SetDtStampTime(c.Stamp)
	e.SetSequence(c.Schedule.Sequence)
	e.SetSummary(c.Summary)
	if c.Description != "" {
		e.SetDescription(c.Description)
	}
	if c.Link != "" {
		e.SetLocation(c.Link)
		e.SetURL(c.Link)
	}
	e.SetOrganizer(c.Organizer, ics.WithCN(quotable(c.OrganizerName)))
	// The answer is given on the page of the link: nobody reads the mailbox of the organiser.
	e.AddAttendee(c.Attendee, ics.CalendarUserTypeIndividual, ics.ParticipationRoleReqParticipant,
		ics.ParticipationStatusNeedsAction, ics.WithRSVP(false))
	e.SetStatus(ics.ObjectStatusConfirmed)
	if c.Cancelled {
		e.SetStatus(ics.ObjectStatusCancelled)
	}
	if err := c.setTimes(cal, e); err != nil {
		return "", err
	}
	cal.AddVEvent(e)
	return cal.Serialize(ics.WithNewLineWindows), nil
}

// localTime is a time of the zone that a parameter names.
const localTime = "20060102T150405"

func (c *Calendar) setTimes(cal *ics.Calendar, e *ics.VEvent) error {
	s := c.Schedule
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return fmt.Errorf("zone of the meeting: %w", err)
	}
	if s.Recurrence == "" || zone == time.UTC || s.Timezone == "UTC" {
		e.SetStartAt(s.Start)
		e.SetEndAt(s.End)
	} else {
		addZone(cal, zone, s.Start)
		e.SetProperty(ics.ComponentPropertyDtStart, s.Start.In(zone).Format(localTime), ics.WithTZID(s.Timezone))
		e.SetProperty(ics.ComponentPropertyDtEnd, s.End.In(zone).Format(localTime), ics.WithTZID(s.Timezone))
	}
	if s.Recurrence != "" {
		e.AddRrule(s.Recurrence)
	}
	return nil
}

// zoneYears is for how long after its start the zone of a meeting is described: as long as meetings may repeat.
const zoneYears = 5

// addZone describes the zone by its changes, one observance for each. Rules for all times would be shorter, but the ones
// that the zone's database has are not to be had in Go.
func addZone(cal *ics.Calendar, zone *time.Location, start time.Time) {
	z := cal.AddTimezone(zone.String())
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
		var o *ics.ComponentBase
		if in.IsDST() {
			d := &ics.Daylight{}
			z.Components, o = append(z.Components, d), &d.ComponentBase
		} else {
			o = &z.AddStandard().ComponentBase
		}
		// A change happens by the clock that went until then.
		onset := in.UTC().Add(time.Duration(before) * time.Second).Format(localTime)
		o.SetProperty(ics.ComponentPropertyDtStart, onset)
		o.SetProperty(ics.ComponentProperty(ics.PropertyTzoffsetfrom), offsetText(before))
		o.SetProperty(ics.ComponentProperty(ics.PropertyTzoffsetto), offsetText(offset))
		o.SetProperty(ics.ComponentProperty(ics.PropertyTzname), name)
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

// quotable is text for a parameter, in which there is no way to write a quotation mark (RFC 5545, section 3.1).
func quotable(s string) string { return strings.ReplaceAll(line(s, maxSubject), `"`, "'") }
