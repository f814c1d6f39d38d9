package recordings

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/idempotency"
	"github.com/usher-meet/usher/server/auth"
)

var _ usherv1connect.RecordingsServiceHandler = (*Service)(nil)

// StartRecording implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) StartRecording(
	ctx context.Context, req *usherv1.StartRecordingRequest,
) (*usherv1.StartRecordingResponse, error) {
	caller := auth.FromContext(ctx)
	body := proto.CloneOf(req)
	body.RequestId = ""
	procedure := usherv1connect.RecordingsServiceStartRecordingProcedure
	key, err := idempotency.New(caller.Key(), procedure, req.GetRequestId(), body, s.IdempotencyLife)
	if err != nil {
		return nil, err
	}
	r, err := s.start(ctx, order{room: req.GetRoom(), mode: req.GetMode(), language: req.GetOptions().GetLanguage(), key: key})
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "recording asked for", "recording", r.ID, "room", r.RoomID, "caller", caller.Key())
	v, err := s.viewFor(ctx, r)
	return &usherv1.StartRecordingResponse{Recording: v}, err
}

// StopRecording implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) StopRecording(
	ctx context.Context, req *usherv1.StopRecordingRequest,
) (*usherv1.StopRecordingResponse, error) {
	r, err := s.stopRecording(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(
		ctx, "recording asked to stop", "recording", r.ID, "room", r.RoomID, "caller", auth.FromContext(ctx).Key(),
	)
	v, err := s.viewFor(ctx, r)
	return &usherv1.StopRecordingResponse{Recording: v}, err
}

// viewFor is a recording for a host of its room, who may have no access to it.
func (s *Service) viewFor(ctx context.Context, r *ent.Recording) (*usherv1.Recording, error) {
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	mine, err := s.DB.Read.Recording.QueryAccesses(r).Where(auth.MyRecordings(u)).All(ctx)
	if err != nil {
		return nil, err
	}
	return s.view(&access{Recording: r, role: highest(mine)}), nil
}

// GetRecording implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) GetRecording(
	ctx context.Context, req *usherv1.GetRecordingRequest,
) (*usherv1.GetRecordingResponse, error) {
	a, err := find(ctx, s.DB.Read, req.GetRecordingId())
	if err != nil {
		return nil, err
	}
	return &usherv1.GetRecordingResponse{Recording: s.view(a)}, nil
}

// ListRecordings implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) ListRecordings(
	ctx context.Context, req *usherv1.ListRecordingsRequest,
) (*usherv1.ListRecordingsResponse, error) {
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	found, next, err := s.list(ctx, u, req)
	if err != nil {
		return nil, err
	}
	res := &usherv1.ListRecordingsResponse{NextPageToken: next}
	for _, a := range found {
		res.Recordings = append(res.Recordings, s.view(a))
	}
	return res, nil
}

// UpdateRecording implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) UpdateRecording(
	ctx context.Context, req *usherv1.UpdateRecordingRequest,
) (*usherv1.UpdateRecordingResponse, error) {
	a, err := s.update(ctx, req)
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "recording updated", "recording", a.ID, "keep", a.Keep, "caller", auth.FromContext(ctx).Key())
	return &usherv1.UpdateRecordingResponse{Recording: s.view(a)}, nil
}

// DeleteRecording implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) DeleteRecording(
	ctx context.Context, req *usherv1.DeleteRecordingRequest,
) (*usherv1.DeleteRecordingResponse, error) {
	r, err := s.delete(ctx, req.GetRecordingId())
	if err != nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "recording to be deleted", "recording", r.ID, "caller", auth.FromContext(ctx).Key())
	return &usherv1.DeleteRecordingResponse{}, nil
}

// downloadLife is how long an address of a file is good.
const downloadLife = 5 * time.Minute

// CreateDownloadUrl implements [usherv1connect.RecordingsServiceHandler].
//
//nolint:staticcheck // named by the contract
func (s *Service) CreateDownloadUrl(
	ctx context.Context, req *usherv1.CreateDownloadUrlRequest,
) (*usherv1.CreateDownloadUrlResponse, error) {
	a, err := find(ctx, s.DB.Read, req.GetRecordingId())
	if err != nil {
		return nil, err
	}
	if err := s.mayDownload(a); err != nil {
		return nil, err
	}
	if err := s.claim(ctx, a.ID); err != nil {
		return nil, err
	}
	life := downloadLife
	if t := s.expireTime(a.Recording); !t.IsZero() {
		life = min(life, time.Until(t))
	}
	expires := now().Add(life)
	address, err := s.Files.Presign(ctx, a.ObjectKey, a.ID.String()+extension(a.Mode), life)
	if err != nil {
		return nil, ErrStorage.Because(err)
	}
	s.Log.InfoContext(ctx, "download address made", "recording", a.ID, "caller", auth.FromContext(ctx).Key())
	return &usherv1.CreateDownloadUrlResponse{Url: address, ExpireTime: timestamppb.New(expires)}, nil
}

// ListRecordingAccesses implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) ListRecordingAccesses(
	ctx context.Context, req *usherv1.ListRecordingAccessesRequest,
) (*usherv1.ListRecordingAccessesResponse, error) {
	found, next, err := s.listAccesses(ctx, req)
	if err != nil {
		return nil, err
	}
	res := &usherv1.ListRecordingAccessesResponse{NextPageToken: next}
	for _, a := range found {
		res.Accesses = append(res.Accesses, accessView(a))
	}
	return res, nil
}

// GrantRecordingAccess implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) GrantRecordingAccess(
	ctx context.Context, req *usherv1.GrantRecordingAccessRequest,
) (*usherv1.GrantRecordingAccessResponse, error) {
	p, err := readPerson(req.GetUserId(), req.GetEmail())
	if err != nil {
		return nil, err
	}
	given, err := s.grant(ctx, req.GetRecordingId(), p, req.GetRole())
	if err != nil {
		return nil, err
	}
	caller := auth.FromContext(ctx).Key()
	s.Log.InfoContext(
		ctx, "recording shared", "recording", given.RecordingID, "access", given.ID, "role", given.Role, "caller", caller,
	)
	return &usherv1.GrantRecordingAccessResponse{Access: accessView(given)}, nil
}

// RevokeRecordingAccess implements [usherv1connect.RecordingsServiceHandler].
func (s *Service) RevokeRecordingAccess(
	ctx context.Context, req *usherv1.RevokeRecordingAccessRequest,
) (*usherv1.RevokeRecordingAccessResponse, error) {
	p, err := readPerson(req.GetUserId(), req.GetEmail())
	if err != nil {
		return nil, err
	}
	if err := s.revoke(ctx, req.GetRecordingId(), p); err != nil {
		return nil, err
	}
	// The id as it was asked for could be anything.
	if id, err := uuid.Parse(req.GetRecordingId()); err == nil {
		s.Log.InfoContext(ctx, "access to recording revoked", "recording", id, "caller", auth.FromContext(ctx).Key())
	}
	return &usherv1.RevokeRecordingAccessResponse{}, nil
}
