package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"
)

// IdempotencyKey is the result of a creation that its client may repeat, kept for 24 h.
type IdempotencyKey struct{ ent.Schema }

// Fields of the IdempotencyKey.
func (IdempotencyKey) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		// Who called: the kind of caller and its id.
		field.String("caller").MaxLen(200).Immutable(),
		field.UUID("request_id", uuid.UUID{}).Immutable(),
		// SHA-256 of the procedure and the request without its request_id.
		field.Bytes("body_hash").MaxLen(32).Immutable(),
		// The answer, as protobuf bytes.
		field.Bytes("response"),
		createTimeField(),
	}
}

// Indexes of the IdempotencyKey. The unique one decides which of two equal calls creates.
func (IdempotencyKey) Indexes() []ent.Index {
	return []ent.Index{index.Fields("caller", "request_id").Unique(), index.Fields("create_time")}
}

// CreationCallback lets whoever knows a callback_id learn, once, which room was created with it.
type CreationCallback struct{ ent.Schema }

// Fields of the CreationCallback.
func (CreationCallback) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		// SHA-256 of the callback_id, which is a secret between two pages.
		field.Bytes("callback_hash").MaxLen(32).Unique().Immutable(),
		field.UUID("room_id", uuid.UUID{}).Immutable(),
		field.Time("expire_time").Immutable(),
	}
}

// Indexes of the CreationCallback.
func (CreationCallback) Indexes() []ent.Index {
	return []ent.Index{index.Fields("expire_time")}
}

// Edges of the CreationCallback.
func (CreationCallback) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("room", Room.Type).Ref("creation_callbacks").Field("room_id").Unique().Required().Immutable(),
	}
}
