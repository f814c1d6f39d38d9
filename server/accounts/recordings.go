package accounts

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recordingaccess"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
)

// ExportedRecording is a role in a recording.
type ExportedRecording struct {
	RecordingID uuid.UUID `json:"recording_id"`
	RoomID      uuid.UUID `json:"room_id"`
	Role        string    `json:"role"`
	// Pending is true while it is known by the address only.
	Pending    bool       `json:"pending"`
	CreateTime time.Time  `json:"create_time"`
	NotifyTime *time.Time `json:"notify_time,omitempty"`
}

func (l *Lifecycle) exportRecordings(ctx context.Context, u *ent.User) ([]ExportedRecording, error) {
	rows, err := l.DB.Read.RecordingAccess.Query().Where(auth.MyRecordings(u)).WithRecording().
		Order(ent.Asc(recordingaccess.FieldCreateTime, recordingaccess.FieldID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find recordings: %w", err)
	}
	recordings := make([]ExportedRecording, 0, len(rows))
	for _, a := range rows {
		recordings = append(recordings, ExportedRecording{
			RecordingID: a.RecordingID, RoomID: a.Edges.Recording.RoomID, Role: auth.RoleName(a.Role),
			Pending: a.UserID == nil, CreateTime: a.CreateTime, NotifyTime: a.NotifyTime,
		})
	}
	return recordings, nil
}

// moveRecordings gives one account the accesses to recordings of another one. Where both have one, the higher role wins.
func moveRecordings(ctx context.Context, tx *ent.Client, from, into *ent.User) error {
	theirs, err := tx.RecordingAccess.Query().Where(auth.MyRecordings(from), dbtx.ForUpdate).All(ctx)
	if err != nil {
		return fmt.Errorf("find accesses to recordings: %w", err)
	}
	for _, a := range theirs {
		if a.UserID != nil && *a.UserID == into.ID {
			continue // into's own
		}
		if err := moveRecording(ctx, tx, a, into); err != nil {
			return fmt.Errorf("move access to %s: %w", a.RecordingID, err)
		}
	}
	return nil
}

func moveRecording(ctx context.Context, tx *ent.Client, a *ent.RecordingAccess, into *ent.User) error {
	existing, err := tx.RecordingAccess.Query().
		Where(recordingaccess.RecordingID(a.RecordingID), recordingaccess.UserID(into.ID), dbtx.ForUpdate).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return tx.RecordingAccess.UpdateOne(a).SetUserID(into.ID).ClearEmail().Exec(ctx)
	case err != nil:
		return err
	}
	if err := tx.RecordingAccess.DeleteOne(a).Exec(ctx); err != nil {
		return err
	}
	if a.Role <= existing.Role {
		return nil
	}
	return tx.RecordingAccess.UpdateOne(existing).SetRole(a.Role).Exec(ctx)
}
