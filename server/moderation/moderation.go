// Package moderation owns what was decided about people in meetings: their names, what they may do, and that they have to
// stay out. Whoever makes a connection, or changes a live one, asks it first.
//
// Rows are about an account, on all its devices, or about one participant identity. All but a block counts in the meeting in
// which it was decided, and in no later one. They are changed with the room locked, so that two hosts do not undo each
// other. It does not make LiveKit follow and does not decide who may moderate; it fails as the database does.
package moderation

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"entgo.io/ent/dialect/sql"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/participantstate"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
)

// ErrBlocked is somebody whom a host put out.
var ErrBlocked = fault.New(connect.CodePermissionDenied, usherv1.ErrorReason_ERROR_REASON_PARTICIPANT_BLOCKED,
	"a host removed you from the meeting")

// keep is how long what was decided for a meeting is kept, since it was last changed: longer than meetings last.
const keep = 7 * 24 * time.Hour

// State sums up the decisions that apply to one participant.
type State struct {
	// Name replaces the display name; empty for no change.
	Name string
	// NameByHost is true of a name that a host gave.
	NameByHost bool
	// RestrictSources is true when Sources, and not the room, say what may be published.
	RestrictSources bool
	Sources         []usherv1.TrackSource
	// NoSubscribe is true of somebody who may not see and hear others.
	NoSubscribe bool
	// Blocked is true of somebody who has to stay out.
	Blocked bool
}

// Who is whom a decision is about.
type Who struct {
	// User is the account, on all its devices. uuid.Nil: there is none, so the decision is about the identity.
	User     uuid.UUID
	Identity string
	// DeviceOnly has the decision be about the identity, whether or not there is an account.
	DeviceOnly bool
}

// subject names whom a row is about.
func (w Who) subject() string {
	if w.User == uuid.Nil || w.DeviceOnly {
		return w.Identity
	}
	return "user:" + w.User.String()
}

// column is the name under which [Select] selects.
const column = "moderated"

// Select adds to a query of rooms whether there are any decisions, so that those who enter an ordinary room need no further
// statement.
func Select() predicate.Room {
	return func(s *sql.Selector) {
		t := sql.Table(participantstate.Table).As("decisions")
		ofRoom := sql.ColumnsEQ(t.C(participantstate.FieldRoomID), s.C(room.FieldID))
		s.AppendSelectExprAs(sql.Dialect(s.Dialect()).Select(sql.Count("*")).From(t).Where(ofRoom), column)
	}
}

// anyIn reports whether there are decisions in a room that was found with [Select]. Of any other room nobody knows.
func anyIn(r *ent.Room) bool {
	n, err := r.Value(column)
	if err != nil {
		return true
	}
	count, ok := n.(int64)
	return !ok || count > 0
}

// States are the decisions that count in a room.
type States struct {
	rows    map[string]*ent.ParticipantState
	meeting int64
	at      time.Time
}

// Load reads the decisions in a room. It asks nothing when r was found with [Select] and there are none.
func Load(ctx context.Context, db *ent.Client, r *ent.Room) (States, error) {
	s := States{meeting: r.Meeting, at: time.Now()}
	if !anyIn(r) {
		return s, nil
	}
	rows, err := db.ParticipantState.Query().Where(participantstate.RoomID(r.ID)).All(ctx)
	if err != nil {
		return s, fmt.Errorf("find decisions in %s: %w", r.ID, err)
	}
	s.rows = make(map[string]*ent.ParticipantState, len(rows))
	for _, row := range rows {
		s.rows[row.Subject] = row
	}
	return s, nil
}

// Of returns the decisions that apply to a participant, whose account is uuid.Nil without one. What a host decided about the
// account goes before what is known of the identity.
func (s States) Of(identity string, user uuid.UUID) State {
	var state State
	for _, subject := range []string{identity, Who{User: user, Identity: identity}.subject()} {
		row := s.rows[subject]
		if row == nil {
			continue
		}
		state.Blocked = state.Blocked || row.BlockUntil != nil && row.BlockUntil.After(s.at)
		if row.Meeting != s.meeting {
			continue
		}
		if row.DisplayName != nil && (row.NameByHost || !state.NameByHost) {
			state.Name, state.NameByHost = *row.DisplayName, row.NameByHost
		}
		if row.RestrictSources {
			state.RestrictSources, state.Sources = true, sources(row.Sources)
		}
		state.NoSubscribe = state.NoSubscribe || !row.CanSubscribe
	}
	return state
}

func sources(numbers []int32) []usherv1.TrackSource {
	out := make([]usherv1.TrackSource, len(numbers))
	for i, n := range numbers {
		out[i] = usherv1.TrackSource(n)
	}
	return out
}

// Row changes the stored decisions about one subject.
type Row struct{ *ent.ParticipantState }

// SetName gives a name.
func (r Row) SetName(name string, byHost bool) { r.DisplayName, r.NameByHost = &name, byHost }

