package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
	"github.com/google/uuid"
)

// Trunk is a line: a set of telephone numbers at which rooms are, or were, reached. It stays when LiveKit's trunk with these
// numbers is replaced by another one. See server/telephony/lines.go.
type Trunk struct{ ent.Schema }

// Fields of the Trunk.
func (Trunk) Fields() []ent.Field {
	return []ent.Field{
		// LiveKit's id of the first trunk that the line had. PINs belong to it, so it never changes.
		field.String("id").NotEmpty().MaxLen(100).Immutable(),
		// How many rooms have a PIN on the line. To count them for each new room would read up to a million rows.
		field.Int64("room_count").Default(0),
		// Of releases that changed PINs by themselves when many wrong ones were tried: when that was last. Nothing reads it.
		field.Time("alarm_time").Optional().Nillable(),
		// The numbers, sorted, with a space between them, and LiveKit's id of the trunk that the line has now. Both are empty in
		// rows that a release before these columns wrote, until LiveKit's trunks are read: then id is that of the trunk.
		field.Text("numbers").Default(""),
		field.String("livekit_id").MaxLen(100).Default(""),
	}
}

// Annotations of the Trunk.
func (Trunk) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Checks(map[string]string{"trunks_room_count": "room_count >= 0"})}
}

// Pin is a PIN that a room has or had. A PIN that a room lost rests: no room gets it for a year, since people still have it
// in their mail.
type Pin struct{ ent.Schema }

// Fields of the Pin.
func (Pin) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		// The line. No foreign key: PINs are kept when their line's trunk has left the settings.
		field.String("trunk_id").NotEmpty().MaxLen(100).Immutable(),
		field.String("pin").NotEmpty().MaxLen(16).Sensitive().Immutable(),
		// The room that it opens. Null: none any more. A room has one PIN at most.
		field.UUID("room_id", uuid.UUID{}).Optional().Nillable().Unique(),
		// Until when it rests. Null: it has a room, or the room was deleted and the sweep has not seen that yet.
		field.Time("rest_until").Optional().Nillable(),
		createTimeField(),
	}
}

// Indexes of the Pin. The first decides who gets a PIN; nobody looks beforehand whether it is free.
func (Pin) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("trunk_id", "pin").Unique(),
		index.Fields("rest_until"),
		// Finds the PINs whose room was deleted.
		index.Fields("create_time").StorageKey("pin_left_behind").
			Annotations(entsql.IndexWhere("room_id IS NULL AND rest_until IS NULL")),
	}
}

// Edges of the Pin.
func (Pin) Edges() []ent.Edge {
	return []ent.Edge{edge.From("room", Room.Type).Ref("pin").Field("room_id").Unique()}
}

// DispatchRule is the dispatch rule that LiveKit was told for a room, and the lease of the server that is changing it.
//
// Its id is that of the room. There is no foreign key: the rule of a room that was deleted must still be found.
type DispatchRule struct{ ent.Schema }

// Fields of the DispatchRule.
func (DispatchRule) Fields() []ent.Field {
	return []ent.Field{
		field.UUID("id", uuid.UUID{}).Immutable(),
		// LiveKit's id of the rule. Empty: the room cannot be dialled.
		field.String("rule_id").MaxLen(100).Default(""),
		// What the rule says: LiveKit's id of the trunk, the row of the PIN, and whether callers wait in the lobby.
		field.String("trunk_id").MaxLen(100).Default(""),
		field.UUID("pin_id", uuid.UUID{}).Optional().Nillable(),
		field.Bool("held").Default(false),
		// Whether LiveKit may have another rule: it did not answer, or the server died during the call. Then LiveKit is asked
		// for its rules.
		field.Bool("doubtful").Default(false),
		// The holder of the lease for changing the rule, and when the lease ends. See server/telephony/lease.go.
		field.UUID("lease", uuid.UUID{}).Optional().Nillable(),
		field.Time("lease_until").Optional().Nillable(),
	}
}

// Indexes of the DispatchRule.
func (DispatchRule) Indexes() []ent.Index {
	return []ent.Index{index.Fields("doubtful").Annotations(entsql.IndexWhere("rule_id <> '' OR doubtful"))}
}
