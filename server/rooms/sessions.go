package rooms

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/meetinglife"
	"github.com/usher-meet/usher/gen/ent/room"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/meeting"
)

// A meeting is one session of a room in LiveKit, and Room.meeting counts the sessions that are over. LiveKit reports
// beginnings and ends late, twice, in any order or not at all, and knows for sure only which session goes on at present. So
// each session that was reported is a row, and its end is counted once, whatever reports it first: an event of its own, an
// event of a later session, or the sweep. The rows are called MeetingLife in the database.

// keepSessions is how long sessions that are over are remembered: longer than an event can be late.
const keepSessions = 24 * time.Hour

// FollowMeeting brings a room up to date with LiveKit after an event about it: which meeting goes on, whose lobby is over,
// and who has to leave, because hosts put them out or the meeting that they were let into is over.
func (s *Service) FollowMeeting(ctx context.Context, e meeting.Event) error {
	present, err := s.presentSession(ctx, e.RoomID)
	if err != nil {
		return err
	}
	reports := []sessionReport{present}
	if e.RoomSID != present.sid {
		// A room has one session at a time. Should LiveKit not list this one yet, it still began before the event.
		over := present.sid != "" || e.Type == meeting.RoomFinished
		reports = append(reports, sessionReport{sid: e.RoomSID, start: e.RoomStart, over: over})
	}
	if e.Type == meeting.RoomFinished && e.RoomSID == present.sid {
		reports = []sessionReport{{sid: e.RoomSID, start: e.RoomStart, over: true}} // LiveKit lists it a moment longer
	}
	if err := s.observe(ctx, e.RoomID, reports...); err != nil {
		return err
	}
	if e.Type != meeting.ParticipantJoined {
		return nil
	}
	return s.syncPeople(ctx, e.RoomID)
}

// sessionReport is the news about one LiveKit session of a room.
type sessionReport struct {
	// sid is empty for none.
	sid string
	// start is zero when it is not known.
	start time.Time
	over  bool
}

// presentSession reports the session of a room that goes on; without a sid when there is none.
func (s *Service) presentSession(ctx context.Context, id uuid.UUID) (sessionReport, error) {
	m, err := s.LiveKit.Meeting(ctx, id)
	if errors.Is(err, meeting.ErrNotFound) {
		return sessionReport{}, nil
	}
	if err != nil {
		return sessionReport{}, err
	}
	return sessionReport{sid: m.SID, start: m.StartTime}, nil
}

// observe takes note of sessions of a room and counts the meetings that are over by that; then their lobby ends.
func (s *Service) observe(ctx context.Context, id uuid.UUID, reports ...sessionReport) error {
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		r, err := tx.Room.Query().Where(room.ID(id), dbtx.ForUpdate).Only(ctx)
		if err != nil {
			return err
		}
		c := tally{Room: r}
		for _, report := range reports {
			if err := c.observe(ctx, tx, report); err != nil {
				return err
			}
		}
		return c.save(ctx, tx)
	})
	if ent.IsNotFound(err) {
		return nil // deleted: another task closes it
	}
	if err != nil {
		return fmt.Errorf("count meetings of %s: %w", id, err)
	}
	// Every time: a try before this one may have counted and failed here.
	return s.Lobby.RoomFinished(ctx, id)
}

// endSessions takes note that the sessions of a room which were reported are over and counted, and the one called sid, too.
func endSessions(ctx context.Context, tx *ent.Client, id uuid.UUID, sid string) error {
	err := tx.MeetingLife.Update().Where(meetinglife.RoomID(id), meetinglife.Over(false)).SetOver(true).Exec(ctx)
	if err == nil && sid != "" {
		err = tx.MeetingLife.Create().SetID(sid).SetRoomID(id).SetOver(true).
			OnConflict(sql.ConflictColumns(meetinglife.FieldID)).SetOver(true).Exec(ctx)
	}
	if err != nil {
		return fmt.Errorf("end meetings of %s: %w", id, err)
	}
	return nil
}

// deleteOldSessions forgets sessions that ended long ago.
func deleteOldSessions(ctx context.Context, tx *ent.Client) error {
	_, err := tx.MeetingLife.Delete().
		Where(meetinglife.Over(true), meetinglife.CreateTimeLT(now().Add(-keepSessions))).
		Exec(ctx)
	if err != nil {
		return fmt.Errorf("delete meetings that are over: %w", err)
	}
	return nil
}

// tally is a locked room whose meetings are counted.
type tally struct {
	*ent.Room
	changed bool
}