// SetSources says what may be published, whatever the room allows.
func (r Row) SetSources(list []usherv1.TrackSource) {
	r.RestrictSources, r.Sources = true, make([]int32, len(list))
	for i, source := range list {
		r.Sources[i] = int32(source)
	}
}

// ClearSources leaves it to the room.
func (r Row) ClearSources() { r.RestrictSources, r.Sources = false, nil }

// Block keeps the subject out until a time, or longer if that was decided before.
func (r Row) Block(until time.Time) {
	if r.BlockUntil == nil || r.BlockUntil.Before(until) {
		r.BlockUntil = &until
	}
}

// Edit changes what is decided about somebody. r must be locked and read since, in the same transaction.
func Edit(ctx context.Context, tx *ent.Client, r *ent.Room, who Who, change func(Row)) error {
	row, err := tx.ParticipantState.Query().
		Where(participantstate.RoomID(r.ID), participantstate.Subject(who.subject())).Only(ctx)
	if err != nil && !ent.IsNotFound(err) {
		return fmt.Errorf("find decision in %s: %w", r.ID, err)
	}
	found := err == nil
	switch {
	case !found:
		row = &ent.ParticipantState{CanSubscribe: true}
	case row.Meeting != r.Meeting: // only the block is left of what an earlier meeting knew
		row = &ent.ParticipantState{ID: row.ID, CanSubscribe: true, BlockUntil: row.BlockUntil}
	}
	change(Row{row})
	row.Meeting, row.ExpireTime = r.Meeting, time.Now().UTC().Add(keep).Truncate(time.Microsecond)
	if row.BlockUntil != nil && row.BlockUntil.After(row.ExpireTime) {
		row.ExpireTime = *row.BlockUntil
	}
	if found {
		err = update(ctx, tx, row)
	} else {
		err = insert(ctx, tx, r.ID, who, row)
	}
	if err != nil {
		return fmt.Errorf("store decision in %s: %w", r.ID, err)
	}
	return nil
}

// Inherit copies the decisions about somebody to another identity of theirs: blocks, and the restrictions of this meeting.
// Blocks go to the identity. Restrictions go to the account if there is one, where hosts change them. r must be locked and
// read since, in the same transaction.
func Inherit(ctx context.Context, tx *ent.Client, r *ent.Room, from, to Who) error {
	rows, err := tx.ParticipantState.Query().
		Where(participantstate.RoomID(r.ID), participantstate.SubjectIn(from.Identity, from.subject())).All(ctx)
	if err != nil {
		return fmt.Errorf("find decisions in %s: %w", r.ID, err)
	}
	for _, before := range rows {
		if before.BlockUntil != nil {
			device := Who{User: to.User, Identity: to.Identity, DeviceOnly: true}
			if err := Edit(ctx, tx, r, device, func(row Row) { row.Block(*before.BlockUntil) }); err != nil {
				return err
			}
		}
		if before.Meeting != r.Meeting || !before.RestrictSources && before.CanSubscribe {
			continue
		}
		err := Edit(ctx, tx, r, to, func(row Row) {
			if before.RestrictSources {
				row.RestrictSources, row.Sources = true, before.Sources
			}
			row.CanSubscribe = row.CanSubscribe && before.CanSubscribe
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func insert(ctx context.Context, tx *ent.Client, roomID uuid.UUID, who Who, row *ent.ParticipantState) error {
	create := tx.ParticipantState.Create().SetRoomID(roomID).SetSubject(who.subject()).SetMeeting(row.Meeting).
		SetNillableDisplayName(row.DisplayName).SetNameByHost(row.NameByHost).SetRestrictSources(row.RestrictSources).
		SetSources(row.Sources).SetCanSubscribe(row.CanSubscribe).
		SetNillableBlockUntil(row.BlockUntil).SetExpireTime(row.ExpireTime)
	if who.User != uuid.Nil {
		create.SetUserID(who.User)
	}
	return create.Exec(ctx)
}

func update(ctx context.Context, tx *ent.Client, row *ent.ParticipantState) error {
	change := tx.ParticipantState.UpdateOneID(row.ID).SetMeeting(row.Meeting).SetNameByHost(row.NameByHost).
		SetRestrictSources(row.RestrictSources).SetSources(row.Sources).SetCanSubscribe(row.CanSubscribe).
		SetNillableBlockUntil(row.BlockUntil).SetExpireTime(row.ExpireTime)
	if row.DisplayName == nil {
		change.ClearDisplayName()
	} else {
		change.SetDisplayName(*row.DisplayName)
	}
	return change.Exec(ctx)
}

// DeleteExpired deletes what can count no more, and returns how much.
func DeleteExpired(ctx context.Context, tx *ent.Client, now time.Time) (int, error) {
	n, err := tx.ParticipantState.Delete().Where(participantstate.ExpireTimeLT(now)).Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("delete decisions: %w", err)
	}
	return n, nil
}
