package recordings

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	"github.com/usher-meet/usher/gen/ent/recordingaccess"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// What can be wrong with what an operator asks.
var (
	// ErrUnknown means that no recording has this id.
	ErrUnknown = errors.New("there is no such recording")
	// ErrNothingToSend means that the recording has no file of which people could be told, or none any more.
	ErrNothingToSend = errors.New("the recording has no file, or it has expired: there is nothing to tell anybody of")
	// ErrOver means that the recording has ended already.
	ErrOver = errors.New("the recording has ended already")
)

// Filter says which recordings an operator wants to see.
type Filter struct {
	// RoomID and Status; zero for all.
	RoomID uuid.UUID
	Status usherv1.RecordingStatus
	// Limit is how many at most.
	Limit int
}

// List lists recordings for the operator, newest first, with those that have access.
func (s *Records) List(ctx context.Context, f Filter) ([]*ent.Recording, error) {
	query := s.DB.Read.Recording.Query().Where(recording.DeleteTimeIsNil()).
		WithAccesses(func(q *ent.RecordingAccessQuery) {
			q.WithUser().
				Order(recordingaccess.ByRole(sql.OrderDesc()), recordingaccess.ByCreateTime(), recordingaccess.ByID())
		}).
		Order(recording.ByCreateTime(sql.OrderDesc()), recording.ByID(sql.OrderDesc())).Limit(f.Limit)
	if f.RoomID != uuid.Nil {
		query.Where(recording.RoomID(f.RoomID))
	}
	if f.Status != 0 {
		query.Where(recording.StatusEQ(f.Status))
	}
	found, err := query.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	return found, nil
}

// Resend has everybody told again that a recording is there, whoever was told already.
func (s *Records) Resend(ctx context.Context, id uuid.UUID) error {
	r, err := s.known(ctx, id)
	if err != nil {
		return err
	}
	if !hasFile(r) || s.expired(r) {
		return ErrNothingToSend
	}
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		_, err := tx.RecordingAccess.Update().Where(recordingaccess.RecordingID(id)).ClearNotifyTime().Save(ctx)
		if err != nil {
			return fmt.Errorf("forget who was told of %s: %w", id, err)
		}
		return s.notifyLater(ctx, tx, id)
	})
}

// Fail gives up a recording that does not end: its room is free, and a recorder that goes on is stopped. A file that comes
// after all is kept, as that of every recording that failed.
func (s *Records) Fail(ctx context.Context, id uuid.UUID) error {
	for range maxTransitions {
		r, err := s.known(ctx, id)
		if err != nil {
			return err
		}
		if slices.Contains(final, r.Status) {
			return ErrOver
		}
		made, err := s.transition(ctx, r, change{
			to: failed, reason: usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_OPERATOR,
		})
		if made || err != nil {
			return err
		}
	}
	return ErrOver // servers change its status all the time: it is not stuck
}

func (s *Records) known(ctx context.Context, id uuid.UUID) (*ent.Recording, error) {
	r, err := s.DB.Read.Recording.Query().Where(recording.ID(id), recording.DeleteTimeIsNil()).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("find recording: %w", err)
	}
	return r, nil
}
