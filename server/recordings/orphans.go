package recordings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	"github.com/usher-meet/usher/server/meeting"
)

// stopOrphan deals with a recorder that goes on, or has stored a file, when its recording has ended otherwise: an order
// whose answer was lost, a recorder that was given up and came back.
func (s *Service) stopOrphan(ctx context.Context, r *ent.Recording, e *meeting.Egress) error {
	if e == nil {
		return nil
	}
	stored := e.Status == meeting.EgressComplete || e.Status == meeting.EgressLimitReached
	unwanted := !slices.Contains(withFile, r.Status) && (stored || !e.Status.Ended())
	if unwanted && r.PurgeTime == nil {
		if err := s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.SetPurgeTime(now()) }); err != nil {
			return err
		}
		t := now()
		r.PurgeTime = &t
	}
	s.stopRecorder(ctx, r, e)
	return nil
}

// stopRecorder stops a recorder that nobody wants, unless it has ended.
func (s *Service) stopRecorder(ctx context.Context, r *ent.Recording, e *meeting.Egress) {
	if e.Status.Ended() {
		return
	}
	if _, err := s.LiveKit.StopEgress(ctx, e.ID); err != nil {
		if !errors.Is(err, meeting.ErrNotFound) && !errors.Is(err, meeting.ErrRefused) {
			s.Log.InfoContext(
				ctx, "late recorder does not stop; the next sweep asks it again", "recording", r.ID, "egress", e.ID, "err", err,
			)
		}
		return
	}
	s.Log.InfoContext(ctx, "late recorder stopped", "recording", r.ID, "egress", e.ID)
}

// stopDuplicate deals with a recorder beside the recording's own: an order that arrived twice. It records the same meeting
// into the same file, and says nothing about the recording.
func (s *Service) stopDuplicate(ctx context.Context, r *ent.Recording, e *meeting.Egress) error {
	s.Log.InfoContext(ctx, "second recorder of one recording", "recording", r.ID, "egress", e.ID, "ended", e.Status.Ended())
	if !slices.Contains(final, r.Status) {
		s.stopRecorder(ctx, r, e)
		return nil
	}
	if r.Status == failed && r.DeleteTime == nil {
		s.stopRecorder(ctx, r, e)
		// Its file is of the same meeting, and there is no other. What it says of it is not said of the first one's.
		_, err := s.lateFile(ctx, r, nil)
		return err
	}
	if err := s.stopOrphan(ctx, r, e); err != nil {
		return err
	}
	return s.purge(ctx, r, e)
}

// lateFor is how long after the end of a recording its recorder is looked after. One that died is listed by LiveKit for
// ever.
const lateFor = 24 * time.Hour

// purge deletes the file of a recording that must not have one, and then the recording if it was deleted. As long as a
// recorder may still be somewhere, it does so again with each sweep.
func (s *Service) purge(ctx context.Context, r *ent.Recording, e *meeting.Egress) error {
	if r.PurgeTime == nil {
		return nil
	}
	if r.Status == failed && r.DeleteTime == nil {
		// Marked by a release that deleted the files of recordings that it had given up.
		return s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.ClearPurgeTime() })
	}
	if err := s.Files.Delete(ctx, r.ObjectKey); err != nil {
		return fmt.Errorf("%w: %w", errStorage, err)
	}
	over := slices.Contains(withFile, r.Status) || e != nil && e.Status.Ended()
	patience := s.Timing.PurgeFor
	if e != nil {
		patience = max(patience, lateFor)
	}
	if !over && time.Since(*r.PurgeTime) < patience {
		return nil
	}
	if r.DeleteTime == nil {
		return s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.ClearPurgeTime().SetSizeBytes(0) })
	}
	if slices.Contains(unsettled, r.Status) {
		return nil // its room was deleted while it went on: first it ends
	}
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		_, err := tx.Recording.Delete().Where(recording.ID(r.ID), recording.DeleteTimeNotNil()).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete recording %s: %w", r.ID, err)
	}
	s.Log.InfoContext(ctx, "recording deleted", "recording", r.ID, "room", r.RoomID)
	return nil
}
