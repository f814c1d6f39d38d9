package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"
)

// LiveTask is something that LiveKit must still be made to do, written in the transaction that decided it.
//
// A task states what must be true, so doing it twice is harmless. Tasks with a keep_until are done again until then,
// because tokens that were good when they were made can bring back what was ended.
type LiveTask struct{ ent.Schema }

// Fields of the LiveTask.
func (LiveTask) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		field.Enum("kind").Values("close_room", "sync_room", "remove_user", "end_meeting").Immutable(),
		// The room to close, to bring up to date or to end a meeting of. No foreign key: a closed room is deleted.
		field.UUID("room_id", uuid.UUID{}).Optional().Nillable().Immutable(),
		// The session of the room to end, by LiveKit's sid: a later one goes on.
		field.String("meeting_sid").MaxLen(100).Optional().Nillable().Immutable(),
		// The user to remove from every meeting.
		field.UUID("user_id", uuid.UUID{}).Optional().Nillable().Immutable(),
		// Done once and not again after this.
		field.Time("keep_until").Immutable(),
		// Not to be tried before.
		field.Time("next_time").Default(Now),
		field.Int("attempts").Default(0),
		createTimeField(),
	}
}

// Indexes of the LiveTask.
func (LiveTask) Indexes() []ent.Index {
	return []ent.Index{index.Fields("next_time")}
}
