package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// SchemaVersion is written by each migration: which Usher may run on the schema that it makes.
type SchemaVersion struct{ ent.Schema }

// Fields of the SchemaVersion.
func (SchemaVersion) Fields() []ent.Field {
	return []ent.Field{
		// The migration's version.
		field.Int64("id").Immutable(),
		// The oldest Usher that runs on this schema, for example "0.1.0".
		field.String("oldest_usher").Immutable(),
	}
}
