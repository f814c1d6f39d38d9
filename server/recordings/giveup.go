package recordings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
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
		return s.makeSaved(ctx, r, nil, size)
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w: %w", errStorage, err)
	case r.Status == initiated:
		return s.notStarted(ctx, r)
	}
	return s.transition(ctx, r, change{
		to: failed, reason: usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_RECORDER_LOST, detail: why,
		set: func(u *ent.RecordingUpdate) { u.SetPurgeTime(now()) },
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
	return s.edit(ctx, r, func(u *ent.RecordingUpdate) { u.ClearLostTime() })
}

// stopTime is when a recording was asked to stop, or when it began for one that nobody asked.
func stopTime(r *ent.Recording) time.Time {
	if r.StopTime != nil {
		return *r.StopTime
	}
	return r.CreateTime
}

func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return now()
	}
	return t
}
