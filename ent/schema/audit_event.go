package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"
)

// AuditEvent is something that somebody did to a room or to people in it, written in the transaction that did it. Rows are
// never changed. They hold ids only, so that they may outlive accounts and rooms.
type AuditEvent struct{ ent.Schema }

// Fields of the AuditEvent.
func (AuditEvent) Fields() []ent.Field {
	return []ent.Field{
		// Rises within a room: those who record hold the lock on its row.
		field.Int64("id").Immutable(),
		createTimeField(),
		// No foreign key: that a room was deleted is an event too.
		field.UUID("room_id", uuid.UUID{}).Immutable(),
		// Null for everybody but users; then detail says who.
		field.UUID("actor_user_id", uuid.UUID{}).Optional().Nillable().Immutable(),
		// A stable name, such as "member.added".
		field.String("action").NotEmpty().MaxLen(60).Immutable(),
		// Whom or what it was done to, such as "user:" and an id. Empty: the room itself.
		field.String("target").MaxLen(200).Default("").Immutable(),
		// More, as key=value, separated by spaces.
		field.String("detail").MaxLen(500).Default("").Immutable(),
	}
}

// Indexes of the AuditEvent.
func (AuditEvent) Indexes() []ent.Index {
	return []ent.Index{index.Fields("room_id", "id"), index.Fields("create_time")}
}
