package recordings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

// maxTransitions is how many transitions one look at a recording may make: from INITIATED over ACTIVE to STOPPED and SAVED,
// and some for servers that settle it at the same time.
const maxTransitions = 8

// Settle brings one recording to the truth, as far as it is known: it asks LiveKit and the storage, makes the transitions
// that follow, stops what must not run and deletes what must not be there. It may be called at any time and by several at
// once. hint is LiveKit's latest event about a recorder of this recording, or nil. Only that it has ended is believed: all
// else may be old.
func (s *Service) Settle(ctx context.Context, id uuid.UUID, hint *meeting.Egress) error {
	if s.Files == nil {
		return nil // switched off: it waits until it is switched on again
	}
	for range maxTransitions {
		r, err := s.DB.Read.Recording.Get(ctx, id)
		if ent.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find recording: %w", err)
		}
		if hint != nil {
			own, err := s.remember(ctx, r, hint.ID)
			if err != nil {
				return err
			}
			if !own {
				return s.stopDuplicate(ctx, r, hint)
			}
		}
		e, err := s.egress(ctx, r, hint)
		if err != nil {
			// Only looks in which LiveKit answered say that a recorder is lost.
			return errors.Join(err, s.clearLost(ctx, r))
		}
		made, err := s.advance(ctx, r, e)
		if err != nil {
			return err
		}
		if !made {
			return s.purge(ctx, r, e)
		}
	}
	return nil // other servers change its status: they settle it
}

// egress is the recorder of a recording as LiveKit knows it; nil when it does not. What has ended never goes on, so a hint
// of that is as good as asking.
func (s *Service) egress(ctx context.Context, r *ent.Recording, hint *meeting.Egress) (*meeting.Egress, error) {
	if hint != nil && hint.Status.Ended() {
		return hint, nil
	}
	if r.EgressID != nil {
		e, err := s.LiveKit.Egress(ctx, *r.EgressID)
		if errors.Is(err, meeting.ErrNotFound) {
			return nil, nil //nolint:nilnil // documented above
		}
		return e, err
	}
	// The answer to the order was lost, or is on its way: the file that it is to make tells which one it is.
	list, err := s.LiveKit.RoomEgresses(ctx, r.RoomID)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if !isPathOf(e.Path, r) {
			continue
		}
		if own, err := s.remember(ctx, r, e.ID); err != nil || own {
			return &e, err
		}
		return s.egress(ctx, r, nil) // another server has just found another one
	}
	return nil, nil //nolint:nilnil // documented above
}

// remember keeps the id of a recording's recorder, by which it is found even when LiveKit forgets in which room it was. The
// first one counts. It reports whether that is the recorder with this id.
func (s *Service) remember(ctx context.Context, r *ent.Recording, id string) (own bool, err error) {
	if r.EgressID == nil {
		if r.EgressID, err = s.claimEgress(ctx, r, id); err != nil {
			return false, err
		}
	}
	return r.EgressID != nil && *r.EgressID == id, nil
}

// claimEgress makes a recorder that of a recording which has none, and returns which one it has then; nil when the recording
// was deleted.
func (s *Service) claimEgress(ctx context.Context, r *ent.Recording, id string) (has *string, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		err := tx.Recording.Update().Where(recording.ID(r.ID), recording.EgressIDIsNil()).SetEgressID(id).Exec(ctx)
		if err != nil {
			return err
		}
		now, err := tx.Recording.Query().Where(recording.ID(r.ID)).Select(recording.FieldEgressID).Only(ctx)
		if err == nil {
			has = now.EgressID
		}
		return ent.MaskNotFound(err)
	})
	if err != nil {
		return nil, fmt.Errorf("remember the recorder of %s: %w", r.ID, err)
	}
	return has, nil
}

// edit changes what depends on no status.
func (s *Service) edit(ctx context.Context, r *ent.Recording, set func(*ent.RecordingUpdate)) error {
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		update := tx.Recording.Update().Where(recording.ID(r.ID))
		set(update)
		return update.Exec(ctx)
	})
	if err != nil {
		return fmt.Errorf("update recording %s: %w", r.ID, err)
	}
	return nil
}

// advance makes the transition that follows from what LiveKit says, if one does.
func (s *Service) advance(ctx context.Context, r *ent.Recording, e *meeting.Egress) (made bool, err error) {
	switch {
	case r.Status == failed && r.DeleteTime == nil:
		return s.lateFile(ctx, r, e)
	case slices.Contains(final, r.Status):
		return false, s.stopOrphan(ctx, r, e)
	case e == nil:
		return s.egressMissing(ctx, r)
	case e.Status.Ended():
		return s.ended(ctx, r, e)
	case e.Status == meeting.EgressEnding && mayFollow(r.Status, stopped):
		return s.makeStopped(ctx, r, e) // whatever becomes of its file, it records no more
	}
	switch r.Status {
	case initiated:
		return s.starting(ctx, r, e)
	case active:
		return s.running(ctx, r, e)
	case failedToStop:
		return s.stop(ctx, r, e.ID)
	default:
		return s.saving(ctx, r, e)
	}
}

// ended follows a recorder that has ended.
func (s *Service) ended(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	switch e.Status {
	case meeting.EgressAborted:
		to := aborted
		if !mayFollow(r.Status, aborted) {
			to = failed // the recording had begun, as far as anybody knew, and was asked to stop
		}
		return s.transition(ctx, r, change{to: to, reason: failureReason(r, e), detail: e.Detail})
	case meeting.EgressFailed:
		return s.saveRest(ctx, r, e)
	default:
		return s.save(ctx, r, e)
	}
}

