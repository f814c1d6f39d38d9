package recordings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

// egressMissing follows a recorder of which LiveKit knows nothing.
func (s *Service) egressMissing(ctx context.Context, r *ent.Recording) (bool, error) {
	switch {
	case r.EgressID == nil && r.Status == initiated:
		if time.Since(r.CreateTime) <= s.Timing.StartWithin {
			return false, nil
		}
	case r.Status != failedToStop: // which only waits for this
		if over, err := s.markLost(ctx, r); !over || err != nil {
			return false, err
		}
	}
	return s.giveUp(ctx, r, "LiveKit does not know the recorder any more")
}

// giveUp ends a recording whose recorder will tell nothing more: with its file if the storage has it, else without.
func (s *Service) giveUp(ctx context.Context, r *ent.Recording, why string) (bool, error) {
	size, err := s.Files.Size(ctx, r.ObjectKey)
	switch {
	case err == nil:
		// A recorder that was asked to stop had nothing more to record. One that was still recording may have.
		cut := r.Interrupted || r.Status == active || r.Status == failedToStop
		return s.makeSaved(ctx, r, nil, storedFile{size: size, interrupted: cut})
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w: %w", errStorage, err)
	case r.Status == initiated:
		return s.notStarted(ctx, r)
	}
	return s.transition(ctx, r, change{
		to: failed, reason: usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_RECORDER_LOST, detail: why,
	})
}

// markLost notes that something is missing, and reports whether it has been for long enough.
func (s *Service) markLost(ctx context.Context, r *ent.Recording) (over bool, err error) {
	if r.LostTime != nil {
		return time.Since(*r.LostTime) > s.Timing.LostAfter, nil
	}
	return false, s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.SetLostTime(now()) })
}

// clearLost notes that nothing is missing any more.
func (s *Service) clearLost(ctx context.Context, r *ent.Recording) error {
	if r.LostTime == nil {
		return nil
	}
	return s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.ClearLostTime().SetLostLooks(0) })
}

// lateFile is for a recording that failed: should its file have come after all, it is saved. A recorder that goes on is
// stopped, and its file awaited like any other.
func (s *Service) lateFile(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	if e != nil {
		s.stopRecorder(ctx, r, e)
	}
	size, err := s.Files.Size(ctx, r.ObjectKey)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", errStorage, err)
	}
	// That it was recorded to its end is known only if LiveKit says so.
	whole := e != nil && (e.Status == meeting.EgressComplete || e.Status == meeting.EgressLimitReached)
	return s.makeSaved(ctx, r, e, storedFile{size: size, interrupted: r.Interrupted || !whole})
}
