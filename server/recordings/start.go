package recordings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/recording"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

// order is a recording to be started.
type order struct {
	room     string
	mode     usherv1.RecordingMode
	language string
	key      idempotency.Key
}

// checkStart refuses what cannot be recorded, before anything is stored. LiveKit is asked outside every transaction.
func (s *Service) checkStart(ctx context.Context, o order) error {
	a, err := auth.FindRoom(ctx, s.DB.Read, o.room)
	if err != nil {
		return err
	}
	if err := a.RequireAdministrator(); err != nil {
		return err
	}
	if s.Files == nil || !slices.Contains(s.Rules.Modes, o.mode) {
		return ErrDisabled
	}
	call := ratelimit.Call{Limit: s.StartLimit, Key: a.Room.ID.String()}
	if err := s.Limiter.Allow(ctx, call); err != nil {
		return err
	}
	switch _, err := s.LiveKit.Meeting(ctx, a.Room.ID); {
	case errors.Is(err, meeting.ErrNotFound):
		return ErrNotLive
	case err != nil:
		return fault.ErrLiveKit.Because(err)
	}
	return nil
}

// start begins a recording, once for each request_id.
func (s *Service) start(ctx context.Context, o order) (*ent.Recording, error) {
	if r, err := s.repeated(ctx, o); r != nil || err != nil {
		return r, err
	}
	if err := s.checkStart(ctx, o); err != nil {
		return nil, err
	}
	var r *ent.Recording
	err := s.DB.Run(ctx, func(tx *ent.Client) (err error) {
		if err := o.key.Claim(ctx, tx); err != nil {
			return err
		}
		if r, err = s.insert(ctx, tx, o); err != nil {
			return err
		}
		return o.key.Keep(ctx, tx, &usherv1.StartRecordingResponse{Recording: &usherv1.Recording{Id: r.ID.String()}})
	})
	if errors.Is(err, idempotency.ErrRepeated) {
		// The one that was first has committed: its recording is there.
		if r, err = s.repeated(ctx, o); r == nil && err == nil {
			err = fault.ErrConflict
		}
		return r, err
	}
	if errors.Is(err, ErrInProgress) {
		return nil, s.inProgress(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	s.Tasks.Wake()
	return s.begin(ctx, r)
}

// repeated is the recording that an equal request started, as it is now; nil when there was none.
func (s *Service) repeated(ctx context.Context, o order) (*ent.Recording, error) {
	var first usherv1.StartRecordingResponse
	if found, err := o.key.Stored(ctx, s.DB.Read, &first); !found || err != nil {
		return nil, err
	}
	id, err := uuid.Parse(first.GetRecording().GetId())
	if err != nil {
		return nil, fmt.Errorf("stored answer: %w", err)
	}
	r, err := s.DB.Read.Recording.Query().Where(recording.ID(id), recording.DeleteTimeIsNil()).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, ErrNotFound // deleted since
	}
	if err != nil {
		return nil, fmt.Errorf("find recording: %w", err)
	}
	return r, nil
}

// inProgress is the refusal of a recording beside another one, which it names.
func (s *Service) inProgress(ctx context.Context, o order) error {
	a, err := auth.FindRoom(ctx, s.DB.Read, o.room)
	if err != nil {
		return err
	}
	id, err := s.DB.Read.Recording.Query().Where(recording.RoomID(a.Room.ID), recording.StatusIn(occupying...)).FirstID(ctx)
	if err != nil && !ent.IsNotFound(err) {
		return fmt.Errorf("find recording of %s: %w", a.Room.ID, err)
	}
	if err != nil {
		return ErrInProgress // and it has just ended
	}
	return ErrInProgress.With("recording_id", id.String())
}

// insert stores a recording and who has access to it: the caller, and the owners of the room.
func (s *Service) insert(ctx context.Context, tx *ent.Client, o order) (*ent.Recording, error) {
	a, err := auth.LockRoom(ctx, tx, o.room)
	if err != nil {
		return nil, err
	}
	if err := a.RequireAdministrator(); err != nil {
		return nil, err
	}
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	id := uuid.New()
	r, err := tx.Recording.Create().
		SetID(id).
		SetRoomID(a.Room.ID).
		SetRoomName(a.Room.Name).
		SetMode(o.mode).
		SetStatus(initiated).
		SetObjectKey(path.Join(s.Rules.Folder, id.String()+extension(o.mode))).
		SetLanguage(cmp.Or(o.language, u.Language)).
		Save(ctx)
	if sqlgraph.IsUniqueConstraintError(err) {
		// The index decides, not a query made beforehand: two hosts who start at the same moment would both pass that query.
		return nil, ErrInProgress
	}
	if err != nil {
		return nil, fmt.Errorf("insert recording of %s: %w", a.Room.ID, err)
	}
	if err := grantInitial(ctx, tx, r, u); err != nil {
		return nil, err
	}
	if err := s.Tasks.SyncRoom(ctx, tx, r.RoomID); err != nil {
		return nil, err
	}
	detail := "mode=" + modeName(o.mode)
	return r, audit.Record(ctx, tx, audit.Event{
		Room: a.Room.ID, Action: audit.RecordingStarted, Target: audit.Recording(id), Detail: detail,
	})
}

// grantInitial gives access to whoever starts a recording, and to the owners of the room.
func grantInitial(ctx context.Context, tx *ent.Client, r *ent.Recording, starter *ent.User) error {
	owners, err := tx.Member.Query().Where(member.RoomID(r.RoomID), member.RoleEQ(usherv1.Role_ROLE_OWNER)).All(ctx)
	if err != nil {
		return fmt.Errorf("find owners of %s: %w", r.RoomID, err)
	}
	creates := []*ent.RecordingAccessCreate{
		tx.RecordingAccess.Create().SetRecordingID(r.ID).SetUserID(starter.ID).SetRole(usherv1.Role_ROLE_OWNER),
	}
	for _, m := range owners {
		if m.UserID != nil && (person{userID: *m.UserID}).is(starter) ||
			m.Email != nil && (person{email: *m.Email}).is(starter) {
			continue
		}
		creates = append(creates, tx.RecordingAccess.Create().SetRecordingID(r.ID).SetRole(usherv1.Role_ROLE_ADMINISTRATOR).
			SetNillableUserID(m.UserID).SetNillableEmail(m.Email))
	}
	err = tx.RecordingAccess.CreateBulk(creates...).Exec(ctx)
	if sqlgraph.IsForeignKeyConstraintError(err) {
		return auth.ErrUnauthenticated // the account was deleted since the credential was looked at
	}
	if err != nil {
		return fmt.Errorf("insert accesses of %s: %w", r.ID, err)
	}
	return nil
}

// begin asks LiveKit for a recorder. Only a clear answer changes the status of the recording: after a lost one a recorder
// may come all the same, and the sweep decides.
func (s *Service) begin(ctx context.Context, r *ent.Recording) (*ent.Recording, error) {
	// The client may go; what was begun is done. The call has a deadline of its own.
	ctx = context.WithoutCancel(ctx)
	e, err := s.LiveKit.StartEgress(ctx, meeting.EgressRequest{
		Room: r.RoomID, Key: r.ObjectKey, AudioOnly: r.Mode == usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT,
	})
	var refusal error
	switch {
	case err == nil:
		// The recording may have another status by now: then this recorder is late.
		if err := s.Settle(ctx, r.ID, e); err != nil {
			s.Log.WarnContext(ctx, "recording is not settled; the next sweep tries again", "recording", r.ID, "err", err)
		}
	case errors.Is(err, meeting.ErrNotFound), errors.Is(err, meeting.ErrRefused):
		s.Log.WarnContext(ctx, "recording refused", "recording", r.ID, "err", err)
		if errors.Is(err, meeting.ErrNotFound) {
			refusal = ErrNotLive
		}
		reason := usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_REFUSED
		if _, err := s.transition(ctx, r, change{to: failedToStart, reason: reason}); err != nil {
			return nil, err
		}
	default:
		s.Log.WarnContext(ctx, "recording ordered, and no answer; the sweep decides", "recording", r.ID, "err", err)
	}
	if refusal != nil {
		return nil, refusal
	}
	r, err = s.DB.Read.Recording.Get(ctx, r.ID)
	if err != nil {
		return nil, fmt.Errorf("find recording: %w", err)
	}
	return r, nil
}

// extension of the file that a mode makes.
func extension(mode usherv1.RecordingMode) string {
	if mode == usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT {
		return ".ogg"
	}
	return ".mp4"
}
