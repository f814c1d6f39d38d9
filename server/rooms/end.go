package rooms

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/room"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
)

// endMeeting ends the meeting that goes on in a room. ended is false when somebody else did so at the same time.
//
// Which meeting that is LiveKit says beforehand, and its number is from before LiveKit was asked. Should the number be
// another one when the room is locked, that meeting was ended since, and what goes on is one that the caller did not mean.
func (s *Service) endMeeting(ctx context.Context, ref string) (id uuid.UUID, ended bool, err error) {
	seen, err := auth.FindRoom(ctx, s.DB.Read, ref)
	if err != nil {
		return id, false, err
	}
	id = seen.Room.ID
	if err := seen.RequireAdministrator(); err != nil {
		return id, false, err
	}
	sid := "" // no meeting: connections of those that were are void all the same
	switch m, err := s.LiveKit.Meeting(ctx, id); {
	case err == nil:
		sid = m.SID
	case !errors.Is(err, meeting.ErrNotFound):
		return id, false, fault.ErrLiveKit.Because(err)
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, id.String())
		if err != nil {
			return err
		}
		if err := a.RequireAdministrator(); err != nil {
			return err
		}
		ended, err = s.closeMeeting(ctx, tx, a.Room, seen.Room.Meeting, sid)
		return err
	})
	return id, ended, err
}

// closeMeeting begins the next meeting of a room after the one of that number, and has LiveKit end the session sid; empty
// for none. The room must be locked.
func (s *Service) closeMeeting(ctx context.Context, tx *ent.Client, r *ent.Room, number int64, sid string) (bool, error) {
	// The update time stays: the room itself is as it was, and so is its etag.
	n, err := tx.Room.Update().Where(room.ID(r.ID), room.Meeting(number)).AddMeeting(1).SetUpdateTime(r.UpdateTime).
		ClearMeetingSid().ClearMeetingSince().Save(ctx)
	if err != nil {
		return false, fmt.Errorf("count meeting of %s: %w", r.ID, err)
	}
	if n == 0 {
		return false, nil
	}
	if err := endSessions(ctx, tx, r.ID, sid); err != nil {
		return false, err
	}
	if sid != "" {
		if err := s.Tasks.EndSession(ctx, tx, r.ID, sid); err != nil {
			return false, err
		}
	}
	if err := s.Recordings.MeetingEnded(ctx, tx, r.ID); err != nil {
		return false, err
	}
	detail := fmt.Sprintf("meeting=%d live=%t", number, sid != "")
	return true, audit.Record(ctx, tx, audit.Event{Room: r.ID, Action: audit.MeetingEnded, Detail: detail})
}

// EndSession implements livetasks.Handlers: it ends one session of a room in LiveKit. A session that has begun since stays.
func (s *Service) EndSession(ctx context.Context, id uuid.UUID, sid string) error {
	m, err := s.LiveKit.Meeting(ctx, id)
	if err != nil {
		return ignoreGone(err)
	}
	if m.SID != sid {
		return nil
	}
	return s.LiveKit.CloseRoom(ctx, id)
}
