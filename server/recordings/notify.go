package recordings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recordingaccess"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/jobs"
)

// notifier tells somebody by mail that a recording is ready.
type notifier interface {
	RecordingReady(ctx context.Context, n Notice) error
}

// Notice is the content of a notification to one person.
type Notice struct {
	// ID is the same whenever the same person is told of the same recording, so that a mail that was sent twice can be known
	// as one.
	ID          uuid.UUID
	RecordingID uuid.UUID
	RoomName    string
	// StartTime is when recording began; ExpireTime when the file expires, zero for never.
	StartTime, ExpireTime time.Time
	// Duration is how long the recording is; 0 when that is not known.
	Duration time.Duration
	// Interrupted is true when the end may be missing.
	Interrupted bool
	// To is the person, with language and time zone.
	To *ent.User
}

// summary has a transcript made.
type summary interface {
	// Summarize may be called again with the same Transcript: its recording tells that it is the same.
	Summarize(ctx context.Context, t Transcript) error
}

// Transcript is the sound of a meeting that is to become text.
type Transcript struct {
	RecordingID uuid.UUID
	// Owner is who started the recording.
	Owner *ent.User
	// Key is where the file is in the storage.
	Key      string
	RoomID   uuid.UUID
	RoomName string
	// Language of what is said, as a BCP 47 tag; empty when it is not known.
	Language           string
	StartTime, EndTime time.Time
	// Interrupted is true when the end may be missing.
	Interrupted bool
}

// NotifyJob has those told who are to know that a recording is there.
type NotifyJob struct {
	RecordingID uuid.UUID `json:"recording_id"`
}

// Kind implements jobs.Args.
func (NotifyJob) Kind() string { return "recordings.notify" }

const (
	// notifyFor is how long a notification that fails is tried again.
	notifyFor = 24 * time.Hour
	// notifyTimeout bounds one try.
	notifyTimeout = 2 * time.Minute
)

// notifyLater has people told of a recording, in the transaction that saves it.
func (s *Records) notifyLater(ctx context.Context, tx *ent.Client, id uuid.UUID) error {
	return s.Jobs.Enqueue(ctx, tx, NotifyJob{RecordingID: id}, jobs.KeepTrying(notifyFor))
}

// notify tells everybody who was not told. Who was is written down at once, so that a failure about one leads to no second
// notification of another.
func (s *Service) notify(ctx context.Context, j NotifyJob) error {
	r, err := s.DB.Read.Recording.Get(ctx, j.RecordingID)
	if ent.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find recording: %w", err)
	}
	if !hasFile(r) || s.expired(r) {
		return nil
	}
	owners, err := s.DB.Read.RecordingAccess.Query().
		Where(recordingaccess.RecordingID(r.ID), recordingaccess.RoleEQ(owner), recordingaccess.UserIDNotNil()).
		WithUser().Order(recordingaccess.ByCreateTime(), recordingaccess.ByID()).All(ctx)
	if err != nil {
		return fmt.Errorf("find owners of %s: %w", r.ID, err)
	}
	tell := s.mail
	if r.Mode == usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT {
		tell, owners = s.summarize, owners[:min(1, len(owners))]
	}
	var failures []error
	told := false
	for _, a := range owners {
		ok, err := s.tell(ctx, r, a, tell)
		told = told || ok
		failures = append(failures, err)
	}
	if err := errors.Join(failures...); err != nil || !told || r.Status != saved {
		return err
	}
	_, err = s.transition(ctx, r, change{to: notified})
	return err
}

// tell tells one person, unless they were told, and writes that down. ok is false when there is no way to tell them.
func (s *Service) tell(
	ctx context.Context, r *ent.Recording, a *ent.RecordingAccess,
	how func(ctx context.Context, r *ent.Recording, a *ent.RecordingAccess) (bool, error),
) (ok bool, err error) {
	if a.NotifyTime != nil {
		return true, nil
	}
	if ok, err = how(ctx, r, a); !ok || err != nil {
		return false, err
	}
	// Who has been told must not be told again because the server stops now.
	ctx = context.WithoutCancel(ctx)
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		_, err := tx.RecordingAccess.Update().Where(recordingaccess.ID(a.ID)).SetNotifyTime(now()).Save(ctx)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("write down that somebody was told of %s: %w", r.ID, err)
	}
	return true, nil
}

func (s *Service) mail(ctx context.Context, r *ent.Recording, a *ent.RecordingAccess) (bool, error) {
	if s.Notifier == nil || a.Edges.User.Email == "" || !a.Edges.User.Active {
		return false, nil
	}
	return true, s.Notifier.RecordingReady(ctx, Notice{
		ID: a.ID, RecordingID: r.ID, RoomName: r.RoomName, StartTime: startTime(r), ExpireTime: s.expireTime(r),
		Duration: time.Duration(r.DurationMs) * time.Millisecond, Interrupted: r.Interrupted, To: a.Edges.User,
	})
}

func (s *Service) summarize(ctx context.Context, r *ent.Recording, a *ent.RecordingAccess) (bool, error) {
	if s.Summary == nil {
		return false, nil
	}
	return true, s.Summary.Summarize(ctx, Transcript{
		RecordingID: r.ID, Owner: a.Edges.User, Key: r.ObjectKey, RoomID: r.RoomID, RoomName: r.RoomName, Language: r.Language,
		StartTime: startTime(r), EndTime: stopTime(r).UTC(), Interrupted: r.Interrupted,
	})
}

func startTime(r *ent.Recording) time.Time {
	if r.StartTime != nil {
		return r.StartTime.UTC()
	}
	return r.CreateTime.UTC()
}
