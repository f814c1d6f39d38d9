package recordings

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/recording"
	"github.com/usher-meet/usher/gen/ent/recordingaccess"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
)

// access is a recording and what the caller is in it.
type access struct {
	*ent.Recording
	// role of the caller; unspecified for none. A pending access of the caller's verified address counts.
	role usherv1.Role
}

// find looks up a recording to which the caller has access. Predicates are added to the query, such as a lock. To all others
// it does not exist.
func find(ctx context.Context, db *ent.Client, id string, more ...predicate.Recording) (*access, error) {
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, ErrNotFound
	}
	query := db.Recording.Query().Where(recording.ID(parsed), recording.DeleteTimeIsNil()).Where(more...)
	r, err := query.Only(ctx)
	if ent.IsNotFound(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find recording: %w", err)
	}
	// Read after the lock was got: a statement that waits for one sees the other tables as they were before it waited.
	mine, err := db.RecordingAccess.Query().Where(recordingaccess.RecordingID(r.ID), auth.MyRecordings(u)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find access: %w", err)
	}
	a := &access{Recording: r, role: highest(mine)}
	if a.role == usherv1.Role_ROLE_UNSPECIFIED {
		return nil, ErrNotFound
	}
	return a, nil
}

// lock finds a recording to which the caller has access, and keeps others from changing it until the transaction ends. Its
// room is locked first, as by everybody who changes both, so that nobody waits for each other; a room that was deleted is no
// error.
func lock(ctx context.Context, tx *ent.Client, id string) (*access, error) {
	a, err := find(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Room.Query().Where(room.ID(a.RoomID), dbtx.ForUpdate).IDs(ctx); err != nil {
		return nil, fmt.Errorf("lock room %s: %w", a.RoomID, err)
	}
	return find(ctx, tx, id, dbtx.ForUpdate)
}

// record writes down what was done to a recording, which is locked, in the transaction that does it.
func record(ctx context.Context, tx *ent.Client, r *ent.Recording, action audit.Action, detail string) error {
	return audit.Record(ctx, tx, audit.Event{Room: r.RoomID, Action: action, Target: audit.Recording(r.ID), Detail: detail})
}

func highest(accesses []*ent.RecordingAccess) usherv1.Role {
	role := usherv1.Role_ROLE_UNSPECIFIED
	for _, a := range accesses {
		role = max(role, a.Role)
	}
	return role
}

// require refuses callers with a lower role in the recording.
func (a *access) require(role usherv1.Role) error {
	if a.role < role {
		return auth.ErrInsufficientRole.Saying("your role in the recording does not allow that").
			With("required_role", auth.RoleName(role))
	}
	return nil
}

// hasFile reports whether the storage has the file, as far as anybody knows.
func hasFile(r *ent.Recording) bool {
	return slices.Contains(withFile, r.Status) && r.DeleteTime == nil
}

// expireTime is when the file of a recording expires; zero for never.
func (s *Records) expireTime(r *ent.Recording) time.Time {
	if s.Life == 0 || r.Keep || r.SaveTime == nil {
		return time.Time{}
	}
	return r.SaveTime.UTC().Add(s.Life)
}

func (s *Records) expired(r *ent.Recording) bool {
	t := s.expireTime(r)
	return !t.IsZero() && !time.Now().Before(t)
}

// mayDownload refuses who may not have the file of a recording.
func (s *Service) mayDownload(a *access) error {
	transcript := a.Mode == usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT
	switch {
	case s.Files == nil:
		return ErrDisabled
	case !hasFile(a.Recording):
		return ErrNotSaved
	case s.expired(a.Recording):
		return ErrExpired
	case transcript && !s.Rules.TranscriptDownload:
		return ErrDisabled.Saying("the sound of transcripts cannot be downloaded here")
	case transcript:
		return a.require(usherv1.Role_ROLE_ADMINISTRATOR)
	}
	return nil
}
