package invitations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/letter"
)

// SendArgs are the job that sends one letter.
type SendArgs struct {
	Letter uuid.UUID `json:"letter"`
	// Entry is what the letter takes out of the reader's calendar, which the invitation has no more; nil for none.
	Entry *entry `json:"entry,omitempty"`
}

// Kind implements jobs.Args.
func (SendArgs) Kind() string { return "invitations.send" }

// Send sends a letter, unless that was done, or nobody is to have it any more. What becomes of it is stored before it
// returns, and an error means that it is to be tried again.
func (s *Service) Send(ctx context.Context, args SendArgs) error {
	l, err := s.DB.Read.InvitationLetter.Query().Where(invitationletter.ID(args.Letter)).
		WithInvitation(func(q *ent.InvitationQuery) { q.WithInviter() }).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return nil // the invitation is gone
	case err != nil:
		return fmt.Errorf("find letter: %w", err)
	case l.State != invitationletter.StateQueued:
		return nil // it was sent, and then the job was not ended
	case time.Since(l.CreateTime) > s.Rules.KeepTrying:
		return s.end(ctx, l, invitationletter.StateLate, 0)
	}
	stop, err := s.mustNotSend(ctx, l, args.Entry)
	if err != nil {
		return err
	}
	if stop {
		return s.end(ctx, l, invitationletter.StateDropped, 0)
	}
	content, err := s.write(ctx, l, args.Entry)
	if err != nil {
		return err
	}
	err = s.Mailer.Invitation(ctx, content)
	refusal, refused := errors.AsType[*letter.RefusedError](err)
	switch {
	case err == nil:
		s.Log.InfoContext(ctx, "letter sent", "invitation", l.InvitationID, "letter", l.ID)
		return s.end(ctx, l, invitationletter.StateTaken, 0)
	case refused:
		s.Log.InfoContext(ctx, "letter refused", "invitation", l.InvitationID, "letter", l.ID, "err", refusal)
		return s.end(ctx, l, invitationletter.StateRefused, refusal.Code)
	case errors.Is(err, letter.ErrBusy):
		return jobs.Later(s.Rules.Again)
	}
	return fmt.Errorf("send letter %s: %w", l.ID, err)
}

// mustNotSend reports whether nobody is to have a letter any more: the invitation has ended, its reader wants no mail, or,
// of one that takes an entry out of the calendar, there is none.
func (s *Service) mustNotSend(ctx context.Context, l *ent.InvitationLetter, gone *entry) (bool, error) {
	i := l.Edges.Invitation
	overtaken := !isOpen(i, now()) || l.Sequence < i.Sequence
	switch {
	case l.Kind == invitationletter.KindCancelled:
		arrived, err := s.arrivedBefore(ctx, l)
		if !arrived || err != nil {
			return true, err
		}
	case gone != nil && i.StartTime == nil:
		arrived, err := s.arrivedBefore(ctx, l)
		if err != nil || !arrived && overtaken {
			return true, err
		}
	case overtaken:
		return true, nil
	}
	stop := false
	err := s.DB.Run(ctx, func(tx *ent.Client) (err error) {
		stop, err = s.suppressed(ctx, tx, i.Address)
		return err
	})
	return stop, err
}

// arrivedBefore reports whether a letter about an earlier version of the invitation arrived. It fails while nobody knows.
func (s *Service) arrivedBefore(ctx context.Context, l *ent.InvitationLetter) (bool, error) {
	before := s.DB.Read.InvitationLetter.Query().
		Where(invitationletter.InvitationID(l.InvitationID), invitationletter.SequenceLT(l.Sequence))
	arrived, err := before.Clone().Where(invitationletter.StateEQ(invitationletter.StateTaken)).Exist(ctx)
	if arrived || err != nil {
		if err != nil {
			err = fmt.Errorf("find letters: %w", err)
		}
		return arrived, err
	}
	underWay, err := before.Where(invitationletter.StateEQ(invitationletter.StateQueued)).Exist(ctx)
	switch {
	case err != nil:
		return false, fmt.Errorf("find letters: %w", err)
	case underWay:
		return false, errors.New("a letter before this one is still under way")
	}
	return false, nil
}

