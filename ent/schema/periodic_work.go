package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"github.com/google/uuid"
)

// PeriodicWork is something that is done again and again by one replica at a time. The row is its clock and its lock.
type PeriodicWork struct{ ent.Schema }

// Fields of the PeriodicWork.
func (PeriodicWork) Fields() []ent.Field {
	return []ent.Field{
		// Its name in the code.
		field.String("id").MaxLen(100).Immutable(),
		// Not to be done before.
		field.Time("next_time"),
		// The replica that does it has it until then, and makes this later while it goes on.
		field.Time("lease_time"),
		// A random id of that replica's run, and nobody's person.
		field.UUID("holder", uuid.UUID{}),
	}
}
