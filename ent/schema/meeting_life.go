package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"
)

// MeetingLife is one session of a room in LiveKit, of which at least one event has come. Events come late, twice, and even
// after the next session has begun; the row says whether the end of this one was counted.
type MeetingLife struct{ ent.Schema }

// Fields of the MeetingLife.
func (MeetingLife) Fields() []ent.Field {
	return []ent.Field{
		// LiveKit's sid of the room, which is another one in each session.
		field.String("id").NotEmpty().MaxLen(100).Immutable(),
		field.UUID("room_id", uuid.UUID{}).Immutable(),
		// When it began, as LiveKit says. Zero if no event said so.
		field.Time("start_time").Default(time.Time{}.UTC).Immutable(),
		// Whether it is over, and counted.
		field.Bool("over").Default(false),
		createTimeField(),
	}
}

// Indexes of the MeetingLife.
func (MeetingLife) Indexes() []ent.Index {
	return []ent.Index{index.Fields("over", "create_time"), index.Fields("room_id")}
}

// Edges of the MeetingLife.
func (MeetingLife) Edges() []ent.Edge {
	return []ent.Edge{edge.From("room", Room.Type).Ref("lives").Field("room_id").Unique().Required().Immutable()}
}