// write puts a letter together from what is known now.
func (s *Service) write(ctx context.Context, l *ent.InvitationLetter, gone *entry) (letter.Invitation, error) {
	i := l.Edges.Invitation
	out := letter.Invitation{
		Envelope: letter.Envelope{
			ID: l.ID, To: i.Address, Language: i.Language, Time: l.CreateTime.UTC(),
			Stop: s.PublicURL + stopPath + s.stopToken(i.Address),
		},
		Inviter: inviterName(i), Room: i.RoomName, Message: i.Message,
		Schedule: storedSchedule(i).inLetter(s.uid(i), l.Sequence, now()),
	}
	if err := s.address(ctx, i, &out.Envelope); err != nil {
		return out, err
	}
	out.Kind = occasion(l, gone)
	if gone != nil && (out.Kind == letter.Unscheduled || out.Kind == letter.Cancelled) {
		out.Schedule = gone.schedule().inLetter(s.uid(i), l.Sequence, now())
	}
	if out.Kind == letter.Cancelled {
		return out, nil
	}
	token, err := s.unseal(i)
	if errors.Is(err, errSealed) {
		token, err = s.renew(ctx, i)
	}
	if err != nil {
		return out, err
	}
	out.Link = s.PublicURL + pagePath + token
	if r, err := s.DB.Read.Room.Get(ctx, i.RoomID); err == nil {
		out.Room = r.Name
		// A letter waits a while for telephony to be well, and then goes without.
		if out.DialIn, err = s.Telephony.DialIn(ctx, r.ID); err != nil && time.Since(l.CreateTime) < phonePatience {
			return out, fmt.Errorf("find phone numbers: %w", err)
		}
	} else if !ent.IsNotFound(err) {
		return out, fmt.Errorf("find room: %w", err)
	}
	return out, nil
}

// uid names the calendar entry, the same in all letters.
func (s *Service) uid(i *ent.Invitation) string {
	host := strings.TrimPrefix(strings.TrimPrefix(s.PublicURL, "https://"), "http://")
	return i.ID.String() + "@" + host
}

// address fills in language and zone: what was asked for, else those of the reader's account, else those of who invites.
// They are looked up now, and not when somebody invites, who must not learn from it whether there is an account.
func (s *Service) address(ctx context.Context, i *ent.Invitation, e *letter.Envelope) error {
	reader, err := s.DB.Read.User.Query().Where(user.Email(i.Address), user.EmailVerified(true)).
		Order(ent.Asc(user.FieldCreateTime)).First(ctx)
	if err != nil && !ent.IsNotFound(err) {
		return fmt.Errorf("find reader: %w", err)
	}
	if reader != nil {
		e.Timezone = zoneOr(reader.Timezone, "")
		if e.Language == "" {
			e.Language = reader.Language
		}
	}
	if e.Language == "" {
		e.Language = i.InviterLanguage
	}
	return nil
}

// renew makes another token for a link that cannot be read any more.
func (s *Service) renew(ctx context.Context, i *ent.Invitation) (string, error) {
	token := newToken()
	err := s.DB.Run(ctx, func(tx *ent.Client) error {
		return tx.Invitation.Update().Where(invitation.ID(i.ID), invitation.StatusIn(open...)).
			SetTokenHash(hashToken(token)).SetTokenSealed(s.seal(i.ID, token)).Exec(ctx)
	})
	return token, err
}

// phonePatience is how long a letter waits for phone numbers that should be there.
const phonePatience = 10 * time.Minute

// storeTimeout is for how long the end of a letter is tried to be stored, whatever becomes of the job.
const storeTimeout = 10 * time.Second

// end stores what became of a letter, and what that means for the invitation. It is not given up when the server stops: a
// letter that was taken would be sent again.
func (s *Service) end(ctx context.Context, l *ent.InvitationLetter, state invitationletter.State, code int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	return s.DB.Run(ctx, func(tx *ent.Client) error {
		n, err := tx.InvitationLetter.Update().
			Where(invitationletter.ID(l.ID), invitationletter.StateEQ(invitationletter.StateQueued)).
			SetState(state).SetCode(code).SetEndTime(now()).Save(ctx)
		if err != nil {
			return fmt.Errorf("store end of letter: %w", err)
		}
		if n == 0 || l.Kind == invitationletter.KindCancelled {
			return nil
		}
		return conclude(ctx, tx, l, state)
	})
}

// conclude says what the end of a letter means for an invitation whose link works.
func conclude(ctx context.Context, tx *ent.Client, l *ent.InvitationLetter, state invitationletter.State) error {
	working := []predicate.Invitation{invitation.ID(l.InvitationID), invitation.StatusIn(open...)}
	status := bounced
	if state == invitationletter.StateTaken {
		status = sent
		if err := tx.Invitation.Update().Where(working...).SetSendTime(now()).Exec(ctx); err != nil {
			return fmt.Errorf("store when it was sent: %w", err)
		}
	}
	// Only what is latest says how things stand; this one may have been overtaken.
	current := tx.Invitation.Update().Where(working...).Where(invitation.Sequence(l.Sequence))
	if err := current.SetStatus(status).Exec(ctx); err != nil {
		return fmt.Errorf("store status: %w", err)
	}
	return nil
}
