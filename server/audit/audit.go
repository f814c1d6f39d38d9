// Package audit owns the record of who did what to a room and to the people in it.
//
// An event is written in the transaction that does what it tells about: there is none without the other. Events hold ids
// only, never names, addresses or anything that people typed, and are never changed. They outlive the room and the accounts
// that they name, and are deleted by age alone.
//
// It does not decide who may read them, and does not keep what was done elsewhere, such as signing in. It fails only as the
// database does, and then nothing was done either.
package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/auditevent"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/server/auth"
)

// Action is the stable name of something that can be done. The contract lists them: programs read them.
type Action string

// What can be done.
const (
	// RoomCreated has no target.
	RoomCreated Action = "room.created"
	// RoomUpdated says in its detail which fields changed, and the access level if that is one of them.
	RoomUpdated Action = "room.updated"
	// RoomDeleted is the last event of its room. Nobody reads it through the API, which no longer finds the room.
	RoomDeleted Action = "room.deleted"
	// MemberAdded has the role.
	MemberAdded Action = "member.added"
	// MemberRoleChanged has the role, and what it was.
	MemberRoleChanged Action = "member.role_changed"
	// MemberRemoved has the role that was taken away.
	MemberRemoved Action = "member.removed"
	// MemberClaimed is somebody who was added by e-mail and has come: the target is their account, and the detail has the
	// member that earlier events name.
	MemberClaimed Action = "member.claimed"
	// MeetingEnded is that of a host, for everybody. The detail has the meeting's number, and whether one went on.
	MeetingEnded Action = "meeting.ended"
	// EntryAdmitted and EntryDenied are decisions of hosts about somebody in the lobby. The detail has the identity that
	// they have in the meeting, or LiveKit's id of a phone call, the account if there is one, for how many seconds they were
	// asked to stay out, and when it was decided, in microseconds since 1970. Whom a change of the room lets in has none:
	// that change has one.
	EntryAdmitted Action = "entry.admitted"
	EntryDenied   Action = "entry.denied"
	// ParticipantRemoved says in its detail for how many seconds they stay out, and which account it is.
	ParticipantRemoved Action = "participant.removed"
	// ParticipantRenamed does not say what the name is.
	ParticipantRenamed Action = "participant.renamed"
	// RecordingStarted has the recording as target, and its mode.
	RecordingStarted Action = "recording.started"
	// RecordingStopped has the recording as target.
	RecordingStopped Action = "recording.stopped"
	// RecordingDeleted has the recording as target.
	RecordingDeleted Action = "recording.deleted"
	// RecordingKept says in its detail whether it is kept for ever.
	RecordingKept Action = "recording.kept"
	// RecordingShared has the recording as target, and says to whom which role was given.
	RecordingShared Action = "recording.shared"
	// RecordingUnshared has the recording as target, and says from whom access was taken.
	RecordingUnshared Action = "recording.unshared"
	// ParticipantRestricted says which fields of what they may do were set.
	ParticipantRestricted Action = "participant.restricted"
	// InvitationCreated is of each person who was invited, or invited again.
	InvitationCreated Action = "invitation.created"
	// InvitationUpdated is of a new schedule or message.
	InvitationUpdated Action = "invitation.updated"
	// InvitationResent is of a letter that was sent again.
	InvitationResent Action = "invitation.resent"
	// InvitationRevoked is of a link that was withdrawn.
	InvitationRevoked Action = "invitation.revoked"
	// InvitationUsed is of a link that let its holder in without waiting. The detail says how often it has.
	InvitationUsed Action = "invitation.used"
	// PINRotated says in its detail why, unless somebody asked for it. It has no PIN.
	PINRotated Action = "pin.rotated"
)

// Event is something that was done.
type Event struct {
	Room   uuid.UUID
	Action Action
	// Target is whom it was done to: see [User] and [Member]. Empty: the room itself.
	Target string
	// Detail is key=value, separated by spaces. Ids, numbers and names of the contract only.
	Detail string
}

// User is the target of what is done to somebody with an account.
func User(id uuid.UUID) string { return "user:" + id.String() }

// Member is the target of what is done to a membership that nobody has claimed.
func Member(id uuid.UUID) string { return "member:" + id.String() }

// Invitation is the target of what is done to somebody's invitation.
func Invitation(id uuid.UUID) string { return "invitation:" + id.String() }

// Recording is the target of what is done to a recording.
func Recording(id uuid.UUID) string { return "recording:" + id.String() }

// Participant is the target of what is done to somebody in a meeting.
func Participant(identity string) string { return "participant:" + identity }

// Entry is the target of what is decided about somebody in the lobby.
func Entry(id string) string { return "entry:" + id }

// Record writes an event in the transaction that does what it tells about, done by the caller of ctx. The room must be
// locked, or made in this transaction, so that the events of one room come in the order in which they took effect.
func Record(ctx context.Context, tx *ent.Client, e Event) error {
	caller := auth.FromContext(ctx)
	create := tx.AuditEvent.Create().SetRoomID(e.Room).SetAction(string(e.Action)).SetTarget(e.Target)
	if id, ok := caller.UserID(); ok {
		create.SetActorUserID(id).SetDetail(e.Detail)
	} else {
		create.SetDetail(strings.TrimSpace(by(caller) + " " + e.Detail))
	}
	if err := create.Exec(ctx); err != nil {
		return fmt.Errorf("record %s in %s: %w", e.Action, e.Room, err)
	}
	return nil
}

// burst is how long what the same caller does again to the same target belongs to the event before.
const burst = 10 * time.Second

// RecordBurst is [Record] for what tells no more when it is done again: of what one caller does to one target within seconds
// it records the first.
func RecordBurst(ctx context.Context, tx *ent.Client, e Event) error {
	same := []predicate.AuditEvent{
		auditevent.RoomID(e.Room), auditevent.CreateTimeGT(time.Now().UTC().Add(-burst)), auditevent.Action(string(e.Action)),
		auditevent.Target(e.Target),
	}
	caller := auth.FromContext(ctx)
	if id, ok := caller.UserID(); ok {
		same = append(same, auditevent.ActorUserID(id), auditevent.Detail(e.Detail))
	} else {
		same = append(same, auditevent.ActorUserIDIsNil(), auditevent.Detail(strings.TrimSpace(by(caller)+" "+e.Detail)))
	}
	recorded, err := tx.AuditEvent.Query().Where(same...).Exist(ctx)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", e.Action, e.Room, err)
	}
	if recorded {
		return nil
	}
	return Record(ctx, tx, e)
}

// by says who did what no user did. Networks are no ids, so a stranger is just that.
func by(c *auth.Caller) string {
	who := "anonymous"
	if c.Kind != auth.Anonymous {
		who = c.Key()
	}
	return "by=" + who
}

// DeleteBefore deletes events that are older, and returns how many.
func DeleteBefore(ctx context.Context, tx *ent.Client, before time.Time) (int, error) {
	n, err := tx.AuditEvent.Delete().Where(auditevent.CreateTimeLT(before)).Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("delete audit events: %w", err)
	}
	return n, nil
}
