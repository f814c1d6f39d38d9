package invitations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/language"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/text"
	"github.com/usher-meet/usher/server/zones"
)

// batch is one call of CreateInvitations.
type batch struct {
	user       *ent.User
	room       string
	recipients []recipient
	refused    []*usherv1.RefusedRecipient
	message    string
	schedule   schedule
	skipLobby  bool
	asMembers  bool
	at         time.Time
}

// recipient is somebody to invite.
type recipient struct {
	typed    string
	address  mailbox.Address
	language string
}

// read reads a request. Addresses that are there twice count once, and what is none is refused.
func (s *Service) read(user *ent.User, req *usherv1.CreateInvitationsRequest) (*batch, error) {
	b := &batch{
		user: user, room: req.GetRoom(), message: clean(req.GetMessage()), skipLobby: req.GetSkipLobby(),
		asMembers: req.GetAddAsMember(), at: now(),
	}
	zone := req.GetTimezone()
	if zone == "" {
		zone = zoneOr(user.Timezone, "UTC")
	}
	var err error
	if b.schedule, err = readSchedule("", req.GetStartTime(), req.GetEndTime(), zone, req.GetRecurrence()); err != nil {
		return nil, err
	}
	if !b.schedule.none() && b.schedule.last().Before(b.at) {
		return nil, fault.Invalid("end_time", "must not be over")
	}
	seen, refused := map[mailbox.Address]bool{}, map[string]bool{}
	for _, r := range req.GetRecipients() {
		address, err := mailbox.Parse(r.GetEmail())
		ok := err == nil && address.IsQualified()
		switch {
		case !ok && !refused[r.GetEmail()]:
			refused[r.GetEmail()] = true
			b.refuse(r.GetEmail(), errInvalid)
		case ok && !seen[address]:
			seen[address] = true
			b.recipients = append(b.recipients, recipient{r.GetEmail(), address, tagOf(r.GetLanguage())})
		}
	}
	return b, nil
}

func (b *batch) refuse(typed string, why *fault.Error) {
	b.refused = append(b.refused, &usherv1.RefusedRecipient{Email: typed, Reason: why.Reason})
}

// zoneOr is the zone of that name if there is one.
func zoneOr(name, otherwise string) string {
	if canonical, ok := zones.Canonical(name); ok {
		return canonical
	}
	return otherwise
}

// tagOf is a language as it is stored: empty for what is none.
func tagOf(s string) string {
	tag, err := language.Parse(s)
	if err != nil || s == "" {
		return ""
	}
	return tag.String()
}

// maxMessage is how long a message may be, in characters; the contract says so too.
const maxMessage = 2000

// clean removes invisible characters from a text, line by line.
func clean(s string) string {
	var b strings.Builder
	left := maxMessage
	for l := range strings.SplitSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
		l = text.Clean(l, left)
		b.WriteString(l + "\n")
		if left -= utf8.RuneCountInString(l) + 1; left <= 0 {
			break
		}
	}
	return strings.TrimSpace(b.String())
}

// create invites people, once for each request_id.
func (s *Service) create(
	ctx context.Context, b *batch, key idempotency.Key,
) (res *usherv1.CreateInvitationsResponse, err error) {
	res = &usherv1.CreateInvitationsResponse{}
	if found, err := key.Stored(ctx, s.DB.Read, res); found || err != nil {
		return res, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if err := key.Claim(ctx, tx); err != nil {
			return err
		}
		a, err := auth.LockRoom(ctx, tx, b.room)
		if err != nil {
			return err
		}
		if err := a.RequireAdministrator(); err != nil {
			return err
		}
		if !s.Rules.Enabled {
			return ErrNoMail
		}
		if res, err = s.inviteAll(ctx, tx, a, b); err != nil {
			return err
		}
		return key.Keep(ctx, tx, res)
	})
	if errors.Is(err, idempotency.ErrRepeated) {
		found, err := key.Stored(ctx, s.DB.Read, res)
		if !found && err == nil {
			err = fault.ErrConflict
		}
		return res, err
	}
	return res, err
}

// inviteAll invites those who may be invited. The room is locked.
func (s *Service) inviteAll(
	ctx context.Context, tx *ent.Client, a *auth.Access, b *batch,
) (*usherv1.CreateInvitationsResponse, error) {
	res := &usherv1.CreateInvitationsResponse{}
	var wanted []recipient
	for _, r := range b.recipients {
		no, err := s.suppressed(ctx, tx, r.address)
		if err != nil {
			return nil, err
		}
		if no {
			b.refuse(r.typed, errSuppressed)
			continue
		}
		wanted = append(wanted, r)
	}
	n, err := s.take(ctx, tx, b.user.ID, len(wanted), b.at)
	if err != nil {
		return nil, err
	}
	for _, r := range wanted[n:] {
		b.refused = append(b.refused, &usherv1.RefusedRecipient{
			Email: r.typed, Reason: usherv1.ErrorReason_ERROR_REASON_RATE_LIMITED,
		})
	}
	for _, r := range wanted[:n] {
		i, err := s.invite(ctx, tx, a, b, r)
		if err != nil {
			return nil, err
		}
		res.Invitations = append(res.Invitations, view(i, b.at))
	}
	res.Refused = b.refused
	return res, nil
}

