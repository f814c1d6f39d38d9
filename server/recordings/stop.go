package recordings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/meeting"
)

// stopRecording ends the recording that goes on in a room. That it is to end is stored first, so that it does whatever
// happens to this call.
func (s *Service) stopRecording(ctx context.Context, ref string) (*ent.Recording, error) {
	var r *ent.Recording
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, ref)
		if err != nil {
			return err
		}
		if err := a.RequireAdministrator(); err != nil {
			return err
		}
		r, err = tx.Recording.Query().
			Where(recording.RoomID(a.Room.ID), recording.StatusIn(occupying...), recording.DeleteTimeIsNil()).Only(ctx)
		if ent.IsNotFound(err) {
			return ErrNotActive
		}
		if err != nil {
			return fmt.Errorf("find recording of %s: %w", a.Room.ID, err)
		}
		if r.StopTime != nil {
			return nil
		}
		if err := askToStop(ctx, tx, r.ID); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Event{Room: a.Room.ID, Action: audit.RecordingStopped, Target: audit.Recording(r.ID)})
	})
	if err != nil {
		return nil, err
	}
	// The client may go; what was begun is done.
	ctx = context.WithoutCancel(ctx)
	if err := s.Settle(ctx, r.ID, nil); err != nil {
		s.Log.WarnContext(ctx, "recording is not settled; the next sweep tries again", "recording", r.ID, "err", err)
	}
	if r, err = s.DB.Read.Recording.Get(ctx, r.ID); err != nil {
		return nil, fmt.Errorf("find recording: %w", err)
	}
	return r, nil
}

// askToStop stores that a recording is to end.
func askToStop(ctx context.Context, tx *ent.Client, id uuid.UUID) error {
	_, err := tx.Recording.Update().Where(recording.ID(id), recording.StatusIn(occupying...), recording.StopTimeIsNil()).
		SetStopTime(now()).Save(ctx)
	if err != nil {
		return fmt.Errorf("ask recording %s to stop: %w", id, err)
	}
	return nil
}

// stop asks a recorder to end, and makes the transition that follows from its answer.
func (s *Service) stop(ctx context.Context, r *ent.Recording, egressID string) (bool, error) {
	e, err := s.LiveKit.StopEgress(ctx, egressID)
	switch {
	case errors.Is(err, meeting.ErrNotFound):
		return s.egressMissing(ctx, r)
	case errors.Is(err, meeting.ErrRefused):
		// It has ended, or is just storing its file.
		if e, err = s.LiveKit.Egress(ctx, egressID); errors.Is(err, meeting.ErrNotFound) {
			return s.egressMissing(ctx, r)
		}
		if err != nil {
			return false, err
		}
	case err != nil && r.Status == active:
		return s.transition(ctx, r, change{to: failedToStop, set: func(u *ent.RecordingUpdate) {
			if r.StopTime == nil {
				u.SetStopTime(now())
			}
		}})
	case err != nil && r.Status == failedToStop && time.Since(silentSince(r)) > s.Timing.GiveUpStop:
		return s.giveUp(ctx, r, "the recorder did not answer when it was to stop")
	case err != nil:
		s.Log.InfoContext(ctx, "recorder does not stop; the next sweep asks it again", "recording", r.ID, "err", err)
		return false, nil
	}
	if e.Status.Ended() {
		return s.ended(ctx, r, e)
	}
	if r.Status == initiated {
		return false, nil // it never began: LiveKit will say that it was aborted
	}
	return s.makeStopped(ctx, r, e)
}

// silentSince is since when the recorder of a recording that does not stop has shown no sign of life.
func silentSince(r *ent.Recording) time.Time {
	if since := stopTime(r); r.LostTime == nil || since.Before(*r.LostTime) {
		return since
	}
	return *r.LostTime
}

// MeetingEnded ends the recording of a meeting that a host ended, in the transaction that does it.
func (s *Service) MeetingEnded(ctx context.Context, tx *ent.Client, room uuid.UUID) error {
	ids, err := tx.Recording.Query().Where(recording.RoomID(room), recording.StatusIn(occupying...)).IDs(ctx)
	if err != nil {
		return fmt.Errorf("find recordings of %s: %w", room, err)
	}
	for _, id := range ids {
		if err := askToStop(ctx, tx, id); err != nil {
			return err
		}
		if err := s.Jobs.Enqueue(ctx, tx, SettleJob{RecordingID: id}); err != nil {
			return err
		}
	}
	return nil
}

// RoomFinished is LiveKit's word that a room's meeting is over.
func (s *Service) RoomFinished(ctx context.Context, room uuid.UUID) error {
	ids, err := s.DB.Read.Recording.Query().Where(recording.RoomID(room), recording.StatusIn(occupying...)).IDs(ctx)
	if err != nil {
		return fmt.Errorf("find recordings of %s: %w", room, err)
	}
	for _, id := range ids {
		if err := s.Settle(ctx, id, nil); err != nil {
			return err
		}
	}
	return nil
}
