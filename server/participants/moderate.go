package participants

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/mask"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
	"github.com/usher-meet/usher/server/text"
)

// The fields of a participant that can be changed.
const (
	fieldName      = "display_name"
	fieldSources   = "can_publish_sources"
	fieldSubscribe = "can_subscribe"
)

// maxNameBytes is LiveKit's limit for a name that is changed, in bytes.
const maxNameBytes = 256

// cleanName is a name as LiveKit takes it, "" for one with nothing to see.
func cleanName(name string) string {
	name = text.Clean(name, text.MaxPersonName)
	for len(name) > maxNameBytes {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return strings.TrimSpace(name)
}

// checkUpdate reads what a request changes, before anybody learns whether there is such a participant.
func checkUpdate(req *usherv1.UpdateParticipantRequest) (fields []string, name string, err error) {
	fields, err = mask.Merge(
		&usherv1.UpdateParticipantRequest{}, req, req.GetUpdateMask(), fieldName, fieldSources, fieldSubscribe)
	if err != nil {
		return nil, "", err
	}
	if name = cleanName(req.GetDisplayName()); name == "" && slices.Contains(fields, fieldName) {
		return nil, "", fault.Invalid(fieldName, "nobody can be without a name")
	}
	return fields, name, nil
}

// update changes what somebody is called and may do until the meeting ends.
func (s *Service) update(ctx context.Context, req *usherv1.UpdateParticipantRequest) error {
	fields, name, err := checkUpdate(req)
	if err != nil {
		return err
	}
	a, userID, err := s.person(ctx, req.GetRoom(), req.GetParticipantIdentity())
	if err != nil || len(fields) == 0 {
		return err
	}
	renamed := false
	change := func(row moderation.Row) {
		if slices.Contains(fields, fieldName) {
			renamed = row.DisplayName == nil || *row.DisplayName != name || !row.NameByHost
			row.SetName(name, true)
		}
		if list := req.GetCanPublishSources(); slices.Contains(fields, fieldSources) && list == nil {
			row.ClearSources()
		} else if slices.Contains(fields, fieldSources) {
			row.SetSources(list.GetSources())
		}
		if slices.Contains(fields, fieldSubscribe) {
			row.CanSubscribe = req.CanSubscribe == nil || req.GetCanSubscribe()
		}
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, userID, err := lockOver(ctx, tx, a.Room.ID, userID)
		if err != nil {
			return err
		}
		who := moderation.Who{User: userID, Identity: req.GetParticipantIdentity()}
		if err := moderation.Edit(ctx, tx, a.Room, who, change); err != nil {
			return err
		}
		if err := recordUpdate(ctx, tx, a.Room.ID, req.GetParticipantIdentity(), renamed, fields); err != nil {
			return err
		}
		return s.Tasks.SyncRoom(ctx, tx, a.Room.ID)
	})
	if err != nil {
		return err
	}
	s.follow(ctx, a.Room.ID)
	return nil
}

// recordUpdate records a new name by itself: it is looked for by itself.
func recordUpdate(
	ctx context.Context, tx *ent.Client, room uuid.UUID, identity string, renamed bool, fields []string,
) error {
	if renamed {
		if err := recordName(ctx, tx, room, identity); err != nil {
			return err
		}
	}
	rest := slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return f == fieldName })
	if len(rest) == 0 {
		return nil
	}
	return audit.Record(ctx, tx, audit.Event{
		Room: room, Action: audit.ParticipantRestricted, Target: audit.Participant(identity),
		Detail: "fields=" + strings.Join(rest, ","),
	})
}

// recordName records that somebody has another name.
func recordName(ctx context.Context, tx *ent.Client, room uuid.UUID, identity string) error {
	return audit.RecordBurst(ctx, tx, audit.Event{
		Room: room, Action: audit.ParticipantRenamed, Target: audit.Participant(identity),
	})
}

// person finds a room that the caller runs, and the account behind somebody in its meeting: uuid.Nil without one.
func (s *Service) person(ctx context.Context, ref, identity string) (*auth.Access, uuid.UUID, error) {
	a, err := s.hosted(ctx, ref)
	if err != nil {
		return nil, uuid.Nil, err
	}
	if _, err := s.find(ctx, a.Room.ID, identity); err != nil {
		return nil, uuid.Nil, err
	}
	userID, ours := s.Keys.IdentityUser(a.Room.ID, identity)
	if !ours {
		return nil, uuid.Nil, auth.ErrNotPermitted.Saying("that can be done to people with a client of this service only")
	}
	return a, userID, nil
}

// lockOver locks a room of which the caller is administrator, and owner if the account is one. It returns that account:
// uuid.Nil for none, or one that is gone.
func lockOver(ctx context.Context, tx *ent.Client, room, userID uuid.UUID) (*auth.Access, uuid.UUID, error) {
	a, err := auth.LockRoom(ctx, tx, room.String())
	if err != nil {
		return nil, userID, err
	}
	if err := a.RequireAdministrator(); err != nil || userID == uuid.Nil {
		return a, userID, err
	}
	u, err := tx.User.Get(ctx, userID)
	if ent.IsNotFound(err) {
		return a, uuid.Nil, nil
	}
	if err != nil {
		return nil, userID, fmt.Errorf("find user: %w", err)
	}
	isOwner, err := tx.Member.Query().
		Where(member.RoomID(room), auth.Mine(u), member.RoleEQ(usherv1.Role_ROLE_OWNER)).
		Exist(ctx)
	if err != nil {
		return nil, userID, fmt.Errorf("find member of %s: %w", room, err)
	}
	if isOwner {
		return a, userID, a.RequireOwner()
	}
	return a, userID, nil
}