// save is for recorders that say they have stored the file: the storage has to say so too.
func (s *Service) save(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	size, err := s.Files.Size(ctx, r.ObjectKey)
	if err == nil {
		made, err := s.makeSaved(ctx, r, e, storedFile{size: size, interrupted: r.Interrupted})
		if made && e.Status == meeting.EgressLimitReached {
			s.tellLimit(ctx, r)
		}
		return made, err
	}
	// Whatever becomes of the file, nothing is being recorded any more.
	if made, freeErr := s.releaseRoom(ctx, r, e); made || freeErr != nil {
		return made, freeErr
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%w: %w", errStorage, err)
	}
	if over, err := s.markLost(ctx, r); !over || err != nil {
		return false, err
	}
	return s.transition(ctx, r, change{
		to: failed, reason: usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_FILE_MISSING, detail: detailOf(e),
	})
}

// saveRest is for recorders that say they failed: one that was shut down stores its file all the same.
func (s *Service) saveRest(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	size, err := s.Files.Size(ctx, r.ObjectKey)
	if err == nil {
		return s.makeSaved(ctx, r, e, storedFile{size: size, interrupted: true})
	}
	if errors.Is(err, fs.ErrNotExist) {
		return s.transition(ctx, r, change{to: failed, reason: failureReason(r, e), detail: detailOf(e)})
	}
	if made, freeErr := s.releaseRoom(ctx, r, e); made || freeErr != nil {
		return made, freeErr
	}
	return false, fmt.Errorf("%w: %w", errStorage, err)
}

// errStorage is a storage that does not say whether it has a file: the next sweep asks again.
var errStorage = errors.New("the storage does not answer")

// releaseRoom makes the room free for another recording, one transition at a time.
func (s *Service) releaseRoom(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	switch r.Status {
	case initiated:
		return s.makeActive(ctx, r, e)
	case active, failedToStop:
		return s.makeStopped(ctx, r, e)
	default:
		return false, nil
	}
}

func (s *Service) makeActive(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	return s.transition(
		ctx, r, change{to: active, set: func(u *ent.RecordingUpdate) { u.SetStartTime(beganAt(e)).ClearLostTime() }},
	)
}

func (s *Service) makeStopped(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	return s.transition(ctx, r, change{to: stopped, set: func(u *ent.RecordingUpdate) {
		u.ClearLostTime().SetLostLooks(0)
		if r.StopTime == nil || !e.EndTime.IsZero() {
			u.SetStopTime(orNow(e.EndTime))
		}
	}})
}

// storedFile is a file that is in the storage.
type storedFile struct {
	size int64
	// interrupted is true when its end may be missing.
	interrupted bool
}

// makeSaved is for a file that is in the storage. e may be nil.
func (s *Service) makeSaved(ctx context.Context, r *ent.Recording, e *meeting.Egress, f storedFile) (bool, error) {
	return s.transition(ctx, r, change{to: saved, set: func(u *ent.RecordingUpdate) {
		u.SetSizeBytes(f.size).SetSaveTime(now())
		if f.interrupted { // never back to false: another server may have seen it meanwhile
			u.SetInterrupted(true)
		}
		if e != nil && !e.StartTime.IsZero() {
			u.SetStartTime(e.StartTime)
		} else if r.StartTime == nil {
			u.SetStartTime(r.CreateTime)
		}
		switch {
		case e != nil && !e.EndTime.IsZero():
			u.SetStopTime(e.EndTime)
		case r.StopTime == nil && r.EndTime != nil:
			u.SetStopTime(*r.EndTime) // it failed then, and its file came late
		case r.StopTime == nil:
			u.SetStopTime(now())
		}
		if e != nil {
			u.SetDurationMs(e.Duration.Milliseconds())
		}
	}})
}

// starting follows a recorder that LiveKit lists, of a recording that has not begun.
func (s *Service) starting(ctx context.Context, r *ent.Recording, e *meeting.Egress) (bool, error) {
	switch {
	case e.Status != meeting.EgressStarting:
		return s.makeActive(ctx, r, e)
	case time.Since(r.CreateTime) > s.Timing.StartWithin:
		_, _ = s.LiveKit.StopEgress(ctx, e.ID) // until it has ended, each sweep does so
		return s.notStarted(ctx, r)
	case r.StopTime != nil:
		return s.stop(ctx, r, e.ID)
	}
	return false, nil
}

// notStarted gives up waiting for a recorder. One that comes all the same is stopped, and what it stores is deleted.
func (s *Service) notStarted(ctx context.Context, r *ent.Recording) (bool, error) {
	return s.transition(ctx, r, change{
		to: failedToStart, reason: usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_NOT_STARTED,
		set: func(u *ent.RecordingUpdate) { u.SetPurgeTime(now()) },
	})
}

// isOver reports whether there is nothing more to record: the meeting has ended, or the recording is as long as it may be.
// LiveKit's own recorder ends with the meeting by itself; asking it to is harmless.
func (s *Service) isOver(ctx context.Context, r *ent.Recording) (bool, error) {
	if s.Rules.MaxLength > 0 && r.StartTime != nil && time.Since(*r.StartTime) > s.Rules.MaxLength {
		s.tellLimit(ctx, r)
		return true, nil
	}
	_, err := s.LiveKit.Meeting(ctx, r.RoomID)
	if errors.Is(err, meeting.ErrNotFound) {
		return true, nil
	}
	return false, err
}
