package recordings

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/text"
)

// view is a recording as its caller may see it.
func (s *Service) view(a *access) *usherv1.Recording {
	r := a.Recording
	v := &usherv1.Recording{
		Id: r.ID.String(), RoomId: r.RoomID.String(), RoomName: r.RoomName, Mode: r.Mode, Status: r.Status,
		ContentType: contentType(r.Mode), SizeBytes: r.SizeBytes, MyRole: a.role, Keep: r.Keep, Language: r.Language,
		Downloadable: a.role != usherv1.Role_ROLE_UNSPECIFIED && s.mayDownload(a) == nil, Expired: s.expired(r),
		CreateTime: timestamppb.New(r.CreateTime), StartTime: timestamp(r.StartTime), StopTime: timestamp(r.StopTime),
		SaveTime: timestamp(r.SaveTime), Interrupted: r.Interrupted,
	}
	if _, served := parseMediaPath(mediaPrefix+r.ObjectKey, s.Rules.Folder); served && v.GetDownloadable() {
		v.MediaPath = mediaPrefix + r.ObjectKey
	}
	if r.DurationMs > 0 {
		v.Duration = durationpb.New(time.Duration(r.DurationMs) * time.Millisecond)
	}
	if t := s.expireTime(r); !t.IsZero() {
		v.ExpireTime = timestamppb.New(t)
	}
	if r.FailureReason != 0 {
		v.Failure = &usherv1.RecordingFailure{Reason: r.FailureReason}
		if a.role >= usherv1.Role_ROLE_ADMINISTRATOR {
			v.Failure.Detail = r.FailureDetail
		}
	}
	return v
}

// accessView is somebody's role in a recording. Who asks may know the addresses: they are administrators or owners.
func accessView(a *ent.RecordingAccess) *usherv1.RecordingAccess {
	v := &usherv1.RecordingAccess{Role: a.Role, Pending: a.UserID == nil, CreateTime: timestamppb.New(a.CreateTime)}
	if a.Email != nil {
		v.Email = string(*a.Email)
	}
	if u := a.Edges.User; u != nil {
		v.User = &usherv1.UserSummary{Id: u.ID.String(), DisplayName: text.PersonName(u.FullName, u.ShortName, u.Email)}
	}
	return v
}

// contentType of the file that a mode makes.
func contentType(mode usherv1.RecordingMode) string {
	return contentTypes[extension(mode)]
}

func timestamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
