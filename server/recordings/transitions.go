package recordings

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/text"
)

// The statuses, by shorter names.
const (
	initiated     = usherv1.RecordingStatus_RECORDING_STATUS_INITIATED
	active        = usherv1.RecordingStatus_RECORDING_STATUS_ACTIVE
	stopped       = usherv1.RecordingStatus_RECORDING_STATUS_STOPPED
	saved         = usherv1.RecordingStatus_RECORDING_STATUS_SAVED
	notified      = usherv1.RecordingStatus_RECORDING_STATUS_NOTIFICATION_SUCCEEDED
	aborted       = usherv1.RecordingStatus_RECORDING_STATUS_ABORTED
	failedToStart = usherv1.RecordingStatus_RECORDING_STATUS_FAILED_TO_START
	failedToStop  = usherv1.RecordingStatus_RECORDING_STATUS_FAILED_TO_STOP
	failed        = usherv1.RecordingStatus_RECORDING_STATUS_FAILED
)

// transitions are the statuses that may follow each status. docs/recording.md draws them.
var transitions = map[usherv1.RecordingStatus][]usherv1.RecordingStatus{
	initiated:    {active, saved, failed, failedToStart, aborted},
	active:       {stopped, aborted, failedToStop, failed, saved},
	stopped:      {saved, failed},
	failedToStop: {stopped, saved, failed},
	saved:        {notified},
	// The file came after it was given up.
	failed: {saved},
}

// Groups of statuses.
var (
	// occupying keep others from recording the room: the unique index has the same numbers.
	occupying = []usherv1.RecordingStatus{initiated, active, failedToStop}
	// unsettled wait for a signal.
	unsettled = []usherv1.RecordingStatus{initiated, active, failedToStop, stopped}
	// withFile have one.
	withFile = []usherv1.RecordingStatus{saved, notified}
	// final can be deleted. FAILED is left when the file comes late.
	final = []usherv1.RecordingStatus{saved, notified, aborted, failedToStart, failed}
)

func mayFollow(from, to usherv1.RecordingStatus) bool { return slices.Contains(transitions[from], to) }

// change is a recording's next status, and what is known with it.
type change struct {
	to     usherv1.RecordingStatus
	reason usherv1.RecordingFailureReason
	detail string
	// set sets more fields; nil for none.
	set func(*ent.RecordingUpdate)
}

// transition changes the status of a recording, unless it is another one than r says by now. It is one statement, so of two
// that decide on the strength of the same status one succeeds. What follows is written in the same transaction.
func (s *Records) transition(ctx context.Context, r *ent.Recording, c change) (made bool, err error) {
	if !mayFollow(r.Status, c.to) {
		return false, fmt.Errorf("recording %s: %s must not follow %s", r.ID, c.to, r.Status)
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		update := tx.Recording.Update().Where(recording.ID(r.ID), recording.StatusEQ(r.Status)).SetStatus(c.to)
		if c.reason != 0 {
			update.SetFailureReason(c.reason).SetFailureDetail(bounded(withoutAddresses(c.detail)))
		}
		if slices.Contains(final, c.to) {
			update.SetEndTime(now()).ClearLostTime().SetLostLooks(0)
		}
		if r.Status == failed {
			// One that was deleted meanwhile stays deleted. An earlier release marked it to be purged.
			update.Where(recording.DeleteTimeIsNil()).SetFailureReason(0).SetFailureDetail("").ClearPurgeTime()
		}
		if c.set != nil {
			c.set(update)
		}
		n, err := update.Save(ctx)
		if err != nil {
			return fmt.Errorf("change status of recording %s: %w", r.ID, err)
		}
		if made = n > 0; !made {
			return nil
		}
		return s.follow(ctx, tx, r, c.to)
	})
	if err != nil {
		return false, err
	}
	if made {
		s.Tasks.Wake()
		if c.detail != "" {
			s.Log.WarnContext(ctx, "recording failed", "recording", r.ID, "detail", bounded(c.detail))
		}
		s.Log.InfoContext(ctx, "recording changed status",
			"recording", r.ID, "room", r.RoomID, "from", statusName(r.Status), "to", statusName(c.to))
	}
	return made, nil
}

// follow writes what follows from a status: people are told that the file is there, and the meeting sees how far it is.
func (s *Records) follow(ctx context.Context, tx *ent.Client, r *ent.Recording, to usherv1.RecordingStatus) error {
	if to == saved && r.DeleteTime == nil {
		if err := s.notifyLater(ctx, tx, r.ID); err != nil {
			return err
		}
	}
	if to == notified {
		return nil // nothing that a meeting shows
	}
	return s.Tasks.SyncRoom(ctx, tx, r.RoomID)
}

// maxDetail is how much of what LiveKit says is kept, in characters.
const maxDetail = 500

// addresses matches network addresses in LiveKit's texts: URLs, IP addresses, and names of hosts with a port.
var addresses = regexp.MustCompile(
	`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"']+|\[[0-9a-fA-F:.]+\](:\d+)?|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b|\b[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){3,7}\b|\b[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*:\d{2,5}\b`,
)

// withoutAddresses makes text of LiveKit fit for people who use this instance: where its servers are is in the log only.
func withoutAddresses(detail string) string { return addresses.ReplaceAllString(detail, "…") }

// bounded makes text from elsewhere fit to be stored: a transition that cannot be stored would never be made.
func bounded(detail string) string {
	detail = text.MakeStorable(detail)
	if characters := []rune(detail); len(characters) > maxDetail {
		return string(characters[:maxDetail])
	}
	return detail
}

// beganAt is when a recorder began: with its first picture, not when it took the order.
func beganAt(e *meeting.Egress) time.Time {
	if e.Status == meeting.EgressActive && !e.UpdateTime.IsZero() {
		return e.UpdateTime
	}
	return orNow(e.StartTime)
}

// stopTime is when a recording was asked to stop, or when it was made for one that nobody asked.
func stopTime(r *ent.Recording) time.Time {
	if r.StopTime != nil {
		return *r.StopTime
	}
	return r.CreateTime
}

// orNow is a time, or the present moment where LiveKit gave none.
func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return now()
	}
	return t
}
