package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/auditevent"
	"github.com/usher-meet/usher/gen/ent/idempotencykey"
	"github.com/usher-meet/usher/gen/ent/livetask"
	"github.com/usher-meet/usher/gen/ent/participantstate"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server/auth"
)

// PersonalData is everything that is stored about one person, for [Lifecycle.Export]. Tokens and hashes are left out: they
// say nothing about the person and are keys to the account.
type PersonalData struct {
	User        ExportedUser         `json:"user"`
	Memberships []ExportedMembership `json:"memberships"`
	APITokens   []ExportedAPIToken   `json:"api_tokens"`
	// Sessions are the times of the sign-ins that have not ended.
	Sessions []time.Time `json:"sessions"`
	// Requests are the creations whose answers are kept for repeated calls.
	Requests []ExportedRequest `json:"requests"`
	// Removals are the orders to remove the person from meetings that are still kept.
	Removals []ExportedRemoval `json:"removals"`
	// Audit are the recorded events in rooms by and about the person, oldest first.
	Audit []ExportedAudit `json:"audit"`
	// Decisions are those of hosts about the person in meetings, and the names that they gave themselves there.
	Decisions []ExportedDecision `json:"decisions"`
	// Recordings are those to which the person has access.
	Recordings []ExportedRecording `json:"recordings"`
	// Invitations are those that the person wrote or got, and Letters how many letters about them were counted a day.
	Invitations []ExportedInvitation  `json:"invitations"`
	Letters     []ExportedLetterCount `json:"letters"`
}

// ExportedUser is an account.
type ExportedUser struct {
	ID                   uuid.UUID       `json:"id"`
	Sub                  string          `json:"sub"`
	Email                string          `json:"email"`
	EmailVerified        bool            `json:"email_verified"`
	FullName             string          `json:"full_name"`
	ShortName            string          `json:"short_name"`
	Language             string          `json:"language"`
	Timezone             string          `json:"timezone"`
	DefaultAccessLevel   string          `json:"default_access_level"`
	DefaultConfiguration json.RawMessage `json:"default_configuration,omitempty"`
	Active               bool            `json:"active"`
	DeactivateTime       *time.Time      `json:"deactivate_time,omitempty"`
	CreateTime           time.Time       `json:"create_time"`
	UpdateTime           time.Time       `json:"update_time"`
}

// ExportedMembership is a role in a room.
type ExportedMembership struct {
	RoomID   uuid.UUID `json:"room_id"`
	RoomName string    `json:"room_name"`
	RoomSlug string    `json:"room_slug"`
	Role     string    `json:"role"`
	// Pending is true while it is known by the address only.
	Pending    bool      `json:"pending"`
	CreateTime time.Time `json:"create_time"`
}

// ExportedAPIToken describes an API token without its secret.
type ExportedAPIToken struct {
	ID         uuid.UUID  `json:"id"`
	Name       string     `json:"name"`
	Scopes     []string   `json:"scopes"`
	CreateTime time.Time  `json:"create_time"`
	ExpireTime time.Time  `json:"expire_time"`
	RevokeTime *time.Time `json:"revoke_time,omitempty"`
}

// ExportedRequest is a creation whose answer is kept.
type ExportedRequest struct {
	RequestID  uuid.UUID `json:"request_id"`
	CreateTime time.Time `json:"create_time"`
}

// ExportedRemoval is an order to remove the person from meetings.
type ExportedRemoval struct {
	CreateTime time.Time `json:"create_time"`
	KeepUntil  time.Time `json:"keep_until"`
}

// ExportedAudit is something that the person did in a room, or that was done to them.
type ExportedAudit struct {
	CreateTime time.Time `json:"create_time"`
	RoomID     uuid.UUID `json:"room_id"`
	Action     string    `json:"action"`
	// Actor is true when they did it, and Target when it was done to them: both for what they did to themselves.
	Actor  bool   `json:"actor"`
	Target bool   `json:"target"`
	Detail string `json:"detail"`
}

// ExportedDecision holds the decisions about the person in meetings of a room.
type ExportedDecision struct {
	RoomID      uuid.UUID  `json:"room_id"`
	DisplayName string     `json:"display_name,omitempty"`
	ByHost      bool       `json:"name_by_host"`
	Restricted  bool       `json:"restricted"`
	BlockUntil  *time.Time `json:"block_until,omitempty"`
	ExpireTime  time.Time  `json:"expire_time"`
}

