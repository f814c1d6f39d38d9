package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// Room is a place to meet. It outlives its meetings.
type Room struct{ ent.Schema }

// Fields of the Room.
func (Room) Fields() []ent.Field {
	return []ent.Field{
		// Also the name of the room in LiveKit, so it must be unguessable and is never used again.
		idField(),
		field.String("name").NotEmpty().MaxLen(2000),
		// The name in lower case, by which lists are searched alike on both databases, and sorted in the order that the
		// database was made with.
		field.String("name_key").MaxLen(2000),
		// The address that people type: two rooms with one would be one door to two places.
		field.String("slug").NotEmpty().MaxLen(100).Unique(),
		field.Int32("access_level").GoType(usherv1.AccessLevel(0)),
		field.String("configuration").GoType(&usherv1.RoomConfiguration{}).ValueScanner(roomConfiguration).Optional(),
		// Counts the sessions of the room in LiveKit. Whoever has no direct access may reconnect in the same session only.
		field.Int64("meeting").Default(0),
		// LiveKit's sid of the session that has this number, once an event of it has come.
		field.String("meeting_sid").MaxLen(100).Optional().Nillable(),
		// When that session began, if an event of it came before the end of the previous one was counted: people who were let
		// in since then belong to it, although they have the previous number.
		field.Time("meeting_since").Optional().Nillable(),
		// Grows with every change; the etag shows it.
		field.Int64("version").Default(1),
		createTimeField(),
		field.Time("update_time").Default(Now).UpdateDefault(Now),
	}
}

// Indexes of the Room.
func (Room) Indexes() []ent.Index {
	return []ent.Index{index.Fields("name_key", "id")}
}

// Edges of the Room.
func (Room) Edges() []ent.Edge {
	return []ent.Edge{
		edge.To("members", Member.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
		edge.To("creation_callbacks", CreationCallback.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
		edge.To("lives", MeetingLife.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
		edge.To("participant_states", ParticipantState.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
		// It outlives the room: the PIN rests.
		edge.To("pin", Pin.Type).Unique().Annotations(entsql.OnDelete(entsql.SetNull)),
	}
}

// Annotations of the Room.
func (Room) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Checks(map[string]string{"rooms_access_level": "access_level BETWEEN 1 AND 3"})}
}
