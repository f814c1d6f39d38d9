package participants

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/text"
)

// list describes who is in a room's meeting, first come first.
func (s *Service) list(ctx context.Context, room uuid.UUID) ([]*usherv1.Participant, error) {
	people, err := s.LiveKit.Participants(ctx, room)
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return nil, fault.ErrLiveKit.Because(err)
	}
	slices.SortFunc(people, func(a, b meeting.Participant) int {
		return cmp.Or(a.JoinTime.Compare(b.JoinTime), cmp.Compare(a.Identity, b.Identity))
	})
	accounts, err := s.accounts(ctx, room, people)
	if err != nil {
		return nil, err
	}
	out := make([]*usherv1.Participant, len(people))
	for i, p := range people {
		out[i] = view(p)
		id, _ := s.Keys.IdentityUser(room, p.Identity)
		if u := accounts[id]; u != nil {
			name := text.PersonName(u.FullName, u.ShortName, u.Email)
			out[i].Authenticated, out[i].User = true, &usherv1.UserSummary{Id: u.ID.String(), DisplayName: name}
		}
	}
	return out, nil
}

// accounts finds the accounts of participants, by id.
func (s *Service) accounts(
	ctx context.Context, room uuid.UUID, people []meeting.Participant,
) (map[uuid.UUID]*ent.User, error) {
	var ids []uuid.UUID
	for _, p := range people {
		if id, ours := s.Keys.IdentityUser(room, p.Identity); ours && id != uuid.Nil {
			ids = append(ids, id)
		}
	}
	return auth.Users(ctx, s.DB.Read, ids)
}

func view(p meeting.Participant) *usherv1.Participant {
	v := &usherv1.Participant{
		Identity: p.Identity, Sid: p.SID, DisplayName: p.DisplayName, Role: roleOf(p), Kind: p.Kind,
		Invited:  p.Attributes[meeting.AttributeInvited] == "true",
		JoinTime: timestamppb.New(p.JoinTime), CanPublishSources: p.Sources, CanSubscribe: !p.NoSubscribe,
		Held: p.Kind == usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE &&
			p.Attributes[meeting.AttributeLobby] == meeting.LobbyWaiting,
	}
	if v.GetKind() == usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE {
		v.DisplayName = p.Call().Name
	}
	if raised, err := time.Parse(time.RFC3339Nano, p.Attributes[attributeHand]); err == nil {
		v.HandRaiseTime = timestamppb.New(raised)
	}
	for _, t := range p.Tracks {
		v.Tracks = append(v.Tracks, &usherv1.ParticipantTrack{Sid: t.SID, Source: t.Source, Muted: t.Muted})
	}
	return v
}

// roleOf is the role of a participant as the meeting shows it. Only this server writes that attribute: no participant may
// change their own.
func roleOf(p meeting.Participant) usherv1.Role {
	for role := usherv1.Role_ROLE_MEMBER; role <= usherv1.Role_ROLE_OWNER; role++ {
		if p.Attributes[auth.AttributeRole] == auth.RoleAttribute(role) {
			return role
		}
	}
	return usherv1.Role_ROLE_UNSPECIFIED
}