// Export returns everything that is stored about a user. It fails with [auth.ErrNoUser] or fault.ErrRedis.
func (l *Lifecycle) Export(ctx context.Context, id uuid.UUID) (*PersonalData, error) {
	u, err := l.DB.Read.User.Query().Where(user.ID(id)).WithAPITokens().Only(ctx)
	if ent.IsNotFound(err) {
		return nil, auth.ErrNoUser
	}
	if err != nil {
		return nil, fmt.Errorf("find user: %w", err)
	}
	data := &PersonalData{APITokens: []ExportedAPIToken{}, Requests: []ExportedRequest{}, Removals: []ExportedRemoval{}}
	if data.User, err = exportUser(u); err != nil {
		return nil, err
	}
	for _, t := range u.Edges.APITokens {
		data.APITokens = append(data.APITokens, ExportedAPIToken{
			ID: t.ID, Name: t.Name, Scopes: t.Scopes, CreateTime: t.CreateTime, ExpireTime: t.ExpireTime, RevokeTime: t.RevokeTime,
		})
	}
	if data.Memberships, err = l.exportMemberships(ctx, u); err != nil {
		return nil, err
	}
	if data.Sessions, err = l.Sessions.List(ctx, id); err != nil {
		return nil, err
	}
	if data.Audit, err = l.exportAudit(ctx, u); err != nil {
		return nil, err
	}
	if data.Decisions, err = l.exportDecisions(ctx, u); err != nil {
		return nil, err
	}
	if data.Recordings, err = l.exportRecordings(ctx, u); err != nil {
		return nil, err
	}
	if data.Invitations, err = l.exportInvitations(ctx, u); err != nil {
		return nil, err
	}
	if data.Letters, err = l.exportLetterCounts(ctx, u); err != nil {
		return nil, err
	}
	return data, l.exportCalls(ctx, u, data)
}

func exportUser(u *ent.User) (ExportedUser, error) {
	e := ExportedUser{
		ID: u.ID, Email: string(u.Email), EmailVerified: u.EmailVerified, FullName: u.FullName, ShortName: u.ShortName,
		Language: u.Language, Timezone: u.Timezone, DefaultAccessLevel: u.DefaultAccessLevel.String(), Active: u.Active,
		DeactivateTime: u.DeactivateTime, CreateTime: u.CreateTime, UpdateTime: u.UpdateTime,
	}
	if u.Sub != nil {
		e.Sub = *u.Sub
	}
	if u.DefaultConfiguration == nil {
		return e, nil
	}
	configuration, err := protojson.Marshal(u.DefaultConfiguration)
	if err != nil {
		return e, fmt.Errorf("encode room configuration: %w", err)
	}
	e.DefaultConfiguration = configuration
	return e, nil
}

func (l *Lifecycle) exportMemberships(ctx context.Context, u *ent.User) ([]ExportedMembership, error) {
	rows, err := l.DB.Read.Member.Query().Where(auth.Mine(u)).WithRoom().Order(ent.Asc("create_time", "id")).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find members: %w", err)
	}
	memberships := make([]ExportedMembership, 0, len(rows))
	for _, m := range rows {
		memberships = append(memberships, ExportedMembership{
			RoomID: m.RoomID, RoomName: m.Edges.Room.Name, RoomSlug: m.Edges.Room.Slug, Role: auth.RoleName(m.Role),
			Pending: m.UserID == nil, CreateTime: m.CreateTime,
		})
	}
	return memberships, nil
}

func (l *Lifecycle) exportAudit(ctx context.Context, u *ent.User) ([]ExportedAudit, error) {
	caller := auth.Caller{Kind: auth.User, User: u}
	// What is done to somebody in a meeting or a lobby has that as its target, and names the account beside.
	named := "user=" + u.ID.String()
	rows, err := l.DB.Read.AuditEvent.Query().
		Where(auditevent.Or(auditevent.ActorUserID(u.ID), auditevent.Target(caller.Key()), auditevent.DetailContains(named))).
		Order(auditevent.ByID()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find audit events: %w", err)
	}
	events := make([]ExportedAudit, 0, len(rows))
	for _, e := range rows {
		events = append(events, ExportedAudit{
			CreateTime: e.CreateTime, RoomID: e.RoomID, Action: e.Action, Detail: e.Detail,
			Actor: e.ActorUserID != nil &&
				*e.ActorUserID == u.ID, Target: e.Target == caller.Key() || strings.Contains(e.Detail, named),
		})
	}
	return events, nil
}

func (l *Lifecycle) exportDecisions(ctx context.Context, u *ent.User) ([]ExportedDecision, error) {
	rows, err := l.DB.Read.ParticipantState.Query().Where(participantstate.UserID(u.ID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find decisions: %w", err)
	}
	decisions := make([]ExportedDecision, 0, len(rows))
	for _, r := range rows {
		e := ExportedDecision{
			RoomID: r.RoomID, ByHost: r.NameByHost, Restricted: r.RestrictSources || !r.CanSubscribe,
			BlockUntil: r.BlockUntil, ExpireTime: r.ExpireTime,
		}
		if r.DisplayName != nil {
			e.DisplayName = *r.DisplayName
		}
		decisions = append(decisions, e)
	}
	return decisions, nil
}

func (l *Lifecycle) exportCalls(ctx context.Context, u *ent.User, data *PersonalData) error {
	caller := auth.Caller{Kind: auth.User, User: u}
	requests, err := l.DB.Read.IdempotencyKey.Query().Where(idempotencykey.Caller(caller.Key())).All(ctx)
	if err != nil {
		return fmt.Errorf("find idempotency keys: %w", err)
	}
	for _, r := range requests {
		data.Requests = append(data.Requests, ExportedRequest{RequestID: r.RequestID, CreateTime: r.CreateTime})
	}
	removals, err := l.DB.Read.LiveTask.Query().Where(livetask.UserID(u.ID)).All(ctx)
	if err != nil {
		return fmt.Errorf("find live tasks: %w", err)
	}
	for _, r := range removals {
		data.Removals = append(data.Removals, ExportedRemoval{CreateTime: r.CreateTime, KeepUntil: r.KeepUntil})
	}
	return nil
}
