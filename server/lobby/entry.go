package lobby

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/meeting"
)

// view converts the part of an entry that guests and hosts see.
func (s *Service) view(r *record) *usherv1.Entry {
	e := &usherv1.Entry{
		Id: r.ID, Status: usherv1.EntryStatus(r.Status), //nolint:gosec // one of four small numbers
		DisplayName: r.Name, Color: meeting.Color(r.Identity), Kind: usherv1.EntryKind_ENTRY_KIND_WEB,
		Etag: r.Etag, RequestTime: timestamppb.New(microseconds(r.Asked)), ExpireTime: timestamppb.New(r.ends),
	}
	if r.Kind == kindPhone {
		e.Kind = usherv1.EntryKind_ENTRY_KIND_PHONE
	}
	if r.Status == statusWaiting {
		e.Position = int32(r.position) //nolint:gosec // at most as many as may wait
	}
	return e
}

// guestView is an entry as its guest sees it: with a connection once they are let in. It fails with LOBBY_REQUIRED when
// the meeting of that admission is over.
func (s *Service) guestView(ctx context.Context, a *auth.Access, r *record) (*usherv1.Entry, error) {
	e := s.view(r)
	e.HostPresent = s.hostPresent(ctx, a.Room.ID)
	switch r.Status {
	case statusWaiting:
		e.RetryAfter = durationpb.New(min(pollAfter, s.Store.Rules.Waiting/3))
	case statusDenied:
		e.RetryAfter = durationpb.New(max(time.Until(r.ends), time.Second))
	case statusAccepted:
		connection, err := s.Rooms.ConnectAdmitted(ctx, a.Room, meeting.Admission{
			Identity: r.Identity, DisplayName: r.Name, UserID: r.userID(), Time: microseconds(r.Decided),
		})
		if err != nil {
			return nil, err
		}
		e.Connection = connection
	}
	return e, nil
}
