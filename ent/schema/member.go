package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/mailbox"
)

// Member is somebody's role in a room: a user's, or, while pending, that of a verified e-mail address.
type Member struct{ ent.Schema }

// Fields of the Member.
func (Member) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		field.UUID("room_id", uuid.UUID{}).Immutable(),
		// Null while pending.
		field.UUID("user_id", uuid.UUID{}).Optional().Nillable(),
		// Set only while pending: afterwards the address is the user's.
		field.String("email").GoType(mailbox.Address("")).MaxLen(254).Optional().Nillable(),
		field.Int32("role").GoType(usherv1.Role(0)),
		createTimeField(),
	}
}

// Indexes of the Member. The unique ones make two answers to "which role" impossible.
func (Member) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("room_id", "user_id").Unique(),
		index.Fields("room_id", "email").Unique(),
		index.Fields("user_id"),
		index.Fields("email"),
	}
}

// Edges of the Member.
func (Member) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("room", Room.Type).Ref("members").Field("room_id").Unique().Required().Immutable(),
		edge.From("user", User.Type).Ref("members").Field("user_id").Unique(),
	}
}

// Annotations of the Member.
func (Member) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Checks(map[string]string{
		"members_role":    "role BETWEEN 1 AND 3",
		"members_pending": "((user_id IS NULL) <> (email IS NULL))",
	})}
}
