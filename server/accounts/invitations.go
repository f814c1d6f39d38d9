package accounts

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/gen/ent/mailquota"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/server/auth"
)

// isTo matches the invitations to the verified address of a user; ok is false for one who has none.
func isTo(u *ent.User) (to predicate.Invitation, ok bool) {
	return invitation.Address(u.Email), u.EmailVerified && u.Email != ""
}

// ExportedInvitation is an invitation that the person wrote or got. Of one that they wrote, who got it and what they did
// with it is left out: that is about somebody else.
type ExportedInvitation struct {
	RoomID   uuid.UUID `json:"room_id"`
	RoomName string    `json:"room_name"`
	// Inviter is true when they wrote it, and Recipient when it is to them.
	Inviter    bool       `json:"inviter"`
	Recipient  bool       `json:"recipient"`
	Message    string     `json:"message"`
	StartTime  *time.Time `json:"start_time,omitempty"`
	EndTime    *time.Time `json:"end_time,omitempty"`
	Timezone   string     `json:"timezone,omitempty"`
	Recurrence string     `json:"recurrence,omitempty"`
	CreateTime time.Time  `json:"create_time"`
	ExpireTime time.Time  `json:"expire_time"`
	RevokeTime *time.Time `json:"revoke_time,omitempty"`

	// What follows is known of those to them only.

	Email      string           `json:"email,omitempty"`
	Language   string           `json:"language,omitempty"`
	Status     string           `json:"status,omitempty"`
	Response   string           `json:"response,omitempty"`
	Admissions int32            `json:"admissions,omitempty"`
	Letters    []ExportedLetter `json:"letters,omitempty"`
}

// ExportedLetter is a letter about an invitation.
type ExportedLetter struct {
	Kind       string     `json:"kind"`
	State      string     `json:"state"`
	CreateTime time.Time  `json:"create_time"`
	EndTime    *time.Time `json:"end_time,omitempty"`
}

// ExportedLetterCount is how many letters the person had sent on a day (UTC).
type ExportedLetterCount struct {
	Day   string `json:"day"`
	Count int    `json:"count"`
}

func (l *Lifecycle) exportInvitations(ctx context.Context, u *ent.User) ([]ExportedInvitation, error) {
	theirs := invitation.InviterID(u.ID)
	if to, ok := isTo(u); ok {
		theirs = invitation.Or(theirs, to)
	}
	rows, err := l.DB.Read.Invitation.Query().Where(theirs).WithLetters().
		Order(ent.Asc(invitation.FieldCreateTime, invitation.FieldID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find invitations: %w", err)
	}
	invitations := make([]ExportedInvitation, 0, len(rows))
	for _, i := range rows {
		invitations = append(invitations, exportInvitation(i, u))
	}
	return invitations, nil
}

func exportInvitation(i *ent.Invitation, u *ent.User) ExportedInvitation {
	e := ExportedInvitation{
		RoomID: i.RoomID, RoomName: i.RoomName, Inviter: i.InviterID != nil && *i.InviterID == u.ID,
		Recipient: u.EmailVerified && i.Address == u.Email,
		Message:   i.Message, StartTime: i.StartTime, EndTime: i.EndTime, Timezone: i.Timezone, Recurrence: i.Recurrence,
		CreateTime: i.CreateTime, ExpireTime: i.ExpireTime, RevokeTime: i.RevokeTime,
	}
	if !e.Recipient {
		return e
	}
	e.Email, e.Language, e.Admissions = string(i.Address), i.Language, i.Admissions
	e.Status, e.Response = i.Status.String(), i.Response.String()
	for _, l := range i.Edges.Letters {
		e.Letters = append(e.Letters, ExportedLetter{
			Kind: l.Kind.String(), State: l.State.String(), CreateTime: l.CreateTime, EndTime: l.EndTime,
		})
	}
	return e
}

func (l *Lifecycle) exportLetterCounts(ctx context.Context, u *ent.User) ([]ExportedLetterCount, error) {
	rows, err := l.DB.Read.MailQuota.Query().Where(ownQuota(u)).Order(ent.Asc(mailquota.FieldDay)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find quotas: %w", err)
	}
	counts := make([]ExportedLetterCount, 0, len(rows))
	for _, q := range rows {
		counts = append(counts, ExportedLetterCount{Day: q.Day, Count: q.Used})
	}
	return counts, nil
}

// ownQuota matches how many letters a user had sent.
func ownQuota(u *ent.User) predicate.MailQuota {
	caller := auth.Caller{Kind: auth.User, User: u}
	return mailquota.Key(caller.Key())
}

// moveInvitations makes one account the inviter of what another one wrote. Those to the other's address stay as they are:
// their links are in somebody's mail.
func moveInvitations(ctx context.Context, tx *ent.Client, from, into *ent.User) error {
	if err := tx.Invitation.Update().Where(invitation.InviterID(from.ID)).SetInviterID(into.ID).Exec(ctx); err != nil {
		return fmt.Errorf("move invitations: %w", err)
	}
	return nil
}

// deleteInvitations erases the invitations to a user. Those that they wrote stay with who got them, and name nobody.
func deleteInvitations(ctx context.Context, tx *ent.Client, u *ent.User) error {
	to, ok := isTo(u)
	if !ok {
		return nil
	}
	if _, err := tx.Invitation.Delete().Where(to).Exec(ctx); err != nil {
		return fmt.Errorf("delete invitations: %w", err)
	}
	return nil
}
