package invitations

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/zones"
)

const (
	// longest is how long one occurrence may be, and horizon how far ahead the last one may begin.
	longest, horizon = 7 * 24 * time.Hour, 5 * 365 * 24 * time.Hour
	// shownOccurrences is how many a letter lists.
	shownOccurrences = 4
)

// schedule is when a meeting is. The zero one is that of a meeting without a time.
type schedule struct {
	start, end time.Time
	timezone   string
	// recurrence is what is stored, rule its RRULE, and except the occurrences of that which do not take place.
	recurrence, rule string
	except           []time.Time
	// stored is that of an invitation, which was checked when it was made.
	stored bool
	// starts are the occurrences, in order: one at least.
	starts []time.Time
}

func (s schedule) none() bool { return s.start.IsZero() }

// readSchedule reads the fields of a request. They are named below prefix in errors.
func readSchedule(prefix string, start, end *timestamppb.Timestamp, timezone, recurrence string) (schedule, error) {
	timezone, ok := zones.Canonical(timezone)
	if !ok {
		return schedule{}, fault.Invalid(prefix+"timezone", "must be an IANA time zone such as Europe/Paris")
	}
	if start == nil {
		if end != nil {
			return schedule{}, fault.Invalid(prefix+"end_time", "needs start_time beside it")
		}
		if recurrence != "" {
			return schedule{}, fault.Invalid(prefix+"recurrence", "needs start_time beside it")
		}
		return schedule{timezone: timezone}, nil
	}
	s := schedule{start: moment(start), end: moment(end), timezone: timezone}
	switch {
	case start.CheckValid() != nil || s.start.Year() < 2000 || s.start.Year() > 2200:
		return schedule{}, fault.Invalid(prefix+"start_time", "must be a time between 2000 and 2200")
	case end == nil || end.CheckValid() != nil:
		return schedule{}, fault.Invalid(prefix+"end_time", "must be set, since start_time is")
	case !s.end.After(s.start) || s.end.Sub(s.start) > longest:
		return schedule{}, fault.Invalid(prefix+"end_time", "must be after start_time, by 7 days at most")
	}
	if err := s.repeat(recurrence); err != nil {
		return schedule{}, fault.Invalid(prefix+"recurrence", "%v", err)
	}
	return s, nil
}

// moment is a time of a request as calendars have it: to the second.
func moment(t *timestamppb.Timestamp) time.Time { return t.AsTime().UTC().Truncate(time.Second) }

// storedSchedule is that of an invitation. What was stored was checked.
func storedSchedule(i *ent.Invitation) schedule {
	// What was stored before there was a table of zones may be an alias, or the name of a file with the same rules.
	timezone := zoneOr(strings.TrimPrefix(strings.TrimPrefix(i.Timezone, "posix/"), "right/"), "UTC")
	if i.StartTime == nil || i.EndTime == nil {
		return schedule{timezone: timezone}
	}
	s := schedule{start: i.StartTime.UTC(), end: i.EndTime.UTC(), timezone: timezone, stored: true}
	if err := s.repeat(i.Recurrence); err != nil {
		s.starts = []time.Time{s.start}
	}
	return s
}

// last is when the last occurrence ends.
func (s schedule) last() time.Time { return s.starts[len(s.starts)-1].Add(s.end.Sub(s.start)) }

// expire is when a link ends that is made at a time.
func (s schedule) expire(at time.Time, life time.Duration) time.Time {
	if s.none() || s.last().Before(at) {
		return at.Add(life)
	}
	return s.last().Add(life)
}

// current is the occurrence that goes on at a time or comes next, else the last.
func (s schedule) current(at time.Time) (start, end time.Time) {
	length := s.end.Sub(s.start)
	for _, start := range s.starts {
		if at.Before(start.Add(length)) {
			return start, start.Add(length)
		}
	}
	start = s.starts[len(s.starts)-1]
	return start, start.Add(length)
}

// admits reports whether a link with skip_lobby admits at a time.
func (s schedule) admits(at time.Time) bool {
	if s.none() {
		return true
	}
	length := s.end.Sub(s.start)
	for _, start := range s.starts {
		if !at.Before(start.Add(-before)) && at.Before(start.Add(length+after)) {
			return true
		}
	}
	return false
}

// inLetter is the schedule as a letter has it: what is still to come, or all of it in a cancellation.
func (s schedule) inLetter(uid string, sequence int, at time.Time) *letter.Schedule {
	if s.none() {
		return nil
	}
	l := &letter.Schedule{
		UID: uid, Sequence: sequence, Start: s.start, End: s.end, Timezone: s.timezone, Recurrence: s.rule, Except: s.except,
	}
	for _, start := range s.starts {
		switch {
		case start.Add(s.end.Sub(s.start)).Before(at):
		case len(l.Next) < shownOccurrences:
			l.Next = append(l.Next, start)
		default:
			l.More++
		}
	}
	return l
}