// setRole makes somebody in the meeting a member or an administrator of the room.
func (s *Service) setRole(ctx context.Context, req *usherv1.SetParticipantRoleRequest) (synced bool, err error) {
	role := req.GetRole()
	if role != usherv1.Role_ROLE_MEMBER && role != usherv1.Role_ROLE_ADMINISTRATOR {
		return false, fault.Invalid("role", "must be member or administrator")
	}
	a, err := s.hosted(ctx, req.GetRoom())
	if err != nil {
		return false, err
	}
	if _, err := s.find(ctx, a.Room.ID, req.GetParticipantIdentity()); err != nil {
		return false, err
	}
	userID, ours := s.Keys.IdentityUser(a.Room.ID, req.GetParticipantIdentity())
	if !ours || userID == uuid.Nil {
		return false, ErrNotAuthenticated
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, a.Room.ID.String())
		if err != nil {
			return err
		}
		if err := a.RequireAdministrator(); err != nil {
			return err
		}
		u, err := tx.User.Query().Where(user.ID(userID), user.Active(true)).Only(ctx)
		if ent.IsNotFound(err) {
			return ErrNotAuthenticated.Saying("the account of that participant is gone or inactive")
		}
		if err != nil {
			return fmt.Errorf("find user: %w", err)
		}
		if err := s.Rooms.SetRole(ctx, tx, a, u, role); err != nil {
			return err
		}
		return s.Tasks.SyncRoom(ctx, tx, a.Room.ID)
	})
	if err != nil {
		return false, err
	}
	return s.follow(ctx, a.Room.ID), nil
}

// remove puts somebody out of the meeting for good, and keeps their account out for a while.
func (s *Service) remove(ctx context.Context, ref, identity string, block time.Duration) (room uuid.UUID, err error) {
	a, err := s.hosted(ctx, ref)
	if err != nil {
		return room, err
	}
	room = a.Room.ID
	p, err := s.find(ctx, room, identity)
	if err != nil {
		return room, err
	}
	userID, _ := s.Keys.IdentityUser(room, identity)
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		return s.recordOut(ctx, tx, room, userID, p, block)
	})
	if err != nil {
		return room, err
	}
	if block <= 0 {
		userID = uuid.Nil // they may ask again, as somebody else
	}
	if err := s.Lobby.ParticipantRemoved(ctx, room, s.Keys.Pseudonym(identity), userID); err != nil {
		// What was committed refuses that identity all the same; who has to ask again is told so later.
		s.Log.WarnContext(ctx, "tickets of a participant are not void yet", "room", room, "participant", identity, "err", err)
	}
	if err := s.LiveKit.RemoveParticipant(ctx, room, identity); err != nil {
		s.Log.WarnContext(ctx, "participant is not out yet", "room", room, "participant", identity, "err", err)
	}
	s.follow(ctx, room)
	return room, nil
}

// recordOut writes that somebody is out of a meeting, in one transaction with what follows from it. userID is uuid.Nil for
// those without an account.
func (s *Service) recordOut(
	ctx context.Context, tx *ent.Client, room, userID uuid.UUID, p meeting.Participant, block time.Duration,
) error {
	a, userID, err := lockOver(ctx, tx, room, userID)
	if err != nil {
		return err
	}
	// The identity of a phone caller is their number, which comes again without having been removed. Those who withhold it
	// share one: nobody can keep out one of them.
	out := block
	if _, ours := s.Keys.IdentityUser(room, p.Identity); ours {
		out = max(block, s.SessionLife)
	} else if p.Kind == usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE && p.Call().Withheld {
		out = 0
	}
	who := moderation.Who{User: userID, Identity: s.Keys.Pseudonym(p.Identity), DeviceOnly: true}
	if err := keepOut(ctx, tx, a.Room, who, out); err != nil {
		return err
	}
	if userID != uuid.Nil {
		if err := keepOut(ctx, tx, a.Room, moderation.Who{User: userID}, block); err != nil {
			return err
		}
	}
	if err := s.recordRemoval(ctx, tx, room, userID, p.Identity, block); err != nil {
		return err
	}
	return s.Tasks.SyncRoom(ctx, tx, room)
}

func keepOut(ctx context.Context, tx *ent.Client, r *ent.Room, who moderation.Who, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	return moderation.Edit(ctx, tx, r, who, func(row moderation.Row) { row.Block(now().Add(d)) })
}

func (s *Service) recordRemoval(
	ctx context.Context, tx *ent.Client, room, userID uuid.UUID, identity string, block time.Duration,
) error {
	detail := fmt.Sprintf("block=%d", int64(block/time.Second))
	if userID != uuid.Nil {
		detail += " user=" + userID.String()
	}
	return audit.Record(ctx, tx, audit.Event{
		Room: room, Action: audit.ParticipantRemoved, Target: audit.Participant(s.Keys.Pseudonym(identity)), Detail: detail,
	})
}
