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

// Recording is one recording of a meeting. server/recordings says which status follows which.
type Recording struct{ ent.Schema }

// Fields of the Recording.
func (Recording) Fields() []ent.Field {
	return []ent.Field{
		// Also in the name of the file, by which LiveKit's egress is found again.
		idField(),
		// No foreign key: the file of a room that was deleted has to be deleted after it.
		field.UUID("room_id", uuid.UUID{}).Immutable(),
		// What the room was called when recording began. Emptied when the recording is deleted.
		field.String("room_name").MaxLen(2000).Default(""),
		field.Int32("mode").GoType(usherv1.RecordingMode(0)).Immutable(),
		field.Int32("status").GoType(usherv1.RecordingStatus(0)),
		// BCP 47 tag of what is said. Empty: not known.
		field.String("language").MaxLen(35).Default("").Immutable(),
		// Where the file is in the storage: a later change of the folder leaves it there.
		field.String("object_key").NotEmpty().MaxLen(500).Unique().Immutable(),
		// LiveKit's id of the egress. Null until LiveKit answered.
		field.String("egress_id").MaxLen(100).Optional().Nillable(),
		// Of the file, as the storage says.
		field.Int64("size_bytes").Default(0),
		field.Int64("duration_ms").Default(0),
		// 0: nothing failed.
		field.Int32("failure_reason").GoType(usherv1.RecordingFailureReason(0)).Default(0),
		// What LiveKit said.
		field.String("failure_detail").MaxLen(2000).Default(""),
		// Never expires.
		field.Bool("keep").Default(false),
		createTimeField(),
		field.Time("start_time").Optional().Nillable(),
		// When it ended, or when it was first asked to: then the recorder is stopped until it has.
		field.Time("stop_time").Optional().Nillable(),
		field.Time("save_time").Optional().Nillable(),
		// When it reached a final status.
		field.Time("end_time").Optional().Nillable(),
		// Since when the recorder shows no sign of life. Null: it does, or it has ended.
		field.Time("lost_time").Optional().Nillable(),
		// How many looks in a row showed none. These columns may be null, so that SQLite adds them without a new table.
		field.Int32("lost_looks").Optional(),
		// Whether LiveKit has listed the recorder in the meeting: only then its absence means something.
		field.Bool("seen_in_meeting").Optional(),
		// Whether the recorder died, or was shut down, while it recorded: the end may be missing, or silent and black.
		field.Bool("interrupted").Optional(),
		// When it was deleted: nobody sees it any more. The row goes when the file has.
		field.Time("delete_time").Optional().Nillable(),
		// Since when the file has to go. Null: it may stay, or it is gone.
		field.Time("purge_time").Optional().Nillable(),
	}
}

// Indexes of the Recording. The unique one allows one recording at a time in a room: those that are INITIATED (1), ACTIVE
// (2) and FAILED_TO_STOP (8). The others find what is not settled.
func (Recording) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("room_id").Unique().StorageKey("recordings_one_per_room").
			Annotations(entsql.IndexWhere("status IN (1, 2, 8)")),
		index.Fields("status"),
		index.Fields("purge_time"),
		index.Fields("room_id", "create_time"),
	}
}

// Edges of the Recording.
func (Recording) Edges() []ent.Edge {
	return []ent.Edge{edge.To("accesses", RecordingAccess.Type).Annotations(entsql.OnDelete(entsql.Cascade))}
}

// Annotations of the Recording.
func (Recording) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Checks(map[string]string{
		"recordings_mode":   "mode BETWEEN 1 AND 2",
		"recordings_status": "status BETWEEN 1 AND 9",
	})}
}

// RecordingAccess is somebody's role in a recording: a user's, or, while pending, that of a verified e-mail address.
type RecordingAccess struct{ ent.Schema }

// Fields of the RecordingAccess.
func (RecordingAccess) Fields() []ent.Field {
	return []ent.Field{
		idField(),
		field.UUID("recording_id", uuid.UUID{}).Immutable(),
		// Null while pending.
		field.UUID("user_id", uuid.UUID{}).Optional().Nillable(),
		// Set only while pending: afterwards the address is the user's.
		field.String("email").GoType(mailbox.Address("")).MaxLen(254).Optional().Nillable(),
		field.Int32("role").GoType(usherv1.Role(0)),
		// When they were told that the file is there. Null: they were not.
		field.Time("notify_time").Optional().Nillable(),
		createTimeField(),
	}
}

// Indexes of the RecordingAccess. The unique ones make two answers to "which role" impossible.
func (RecordingAccess) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("recording_id", "user_id").Unique(),
		index.Fields("recording_id", "email").Unique(),
		index.Fields("user_id"),
		index.Fields("email"),
	}
}

// Edges of the RecordingAccess.
func (RecordingAccess) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("recording", Recording.Type).Ref("accesses").Field("recording_id").Unique().Required().Immutable(),
		edge.From("user", User.Type).Ref("recording_accesses").Field("user_id").Unique(),
	}
}

// Annotations of the RecordingAccess.
func (RecordingAccess) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Checks(map[string]string{
		"recording_accesses_role":    "role BETWEEN 1 AND 3",
		"recording_accesses_pending": "((user_id IS NULL) <> (email IS NULL))",
	})}
}