// observe takes note of one session.
func (c *tally) observe(ctx context.Context, tx *ent.Client, report sessionReport) error {
	if report.sid == "" {
		return nil
	}
	known, err := tx.MeetingLife.Get(ctx, report.sid)
	switch {
	case ent.IsNotFound(err):
		return c.observeNew(ctx, tx, report)
	case err != nil:
		return err
	case known.Over || !report.over:
		return nil
	}
	return c.end(ctx, tx, known.ID, nil)
}

// observeNew takes note of a session that was not reported before.
func (c *tally) observeNew(ctx context.Context, tx *ent.Client, report sessionReport) error {
	var present *ent.MeetingLife
	if c.MeetingSid != nil {
		var err error
		if present, err = tx.MeetingLife.Get(ctx, *c.MeetingSid); err != nil {
			return err
		}
	}
	// Older than the session that has the number: over, though nothing reported it. It had the number, too.
	older := present != nil && !report.start.After(present.StartTime)
	err := tx.MeetingLife.Create().
		SetID(report.sid).
		SetRoomID(c.ID).
		SetStartTime(report.start.UTC()).
		SetOver(report.over || older).
		Exec(ctx)
	switch {
	case err != nil:
		return err
	case older:
		c.advance(&present.StartTime)
	case report.over && present == nil:
		c.advance(nil)
	case report.over: // it began and ended between two that were reported
		c.advance(nil)
		return c.end(ctx, tx, present.ID, nil)
	default:
		if present != nil {
			if err := c.end(ctx, tx, present.ID, &report.start); err != nil {
				return err
			}
		}
		c.MeetingSid, c.changed = &report.sid, true
	}
	return nil
}

// end counts the end of the session that has the number. next is when the session after it began, if that is known.
func (c *tally) end(ctx context.Context, tx *ent.Client, sid string, next *time.Time) error {
	c.advance(next)
	if c.MeetingSid != nil && *c.MeetingSid == sid {
		c.MeetingSid = nil
	}
	return tx.MeetingLife.UpdateOneID(sid).SetOver(true).Exec(ctx)
}

// advance begins the next meeting. since is when it began in LiveKit, if that was before this is counted.
func (c *tally) advance(since *time.Time) {
	c.Meeting++
	c.MeetingSince, c.changed = nil, true
	if since != nil {
		// Sessions count in whole seconds. Rounded up: who was let in during that second belongs to neither.
		up := since.UTC().Add(time.Second - 1).Truncate(time.Second)
		c.MeetingSince = &up
	}
}

// save writes the number down. The update time stays: the room itself is as it was, and so is its etag.
func (c *tally) save(ctx context.Context, tx *ent.Client) error {
	if !c.changed {
		return nil
	}
	change := tx.Room.UpdateOneID(c.ID).SetMeeting(c.Meeting).SetUpdateTime(c.UpdateTime).
		SetNillableMeetingSid(c.MeetingSid).SetNillableMeetingSince(c.MeetingSince)
	if c.MeetingSid == nil {
		change.ClearMeetingSid()
	}
	if c.MeetingSince == nil {
		change.ClearMeetingSince()
	}
	return change.Exec(ctx)
}

// inMeeting reports whether somebody who was let in at a time, when a room's meeting had that number, belongs to the meeting
// that goes on. That one may have begun before the end of the one before was counted.
func inMeeting(r *ent.Room, number int64, joined time.Time) bool {
	return number == r.Meeting || number == r.Meeting-1 && r.MeetingSince != nil && !joined.Before(*r.MeetingSince)
}

// attributeMeeting says of participants in which meeting, and when, they were let in: only this server gives attributes.
const attributeMeeting = "meeting"

// meetingAttribute is the value of attributeMeeting.
func meetingAttribute(session *auth.ParticipantSession) string {
	return strconv.FormatInt(session.Meeting, 10) + "/" + strconv.FormatInt(session.JoinTime.Unix(), 10)
}

// admittedTo reads what [meetingAttribute] wrote: in which meeting and when a participant was let in. With a text that says
// neither they were let into none, long ago. ok is false for those who have no such attribute.
func admittedTo(p meeting.Participant) (number int64, joined time.Time, ok bool) {
	text, ok := p.Attributes[attributeMeeting]
	before, after, _ := strings.Cut(text, "/")
	number, err1 := strconv.ParseInt(before, 10, 64)
	seconds, err2 := strconv.ParseInt(after, 10, 64)
	if err1 != nil || err2 != nil {
		return -1, time.Time{}, ok
	}
	return number, time.Unix(seconds, 0), ok
}
