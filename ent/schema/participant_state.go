package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"
)

// ParticipantState holds the decisions about a participant in a room's meetings: how they are called, what they may do, and
// that they have to stay out.
type ParticipantState struct{ ent.Schema }

// Fields of the ParticipantState.
func (ParticipantState) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		field.UUID("room_id", uuid.UUID{}).Immutable(),
		// Whom it is about: "user:" and the id of an account, on all its devices, or one participant identity.
		field.String("subject").MaxLen(200).Immutable(),
		// The account behind the subject, with which this goes.
		field.UUID("user_id", uuid.UUID{}).Optional().Nillable().Immutable(),
		// The number of the meeting in which all but block_until counts.
		field.Int64("meeting"),
		// Null: the name that they came with.
		field.String("display_name").MaxLen(400).Optional().Nillable(),
		// Whether a host gave them that name: then they do not change it.
		field.Bool("name_by_host").Default(false),
		// Whether sources say what they may publish, instead of the room. Numbers of the contract's TrackSource.
		field.Bool("restrict_sources").Default(false),
		field.JSON("sources", []int32{}).Optional(),
		field.Bool("can_subscribe").Default(true),
		// Until when they have to stay out, whichever meeting it is.
		field.Time("block_until").Optional().Nillable(),
		// When nothing of this can count any more.
		field.Time("expire_time"),
	}
}

// Indexes of the ParticipantState.
func (ParticipantState) Indexes() []ent.Index {
	return []ent.Index{index.Fields("room_id", "subject").Unique(), index.Fields("user_id"), index.Fields("expire_time")}
}

// Edges of the ParticipantState.
func (ParticipantState) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("room", Room.Type).Ref("participant_states").Field("room_id").Unique().Required().Immutable(),
		edge.From("user", User.Type).Ref("participant_states").Field("user_id").Unique().Immutable(),
	}
}