// invite invites one person, or says to somebody who is invited already what is to be said now.
func (s *Service) invite(
	ctx context.Context, tx *ent.Client, a *auth.Access, b *batch, r recipient,
) (*ent.Invitation, error) {
	i, err := s.findOpen(ctx, tx, a.Room.ID, r.address, b.at)
	if err != nil {
		return nil, err
	}
	if i == nil {
		i, err = s.insert(ctx, tx, a, b, r)
	} else {
		update := tx.Invitation.UpdateOne(i).SetRoomName(a.Room.Name).
			SetInviterID(b.user.ID).SetInviterLanguage(b.user.Language).SetLanguage(r.language).
			SetStatus(pending).SetSkipLobby(b.skipLobby).SetMessage(b.message).AddSequence(1).
			SetTimezone(b.schedule.timezone).SetRecurrence(b.schedule.recurrence).
			SetExpireTime(b.schedule.expire(b.at, s.Rules.Life))
		if b.schedule.none() {
			update.ClearStartTime().ClearEndTime()
		} else {
			update.SetStartTime(b.schedule.start).SetEndTime(b.schedule.end)
		}
		i, err = update.Save(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("store invitation: %w", err)
	}
	if b.asMembers {
		if err := s.Rooms.AddInvited(ctx, tx, a.Room.ID, r.address); err != nil {
			return nil, err
		}
	}
	if err := record(ctx, tx, i, audit.InvitationCreated, ""); err != nil {
		return nil, err
	}
	return i, s.post(ctx, tx, i, invitationletter.KindInvited)
}

// findOpen finds the invitation of an address to a room whose link works. One that has expired unnoticed is closed.
func (s *Service) findOpen(
	ctx context.Context, tx *ent.Client, room uuid.UUID, address mailbox.Address, at time.Time,
) (*ent.Invitation, error) {
	i, err := tx.Invitation.Query().Where(invitation.OpenKey(openKey(room, address)), dbtx.ForUpdate).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find invitation: %w", err)
	case statusOf(i, at) != expired:
		return i, nil
	}
	_, err = closeLink(tx.Invitation.UpdateOne(i), expired).Save(ctx)
	return nil, err
}

// openKey is a value that no two open invitations share.
func openKey(room uuid.UUID, address mailbox.Address) string {
	return room.String() + " " + string(address)
}

// closeLink ends a link for good.
func closeLink(update *ent.InvitationUpdateOne, status usherv1.InvitationStatus) *ent.InvitationUpdateOne {
	return update.SetStatus(status).ClearOpenKey().ClearTokenSealed()
}

func (s *Service) insert(
	ctx context.Context, tx *ent.Client, a *auth.Access, b *batch, r recipient,
) (*ent.Invitation, error) {
	id, token := uuid.New(), newToken()
	create := tx.Invitation.Create().SetID(id).SetRoomID(a.Room.ID).SetRoomName(a.Room.Name).
		SetInviterID(b.user.ID).SetInviterLanguage(b.user.Language).
		SetAddress(r.address).SetLanguage(r.language).SetOpenKey(openKey(a.Room.ID, r.address)).
		SetStatus(pending).SetSkipLobby(b.skipLobby).SetMessage(b.message).
		SetTimezone(b.schedule.timezone).SetRecurrence(b.schedule.recurrence).
		SetTokenHash(hashToken(token)).SetTokenSealed(s.seal(id, token)).SetIdentity(s.Keys.NewIdentity(a.Room.ID, uuid.Nil)).
		SetExpireTime(b.schedule.expire(b.at, s.Rules.Life)).SetCreateTime(b.at)
	if !b.schedule.none() {
		create.SetStartTime(b.schedule.start).SetEndTime(b.schedule.end)
	}
	return create.Save(ctx)
}

// post has a letter sent once the transaction has committed.
func (s *Service) post(ctx context.Context, tx *ent.Client, i *ent.Invitation, kind invitationletter.Kind) error {
	return s.postAs(ctx, tx, i, kind, SendArgs{})
}

// postAs is [Service.post] with what the job is to know besides.
func (s *Service) postAs(
	ctx context.Context, tx *ent.Client, i *ent.Invitation, kind invitationletter.Kind, args SendArgs,
) error {
	l, err := tx.InvitationLetter.Create().SetInvitationID(i.ID).SetKind(kind).SetSequence(i.Sequence).Save(ctx)
	if err != nil {
		return fmt.Errorf("insert letter: %w", err)
	}
	// An hour longer than the letter is tried, so that the last run finds that it is late.
	args.Letter = l.ID
	return s.Jobs.Enqueue(ctx, tx, args, jobs.KeepTrying(s.Rules.KeepTrying+time.Hour))
}

// record says who did what to an invitation, whose room is locked.
func record(ctx context.Context, tx *ent.Client, i *ent.Invitation, action audit.Action, detail string) error {
	return audit.Record(ctx, tx, audit.Event{Room: i.RoomID, Action: action, Target: audit.Invitation(i.ID), Detail: detail})
}
