package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"
)

// APIToken is a token that Usher signed for a user. The token itself is not kept: its signature proves it, and this row
// says that it was not revoked.
type APIToken struct{ ent.Schema }

// Fields of the APIToken.
func (APIToken) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		field.UUID("user_id", uuid.UUID{}),
		// What the token is for, in the operator's words.
		field.String("name").MaxLen(100).Default(""),
		field.JSON("scopes", []string{}).Immutable(),
		createTimeField(),
		field.Time("expire_time").Immutable(),
		field.Time("revoke_time").Optional().Nillable(),
	}
}

// Indexes of the APIToken.
func (APIToken) Indexes() []ent.Index {
	return []ent.Index{index.Fields("user_id"), index.Fields("expire_time")}
}

// Edges of the APIToken.
func (APIToken) Edges() []ent.Edge {
	return []ent.Edge{edge.From("user", User.Type).Ref("api_tokens").Field("user_id").Unique().Required()}
}
