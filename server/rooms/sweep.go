package rooms

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/meetinglife"
)

// SweepMeetings does for all rooms what [Service.FollowMeeting] does for one: for the events that got lost.
func (s *Service) SweepMeetings(ctx context.Context) error {
	// Before LiveKit is asked: a session that begins in between is not listed and not over.
	open, err := s.DB.Read.MeetingLife.Query().Where(meetinglife.Over(false)).All(ctx)
	if err != nil {
		return fmt.Errorf("find meetings: %w", err)
	}
	meetings, err := s.LiveKit.LiveMeetings(ctx)
	if err != nil {
		return err
	}
	going := make(map[string]bool, len(meetings))
	reports := map[uuid.UUID][]sessionReport{}
	for _, m := range meetings {
		going[m.SID] = true
		reports[m.Room] = append(reports[m.Room], sessionReport{sid: m.SID, start: m.StartTime})
	}
	for _, known := range open {
		if !going[known.ID] {
			reports[known.RoomID] = append(reports[known.RoomID], sessionReport{sid: known.ID, start: known.StartTime, over: true})
		}
	}
	var failures []error
	for id, ofRoom := range reports {
		failures = append(failures, s.observe(ctx, id, ofRoom...))
	}
	for _, m := range meetings {
		failures = append(failures, s.syncPeople(ctx, m.Room))
	}
	return errors.Join(failures...)
}

// syncPeople brings the meeting of a room up to date, if there is one.
func (s *Service) syncPeople(ctx context.Context, id uuid.UUID) error {
	r, err := s.DB.Read.Room.Get(ctx, id)
	if err != nil {
		if ent.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("find room: %w", err)
	}
	_, err = s.syncMeeting(ctx, r)
	return err
}
