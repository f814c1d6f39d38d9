package recordings

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
)

// sweepers is how many recordings a sweep looks at at the same time: one that waits for LiveKit does not hold up the others.
const sweepers = 4

// Sweep looks at everything that is not settled: the third signal, and the one that does not get lost. It is to be run again
// and again, by one replica at a time.
func (s *Service) Sweep(ctx context.Context) error {
	if s.Files == nil {
		return nil
	}
	if err := s.dropForgotten(ctx); err != nil {
		return err
	}
	ids, err := s.DB.Read.Recording.Query().
		Where(recording.Or(recording.StatusIn(unsettled...), recording.PurgeTimeNotNil(), recording.And(
			recording.StatusEQ(failed), recording.DeleteTimeIsNil(), recording.EndTimeGT(now().Add(-s.Timing.UploadWithin)),
		))).IDs(ctx)
	if err != nil {
		return fmt.Errorf("find recordings: %w", err)
	}
	running, listErr := s.LiveKit.RunningEgresses(ctx)
	// The recorders that must not be come last: settling a recording may end the search for a file that they have yet to
	// store.
	settleErr := s.settleAll(ctx, ids)
	return errors.Join(listErr, settleErr, s.stopUnwanted(ctx, running))
}

// stopUnwanted settles the recordings of recorders that go on though those have ended, or have another one.
func (s *Service) stopUnwanted(ctx context.Context, running []meeting.Egress) error {
	recorders := map[uuid.UUID][]meeting.Egress{}
	for _, e := range running {
		if id, ok := s.recordingOf(e); ok {
			recorders[id] = append(recorders[id], e)
		}
	}
	if len(recorders) == 0 {
		return nil
	}
	found, err := s.DB.Read.Recording.Query().Where(recording.IDIn(slices.Collect(maps.Keys(recorders))...),
		recording.Or(recording.EndTimeIsNil(), recording.EndTimeGT(now().Add(-lateFor)))).All(ctx)
	if err != nil {
		return fmt.Errorf("find unwanted recorders: %w", err)
	}
	var unwanted []meeting.Egress
	for _, r := range found {
		for _, e := range recorders[r.ID] {
			if second := r.EgressID != nil && *r.EgressID != e.ID; second || r.EndTime != nil && r.PurgeTime == nil {
				unwanted = append(unwanted, e)
			}
		}
	}
	return each(unwanted, func(e meeting.Egress) error {
		return jobs.Safely(ctx, s.Log, "recordings.unwanted", func() error { return s.EgressChanged(ctx, e) })
	})
}

// dropForgotten deletes recordings that nobody has access to any more, since their accounts were deleted, and, where the
// operator wants that, the files of those that have expired.
func (s *Service) dropForgotten(ctx context.Context) error {
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		_, err := tx.Recording.Update().
			Where(recording.StatusIn(final...), recording.DeleteTimeIsNil(), recording.Not(recording.HasAccesses())).
			SetDeleteTime(now()).SetPurgeTime(now()).SetRoomName("").SetFailureDetail("").Save(ctx)
		if err != nil {
			return fmt.Errorf("delete forgotten recordings: %w", err)
		}
		if s.Life == 0 || !s.Rules.DeleteExpired {
			return nil
		}
		_, err = tx.Recording.Update().
			Where(recording.StatusIn(withFile...), recording.Keep(false), recording.SaveTimeLT(now().Add(-s.Life)),
				recording.PurgeTimeIsNil(), recording.SizeBytesGT(0)).
			SetPurgeTime(now()).Save(ctx)
		if err != nil {
			return fmt.Errorf("delete expired files: %w", err)
		}
		return nil
	})
}

// settleAll settles several recordings. One that fails does not keep the others from it.
func (s *Service) settleAll(ctx context.Context, ids []uuid.UUID) error {
	return each(ids, func(id uuid.UUID) error {
		// A panic in one of several goroutines would be the end of the server.
		if err := jobs.Safely(ctx, s.Log, "recordings.settle", func() error { return s.Settle(ctx, id, nil) }); err != nil {
			return fmt.Errorf("recording %s: %w", id, err)
		}
		return nil
	})
}

// each does something with all of a list, several at the same time, and returns what failed.
func each[T any](list []T, do func(T) error) error {
	var mu sync.Mutex
	var failures []error
	next := make(chan T)
	var workers sync.WaitGroup
	for range min(sweepers, len(list)) {
		workers.Go(func() {
			for one := range next {
				if err := do(one); err != nil {
					mu.Lock()
					failures = append(failures, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, one := range list {
		next <- one
	}
	close(next)
	workers.Wait()
	return errors.Join(failures...)
}
