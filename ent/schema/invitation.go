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

// Invitation is somebody who is invited to a room by mail, with a personal link.
type Invitation struct{ ent.Schema }

// Fields of the Invitation.
func (Invitation) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		// No foreign key: the row outlives the room, because the recipient is told that it was deleted.
		field.UUID("room_id", uuid.UUID{}).Immutable(),
		// The name of the room when they were last invited, for the letter that says that the room is gone.
		field.String("room_name").MaxLen(2000),
		// Null when that account was deleted.
		field.UUID("inviter_id", uuid.UUID{}).Optional().Nillable(),
		// The mail address of the recipient.
		field.String("address").GoType(mailbox.Address("")).NotEmpty().MaxLen(1300).Sensitive(),
		// The room and the address while the link works, else null: nobody is invited to a room twice at the same time.
		field.String("open_key").MaxLen(1400).Optional().Nillable().Unique().Sensitive(),
		// The language that the request named for the recipient, and that of the inviter.
		field.String("language").MaxLen(35).Default(""),
		field.String("inviter_language").MaxLen(35).Default(""),
		field.Int32("status").GoType(usherv1.InvitationStatus(0)),
		field.Int32("response").GoType(usherv1.Attendance(0)).Default(0),
		field.Bool("skip_lobby").Default(false),
		field.String("message").MaxLen(8000).Default(""),
		field.Time("start_time").Optional().Nillable(),
		field.Time("end_time").Optional().Nillable(),
		field.String("timezone").MaxLen(64).Default(""),
		field.String("recurrence").MaxLen(500).Default(""),
		// The SEQUENCE of the calendar entry: grows with every letter that changes the entry.
		field.Int("sequence").Default(0),
		// SHA-256 of the token, and the token sealed with a key of the instance's secret, for the letters to come. Null once
		// the link has ended.
		field.Bytes("token_hash").MaxLen(32).Unique(),
		field.Bytes("token_sealed").MaxLen(200).Optional().Nillable(),
		// The participant identity of the last person who came in with the link without waiting, or of the first who will. It
		// says which account that person has, so another account that comes with the link gets another identity.
		field.String("identity").MaxLen(200),
		field.Int32("admissions").Default(0),
		field.Time("send_time").Optional().Nillable(),
		field.Time("expire_time"),
		// When it was revoked. Null otherwise, and in rows that were revoked before this column existed.
		field.Time("revoke_time").Optional().Nillable(),
		createTimeField(),
		field.Time("update_time").Default(Now).UpdateDefault(Now),
	}
}

// Indexes of the Invitation.
func (Invitation) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("room_id", "create_time", "id"),
		index.Fields("inviter_id"),
		index.Fields("address"),
		index.Fields("expire_time"),
	}
}

// Edges of the Invitation.
func (Invitation) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("inviter", User.Type).Ref("invitations").Field("inviter_id").Unique(),
		edge.To("letters", InvitationLetter.Type).Annotations(entsql.OnDelete(entsql.Cascade)),
	}
}

// Annotations of the Invitation.
func (Invitation) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Checks(map[string]string{
		"invitations_status":   "status BETWEEN 1 AND 5",
		"invitations_response": "response BETWEEN 0 AND 3",
		"invitations_schedule": "((start_time IS NULL) = (end_time IS NULL))",
		"invitations_open":     "((open_key IS NULL) = (status IN (4, 5)))",
	})}
}

// InvitationLetter is a letter about an invitation that is to be sent, or how that ended. Its content is written when it is
// sent.
type InvitationLetter struct{ ent.Schema }

// Fields of the InvitationLetter.
func (InvitationLetter) Fields() []ent.Field {
	return []ent.Field{
		// Also the Message-ID, so that a letter that was sent twice is recognised.
		idField(),
		field.UUID("invitation_id", uuid.UUID{}).Immutable(),
		field.Enum("kind").Values("invited", "changed", "cancelled").Immutable(),
		// The SEQUENCE of the calendar entry in this letter.
		field.Int("sequence").Immutable(),
		// queued: to be sent. taken: by a mail server. refused: for good. late: not taken within a day. dropped: nobody is
		// to have it any more.
		field.Enum("state").Values("queued", "taken", "refused", "late", "dropped").Default("queued"),
		// The mail server's code of a refusal.
		field.Int("code").Default(0),
		createTimeField(),
		field.Time("end_time").Optional().Nillable(),
	}
}

// Indexes of the InvitationLetter.
func (InvitationLetter) Indexes() []ent.Index {
	return []ent.Index{index.Fields("invitation_id", "state")}
}

// Edges of the InvitationLetter.
func (InvitationLetter) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("invitation", Invitation.Type).Ref("letters").Field("invitation_id").Unique().Required().Immutable(),
	}
}

// MailSuppression is an address that gets no invitations any more, because its owner asked for that.
type MailSuppression struct{ ent.Schema }

// Fields of the MailSuppression.
func (MailSuppression) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		// HMAC-SHA256 of the address in lower case, with a key of the instance's secret: somebody who reads the
		// database cannot find out addresses by trying them.
		field.Bytes("address_hash").MaxLen(32).Unique().Immutable(),
		createTimeField(),
	}
}

// MailQuota counts the letters of one day: those that one user caused, or all of the instance.
type MailQuota struct{ ent.Schema }

// Fields of the MailQuota.
func (MailQuota) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		// "instance", or "user:" and an id.
		field.String("key").MaxLen(60).Immutable(),
		// The day, in UTC: 2026-11-22.
		field.String("day").MaxLen(10).Immutable(),
		field.Int("used").Default(0),
	}
}

// Indexes of the MailQuota.
func (MailQuota) Indexes() []ent.Index {
	return []ent.Index{index.Fields("key", "day").Unique(), index.Fields("day")}
}
