package livetasks

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
)

// Handlers does what each kind of task says. A handler makes the present state of LiveKit what the database says, so it can
// be repeated. It reports whether LiveKit had something else: then somebody had come back, or had not left yet, and the task
// is kept for as long as a LiveKit token lives. server/rooms implements it.
type Handlers interface {
	// CloseRoom ends the lobby and the meeting of a room that is gone.
	CloseRoom(ctx context.Context, room uuid.UUID) (changed bool, err error)
	// SyncRoom brings lobby, meeting and dial-in of a room up to date.
	SyncRoom(ctx context.Context, room uuid.UUID) (changed bool, err error)
	// EndSession ends one LiveKit session of a room, and no later one.
	EndSession(ctx context.Context, room uuid.UUID, sid string) error
	// RemoveUser removes a deactivated user from all meetings.
	RemoveUser(ctx context.Context, user uuid.UUID) (changed bool, err error)
}

// errKind is a task that this version does not know how to do: a newer one does it.
var errKind = errors.New("unknown kind of live task")

// do makes what a task says true, and reports whether it was not.
func (w *Worker) do(ctx context.Context, t *ent.LiveTask) (changed bool, err error) {
	switch {
	case t.Kind == livetask.KindCloseRoom && t.RoomID != nil:
		return w.Handlers.CloseRoom(ctx, *t.RoomID)
	case t.Kind == livetask.KindSyncRoom && t.RoomID != nil:
		return w.Handlers.SyncRoom(ctx, *t.RoomID)
	case t.Kind == livetask.KindEndMeeting && t.RoomID != nil && t.MeetingSid != nil:
		// Never "changed": it is done once, and not kept for those who begin another meeting.
		return false, w.Handlers.EndSession(ctx, *t.RoomID, *t.MeetingSid)
	case t.Kind == livetask.KindRemoveUser && t.UserID != nil:
		return w.Handlers.RemoveUser(ctx, *t.UserID)
	}
	return false, errKind
}
