package recordings

import (
	"context"
	"errors"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/meeting"
)

// This file is about recorders that died. LiveKit does not notice: it says of each that it records, for ever, and of one
// whose browser crashed even that it completed its file, which is silent and black from then on.

// looksUntilDead is how many looks in a row must show no sign of life: a recorder may be connecting again in one of them.
const looksUntilDead = 3

// running follows a recorder that records.
func (s *Service) running(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	over := r.StopTime != nil
	if !over {
		var err error
		if over, err = s.isOver(ctx, r); err != nil {
			return false, errors.Join(err, s.clearLost(ctx, r))
		}
	}
	signs, err := s.LiveKit.RecorderSigns(ctx, r.RoomID, e.ID)
	switch {
	case over:
		if err == nil {
			// LiveKit will say that the file is complete, though the recorder has left the meeting.
			if hasLeft(r, signs) {
				if err := s.markInterrupted(ctx, r); err != nil {
					return false, err
				}
			}
		}
		return s.stop(ctx, r, e.ID)
	case errors.Is(err, meeting.ErrNotFound):
		return s.egressMissing(ctx, r)
	case err != nil:
		return false, errors.Join(err, s.clearLost(ctx, r))
	}
	if signs.Listed && !r.SeenInMeeting {
		if err := s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.SetSeenInMeeting(true) }); err != nil {
			return false, err
		}
	}
	if signs.Answers && !hasLeft(r, signs) {
		return false, s.clearLost(ctx, r)
	}
	if dead, err := s.lookedDead(ctx, r); !dead || err != nil {
		return false, err
	}
	return s.bury(ctx, r, e, signs)
}

// hasLeft reports whether a recorder that was in the meeting is not there any more. In an empty meeting that says nothing:
// all may be connecting again, as after a restart of LiveKit.
func hasLeft(r *ent.Recording, signs meeting.RecorderSigns) bool {
	return r.SeenInMeeting && !signs.Listed && signs.Others
}

// markInterrupted stores that the end of a recording may be missing.
func (s *Service) markInterrupted(ctx context.Context, r *ent.Recording) error {
	if r.Interrupted {
		return nil
	}
	err := s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.SetInterrupted(true) })
	r.Interrupted = err == nil
	return err
}

// lookedDead counts a look that showed no sign of life, and reports whether there were enough of them for long enough.
func (s *Service) lookedDead(ctx context.Context, r *ent.Recording) (bool, error) {
	err := s.edit(ctx, r, func(u *ent.RecordingUpdate) {
		u.AddLostLooks(1)
		if r.LostTime == nil {
			u.SetLostTime(now())
		}
	})
	return r.LostTime != nil && r.LostLooks+1 >= looksUntilDead && time.Since(*r.LostTime) > s.Timing.LostAfter, err
}

// bury ends the recording of a dead recorder, with what it has recorded: its service may still be there to store that.
func (s *Service) bury(ctx context.Context, r *ent.Recording, e *meeting.Egress, signs meeting.RecorderSigns) (bool, error) {
	s.Log.WarnContext(
		ctx, "recorder is dead", "recording", r.ID, "egress", e.ID, "in_meeting", signs.Listed, "answers", signs.Answers,
	)
	if err := s.markInterrupted(ctx, r); err != nil {
		return false, err
	}
	if signs.Listed {
		// LiveKit would keep it in the meeting for minutes, where people see that they are recorded.
		if err := s.LiveKit.RemoveParticipant(ctx, r.RoomID, e.ID); err != nil {
			s.Log.InfoContext(ctx, "dead recorder is still in the meeting", "recording", r.ID, "egress", e.ID, "err", err)
		}
	}
	last, err := s.LiveKit.StopEgress(ctx, e.ID)
	switch {
	case errors.Is(err, meeting.ErrRefused):
		return s.stop(ctx, r, e.ID) // it has ended, or is just storing its file
	case err != nil:
		return s.giveUp(ctx, r, "the recorder vanished")
	case last.Status.Ended():
		return s.ended(ctx, r, last)
	}
	return s.makeStopped(ctx, r, last)
}

// saving follows a recorder that was asked to stop, and has its file on the way.
func (s *Service) saving(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	if time.Since(stopTime(r)) > s.Timing.UploadWithin {
		return s.giveUp(ctx, r, "the file took too long to get into the storage")
	}
	if e.Status == meeting.EgressEnding {
		return false, s.clearLost(ctx, r) // nobody can ask it anything any more
	}
	signs, err := s.LiveKit.RecorderSigns(ctx, r.RoomID, e.ID)
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return false, errors.Join(err, s.clearLost(ctx, r))
	}
	if signs.Listed || signs.Answers {
		return false, s.clearLost(ctx, r)
	}
	if over, err := s.markLost(ctx, r); !over || err != nil {
		return false, err
	}
	return s.giveUp(ctx, r, "the recorder vanished")
}
