package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/mailbox"
)

// User is a person with an account, made at the first sign-in.
type User struct{ ent.Schema }

// Fields of the User.
func (User) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		// The OpenID provider's name for the person, 1 to 255 characters (the limit here is in bytes). Empty only after
		// `usher user merge`.
		field.String("sub").MaxLen(1020).Optional().Nillable().Unique(),
		// Not unique: a provider may give two people one address.
		field.String("email").GoType(mailbox.Address("")).MaxLen(254).Default(""),
		// Only a verified address claims pending memberships and matches an account at sign-in.
		field.Bool("email_verified").Default(false),
		field.String("full_name").MaxLen(400).Default(""),
		field.String("short_name").MaxLen(400).Default(""),
		field.String("language").MaxLen(35).Default(""),
		field.String("timezone").MaxLen(64).Default(""),
		// 0: the instance's default.
		field.Int32("default_access_level").GoType(usherv1.AccessLevel(0)).Default(0),
		field.String("default_configuration").
			GoType(&usherv1.RoomConfiguration{}).
			ValueScanner(roomConfiguration).
			Optional(),
		// An inactive user is refused everywhere.
		field.Bool("active").Default(true),
		// When they were last deactivated. What was issued before it stays refused after they became active again.
		field.Time("deactivate_time").Optional().Nillable(),
		createTimeField(),
		field.Time("update_time").Default(Now).UpdateDefault(Now),
	}
}

// Indexes of the User.
func (User) Indexes() []ent.Index {
	return []ent.Index{index.Fields("email")}
}

// Edges of the User.
func (User) Edges() []ent.Edge {
	return []ent.Edge{
		edge.To("members", Member.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
		edge.To("invitations", Invitation.Type).Annotations(entsql.OnDelete(entsql.SetNull)),
		edge.To("api_tokens", APIToken.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
		edge.To("participant_states", ParticipantState.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
		edge.To("recording_accesses", RecordingAccess.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
	}
}
