// Package livetasks makes LiveKit follow what the database has decided. A decision writes a task in its transaction
// ([Queue]); after the commit a worker does it ([Worker]), and does it again until no LiveKit token is left that could undo
// it. A crash in between loses nothing, and replicas share the work. docs/adr/0005-live-tasks.md says why these are not
// jobs.
//
// No other package writes rows of this kind. [Handlers] lists the kinds.
package livetasks

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	"github.com/usher-meet/usher/server/meeting"
)

// Queue writes tasks. Make one with [NewQueue].
type Queue struct {
	// Keep is how long a task is repeated after a decision, or after LiveKit was found to differ from it.
	Keep   time.Duration
	wakeup chan struct{}
}

// NewQueue returns a queue whose tasks are repeated until every LiveKit token from before a decision has expired. tokenLife
// is how long a token can be used to connect.
func NewQueue(tokenLife time.Duration) *Queue {
	return &Queue{Keep: meeting.Reach(tokenLife), wakeup: make(chan struct{}, 1)}
}

// CloseRoom has a room's meeting ended, and ended again while anybody has a token that could begin another one.
func (q *Queue) CloseRoom(ctx context.Context, tx *ent.Client, room uuid.UUID) error {
	return insert(ctx, tx.LiveTask.Create().SetKind(livetask.KindCloseRoom).SetRoomID(room).SetKeepUntil(now().Add(q.Keep)))
}

// SyncRoom has a room's meeting follow the database as the transaction leaves it, for as long as anybody may join with a
// token that says what was before.
func (q *Queue) SyncRoom(ctx context.Context, tx *ent.Client, room uuid.UUID) error {
	return insert(ctx, tx.LiveTask.Create().SetKind(livetask.KindSyncRoom).SetRoomID(room).SetKeepUntil(now().Add(q.Keep)))
}

// EndSession has the LiveKit session sid of a room ended. The task is not repeated: no token brings a session with this sid
// back, and whoever may enter may begin another one.
func (q *Queue) EndSession(ctx context.Context, tx *ent.Client, room uuid.UUID, sid string) error {
	task := tx.LiveTask.Create().SetKind(livetask.KindEndMeeting).SetRoomID(room).SetMeetingSid(sid).SetKeepUntil(now())
	return insert(ctx, task)
}

// RemoveUser has a user removed from all meetings, and again while a token brings them back.
func (q *Queue) RemoveUser(ctx context.Context, tx *ent.Client, user uuid.UUID) error {
	return insert(ctx, tx.LiveTask.Create().SetKind(livetask.KindRemoveUser).SetUserID(user).SetKeepUntil(now().Add(q.Keep)))
}

// Wake tells the worker of this process, if there is one, that a task was committed. Workers of other processes find the
// task when they poll.
func (q *Queue) Wake() {
	select {
	case q.wakeup <- struct{}{}:
	default: // the worker has been told and has not looked yet
	}
}

func insert(ctx context.Context, task *ent.LiveTaskCreate) error {
	if err := task.Exec(ctx); err != nil {
		return fmt.Errorf("insert live task: %w", err)
	}
	return nil
}

// now is the present moment, as the database stores it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
