package recordings

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	"github.com/usher-meet/usher/gen/ent/recordingaccess"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/mask"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
)

// recordingCursor is where a page of recordings ended.
type recordingCursor struct {
	CreateTime time.Time `json:"t"`
	ID         uuid.UUID `json:"i"`
}

// list returns a page of the recordings to which u has access, newest first, and the token of the next page.
func (s *Service) list(ctx context.Context, u *ent.User, req *usherv1.ListRecordingsRequest) ([]*access, string, error) {
	size, err := page.Size(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	mine := auth.MyRecordings(u)
	query := s.DB.Read.Recording.Query().Where(recording.DeleteTimeIsNil(), recording.HasAccessesWith(mine)).
		WithAccesses(func(q *ent.RecordingAccessQuery) { q.Where(mine) }).
		Order(recording.ByCreateTime(sql.OrderDesc()), recording.ByID(sql.OrderDesc())).Limit(size + 1)
	inRoom := ""
	if req.GetRoom() != "" {
		a, err := auth.FindRoom(ctx, s.DB.Read, req.GetRoom())
		if err != nil {
			return nil, "", err
		}
		inRoom = a.Room.ID.String()
		query.Where(recording.RoomID(a.Room.ID))
	}
	if status := req.GetStatus(); status != usherv1.RecordingStatus_RECORDING_STATUS_UNSPECIFIED {
		query.Where(recording.StatusEQ(status))
	}
	list := page.List{
		Keys: s.Keys, Caller: auth.FromContext(ctx).Key(), Method: usherv1connect.RecordingsServiceListRecordingsProcedure,
		Filter: []string{inRoom, strconv.Itoa(int(req.GetStatus()))},
	}
	if req.GetPageToken() != "" {
		var after recordingCursor
		if err := list.Cursor(req.GetPageToken(), &after); err != nil {
			return nil, "", err
		}
		query.Where(recording.Or(recording.CreateTimeLT(after.CreateTime),
			recording.And(recording.CreateTime(after.CreateTime), recording.IDLT(after.ID))))
	}
	found, err := query.All(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list recordings: %w", err)
	}
	found, next, err := page.Cut(list, found, size, func(last *ent.Recording) any {
		return recordingCursor{CreateTime: last.CreateTime.UTC(), ID: last.ID}
	})
	accesses := make([]*access, len(found))
	for i, r := range found {
		accesses[i] = &access{Recording: r, role: highest(r.Edges.Accesses)}
	}
	return accesses, next, err
}

// update keeps a recording for ever, or not.
func (s *Service) update(ctx context.Context, req *usherv1.UpdateRecordingRequest) (a *access, err error) {
	next := &usherv1.UpdateRecordingRequest{}
	changed, err := mask.Merge(next, req, req.GetUpdateMask(), "keep")
	if err != nil {
		return nil, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if a, err = lock(ctx, tx, req.GetRecordingId()); err != nil {
			return err
		}
		if err := a.require(administrator); err != nil {
			return err
		}
		if s.expired(a.Recording) {
			return ErrExpired // its file may be deleted
		}
		if len(changed) == 0 || next.GetKeep() == a.Keep {
			return nil
		}
		if a.Recording, err = tx.Recording.UpdateOne(a.Recording).SetKeep(next.GetKeep()).Save(ctx); err != nil {
			return fmt.Errorf("update recording %s: %w", a.ID, err)
		}
		return record(ctx, tx, a.Recording, audit.RecordingKept, "keep="+strconv.FormatBool(a.Keep))
	})
	return a, err
}

// delete deletes a recording for good. Nobody sees it any more; its row goes when its file has.
func (s *Service) delete(ctx context.Context, id string) (*ent.Recording, error) {
	var r *ent.Recording
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := a.require(administrator); err != nil {
			return err
		}
		r = a.Recording
		n, err := tx.Recording.Update().Where(recording.ID(r.ID), recording.StatusIn(final...)).
			SetDeleteTime(now()).SetPurgeTime(now()).SetRoomName("").SetFailureDetail("").Save(ctx)
		if err != nil {
			return fmt.Errorf("delete recording %s: %w", r.ID, err)
		}
		if n == 0 {
			return ErrNotFinal
		}
		if _, err := tx.RecordingAccess.Delete().Where(recordingaccess.RecordingID(r.ID)).Exec(ctx); err != nil {
			return fmt.Errorf("delete accesses of %s: %w", r.ID, err)
		}
		if err := record(ctx, tx, r, audit.RecordingDeleted, ""); err != nil {
			return err
		}
		return s.Jobs.Enqueue(ctx, tx, SettleJob{RecordingID: r.ID})
	})
	return r, err
}

// RoomDeleted deletes all recordings of a room that is deleted, in the transaction that does it. One that goes on is
// stopped.
func (s *Records) RoomDeleted(ctx context.Context, tx *ent.Client, room uuid.UUID) error {
	_, err := tx.RecordingAccess.Delete().Where(recordingaccess.HasRecordingWith(recording.RoomID(room))).Exec(ctx)
	if err != nil {
		return fmt.Errorf("delete accesses to recordings of %s: %w", room, err)
	}
	_, err = tx.Recording.Update().
		Where(recording.RoomID(room), recording.StatusIn(occupying...), recording.StopTimeIsNil()).
		SetStopTime(now()).
		Save(ctx)
	if err != nil {
		return fmt.Errorf("stop recordings of %s: %w", room, err)
	}
	n, err := tx.Recording.Update().Where(recording.RoomID(room), recording.DeleteTimeIsNil()).
		SetDeleteTime(now()).SetPurgeTime(now()).SetRoomName("").SetFailureDetail("").Save(ctx)
	if err != nil {
		return fmt.Errorf("delete recordings of %s: %w", room, err)
	}
	if n == 0 {
		return nil
	}
	return s.Jobs.Enqueue(ctx, tx, RoomJob{RoomID: room})
}
