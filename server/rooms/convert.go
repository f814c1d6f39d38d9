package rooms

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/text"
)

// liveView is a room as its caller may see it, with its meeting and how to reach it by phone.
func (s *Service) liveView(ctx context.Context, a *auth.Access) (*usherv1.Room, error) {
	views, err := s.liveViews(ctx, a)
	if err != nil {
		return nil, err
	}
	return views[0], nil
}

// liveViews are rooms as their callers may see them, with their meetings and how to reach them by phone.
func (s *Service) liveViews(ctx context.Context, all ...*auth.Access) ([]*usherv1.Room, error) {
	var direct []*ent.Room
	for _, a := range all {
		if a.JoinMode() == usherv1.JoinMode_JOIN_MODE_DIRECT {
			direct = append(direct, a.Room)
		}
	}
	phones, err := s.Telephony.DialIns(ctx, direct...)
	if err != nil {
		return nil, err
	}
	views := make([]*usherv1.Room, len(all))
	for i, a := range all {
		if a.JoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
			views[i] = s.view(a, nil)
			continue
		}
		views[i] = s.view(a, s.LiveKit.Live(ctx, a.Room.ID))
		views[i].DialIn = phones[a.Room.ID]
	}
	return views, nil
}

// view is a room as its caller may see it: those who have to wait learn only what the door says.
func (s *Service) view(a *auth.Access, live *usherv1.RoomLive) *usherv1.Room {
	r := a.Room
	v := &usherv1.Room{
		Id: r.ID.String(), Name: r.Name, Slug: r.Slug, AccessLevel: r.AccessLevel,
		JoinMode: a.JoinMode(), WebUrl: s.PublicURL + "/" + r.Slug,
	}
	if v.GetJoinMode() != usherv1.JoinMode_JOIN_MODE_DIRECT {
		return v
	}
	v.Configuration = configurationOf(r)
	v.MyRole = a.Role
	v.Live = live
	v.CreateTime = timestamppb.New(r.CreateTime)
	v.UpdateTime = timestamppb.New(r.UpdateTime)
	v.Etag = etag(r)
	return v
}

// configurationOf returns the stored configuration, or an empty one, which means the same as none. It may be shared: do not
// change it.
func configurationOf(r *ent.Room) *usherv1.RoomConfiguration {
	if r.Configuration == nil {
		return &usherv1.RoomConfiguration{}
	}
	return r.Configuration
}

// etag names one version of one room. It is a hash so that nobody counts on versions being numbers.
func etag(r *ent.Room) string {
	hash := sha256.Sum256(binary.BigEndian.AppendUint64(r.ID[:], uint64(r.Version))) //nolint:gosec // only a name
	return base64.RawURLEncoding.EncodeToString(hash[:12])
}

// memberView is a member as priv callers see them. The address of a member with an account is for [listedMember].
func memberView(m *ent.Member) *usherv1.Member {
	v := &usherv1.Member{Role: m.Role, CreateTime: timestamppb.New(m.CreateTime)}
	if u := m.Edges.User; u != nil {
		v.User = &usherv1.UserSummary{Id: u.ID.String(), DisplayName: text.PersonName(u.FullName, u.ShortName, u.Email)}
		return v
	}
	v.Pending = true
	if m.Email != nil {
		v.Email = string(*m.Email)
	}
	return v
}

// listedMember is a member as ListMembers shows them to priv callers: with the address of the account, if there is one.
func listedMember(m *ent.Member) *usherv1.Member {
	v := memberView(m)
	if m.Edges.User != nil {
		v.Email = string(m.Edges.User.Email)
	}
	return v
}

func auditView(e *ent.AuditEvent) *usherv1.AuditEvent {
	v := &usherv1.AuditEvent{
		Id: e.ID, CreateTime: timestamppb.New(e.CreateTime), Action: e.Action, Target: e.Target, Detail: e.Detail,
	}
	if e.ActorUserID != nil {
		v.ActorUserId = e.ActorUserID.String()
	}
	return v
}
