package invitations

import (
	"context"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	"github.com/usher-meet/usher/server/letter"
)

// This file takes entries out of calendars when a meeting loses its time and the invitation stays. The letter needs what
// stands in the calendar, which the row of the invitation has no more: the job of the letter keeps it.

// entry is a schedule as the job of a letter keeps it.
type entry struct {
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Timezone   string    `json:"timezone"`
	Recurrence string    `json:"recurrence,omitempty"`
}

func (e entry) schedule() schedule {
	return storedSchedule(&ent.Invitation{
		StartTime: &e.Start, EndTime: &e.End, Timezone: e.Timezone, Recurrence: e.Recurrence,
	})
}

// postUnscheduled has a letter sent that says that a meeting has no time any more.
func (s *Service) postUnscheduled(ctx context.Context, tx *ent.Client, i *ent.Invitation, was schedule) error {
	var args SendArgs
	if was.last().After(now()) { // else it stays in the calendar as what was
		args.Entry = &entry{Start: was.start, End: was.end, Timezone: was.timezone, Recurrence: was.recurrence}
	}
	return s.postAs(ctx, tx, i, invitationletter.KindChanged, args)
}

// occasion is what a letter says. gone is what it takes out of the calendar, which is there if any letter was sent before.
func occasion(l *ent.InvitationLetter, gone *entry) letter.InvitationKind {
	i := l.Edges.Invitation
	switch {
	case l.Kind == invitationletter.KindCancelled:
		return letter.Cancelled
	case l.Kind == invitationletter.KindInvited, i.SendTime == nil: // the first that they get
		return letter.Invited
	case gone == nil || i.StartTime != nil:
		return letter.Changed
	case !isOpen(i, now()): // it was revoked before the letter was sent
		return letter.Cancelled
	}
	return letter.Unscheduled
}
