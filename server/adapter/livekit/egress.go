package livekit

import (
	"cmp"
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/text"
)

// EgressStorage is where LiveKit's egress puts files: a bucket, or a folder that it shares with Usher.
type EgressStorage struct {
	// Folder, if it is set, is the path of the folder for the egress, and the rest is empty.
	Folder string
	// Endpoint is the address of the S3 store for the egress.
	Endpoint, Bucket, Region string
	// Key and Secret may write to the bucket. They go to the egress with each request, so they should allow nothing else.
	Key, Secret string
	// VirtualHost puts the bucket into the host name instead of the path.
	VirtualHost bool
}

// egressLayout is the layout of a video: the speaker large, and the others beside.
const egressLayout = "speaker-light"

// StartEgress has a live room recorded. It fails with meeting.ErrNotFound when the room has no meeting, with
// meeting.ErrRefused when LiveKit will certainly not do it, and with meeting.ErrUnavailable when there was no answer: then a
// recorder may come all the same.
func (c *Client) StartEgress(ctx context.Context, r meeting.EgressRequest) (*meeting.Egress, error) {
	var info *livekit.EgressInfo
	err := c.call(ctx, "start egress", egressGrant(r.Room), func(ctx context.Context) (err error) {
		info, err = c.egress.StartRoomCompositeEgress(ctx, c.egressRequest(r))
		return notBegun(err)
	})
	if err != nil {
		return nil, err
	}
	return egressView(info), nil
}

func (c *Client) egressRequest(r meeting.EgressRequest) *livekit.RoomCompositeEgressRequest {
	s := c.config.Egress
	file := &livekit.EncodedFileOutput{FileType: livekit.EncodedFileType_MP4, Filepath: r.Key, DisableManifest: true}
	request := &livekit.RoomCompositeEgressRequest{
		RoomName: r.Room.String(), Layout: egressLayout, FileOutputs: []*livekit.EncodedFileOutput{file},
	}
	if r.AudioOnly {
		file.FileType, request.Layout, request.AudioOnly = livekit.EncodedFileType_OGG, "", true
	}
	if s.Folder != "" {
		file.Filepath = filepath.Join(s.Folder, filepath.FromSlash(r.Key))
		return request
	}
	file.Output = &livekit.EncodedFileOutput_S3{S3: &livekit.S3Upload{
		AccessKey: s.Key, Secret: s.Secret, Region: s.Region, Endpoint: s.Endpoint, Bucket: s.Bucket,
		ForcePathStyle: !s.VirtualHost,
	}}
	return request
}

// refusals are the codes with which LiveKit says that it will not do what it was asked.
var refusals = []twirp.ErrorCode{
	twirp.InvalidArgument, twirp.Malformed, twirp.PermissionDenied, twirp.Unauthenticated, twirp.FailedPrecondition,
	twirp.ResourceExhausted, twirp.Unimplemented, twirp.BadRoute,
}

// answerCodes are the codes of a refusal that shows that the recorder answers.
var answerCodes = []twirp.ErrorCode{twirp.InvalidArgument, twirp.FailedPrecondition, twirp.Unimplemented}

// notBegun marks the errors after which there is certainly no egress.
func notBegun(err error) error {
	if te, ok := errors.AsType[twirp.Error](err); ok {
		if slices.Contains(refusals, te.Code()) {
			return refusedError{err}
		}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return refusedError{err} // the request never left
	}
	return err
}

// refusedError is an error that translate turns into meeting.ErrRefused.
type refusedError struct{ error }

func (r refusedError) Unwrap() error { return r.error }

// StopEgress asks a recorder to end, and returns what it says. It fails with meeting.ErrNotFound when LiveKit knows no such
// egress, with meeting.ErrRefused when it has ended already, and with meeting.ErrUnavailable when the recorder does not
// answer.
func (c *Client) StopEgress(ctx context.Context, id string) (*meeting.Egress, error) {
	var info *livekit.EgressInfo
	err := c.call(ctx, "stop egress", egressGrant(uuid.Nil), func(ctx context.Context) (err error) {
		info, err = c.egress.StopEgress(ctx, &livekit.StopEgressRequest{EgressId: id})
		if te, ok := errors.AsType[twirp.Error](err); ok && te.Code() == twirp.FailedPrecondition {
			return refusedError{err}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return egressView(info), nil
}

// RecorderSigns returns the signs of life of the recorder of a running egress. LiveKit lists an egress whose machine died as
// running for ever, and knows nothing of a browser that crashed inside a recorder, but the list of participants shows that
// a recorder has left. It fails with meeting.ErrNotFound when LiveKit knows no such egress.
func (c *Client) RecorderSigns(ctx context.Context, room uuid.UUID, id string) (meeting.RecorderSigns, error) {
	var signs meeting.RecorderSigns
	people, err := c.Participants(ctx, room)
	if err != nil {
		return signs, err
	}
	for _, p := range people {
		signs.Listed = signs.Listed || p.Identity == id
		signs.Others = signs.Others || p.Identity != id
	}
	signs.Answers, err = c.egressAnswers(ctx, id)
	return signs, err
}

// egressAnswers reports whether the service of a recorder answers.
func (c *Client) egressAnswers(ctx context.Context, id string) (bool, error) {
	answers := true
	err := c.call(ctx, "ask egress", egressGrant(uuid.Nil), func(ctx context.Context) error {
		// It changes nothing: a recorder that makes a file refuses it, and one that died does not answer.
		_, err := c.egress.UpdateStream(ctx, &livekit.UpdateStreamRequest{EgressId: id})
		te, ok := errors.AsType[twirp.Error](err)
		switch {
		case err == nil:
		case ok && te.Meta("http_error_from_intermediary") == "true":
			return err // of a proxy in front of LiveKit: it says nothing about the recorder
		case ctx.Err() != nil, ok && (te.Code() == twirp.Unavailable || te.Code() == twirp.DeadlineExceeded):
			answers = false
		case ok && slices.Contains(answerCodes, te.Code()):
		default:
			return err
		}
		return nil
	})
	return answers, err
}

// RoomEgresses are the recorders of a room that LiveKit knows of, those that have ended included: it keeps them for a day.
func (c *Client) RoomEgresses(ctx context.Context, room uuid.UUID) ([]meeting.Egress, error) {
	return c.listEgress(ctx, &livekit.ListEgressRequest{RoomName: room.String()})
}

// RunningEgresses are the recorders of all rooms that have not ended, as far as LiveKit knows.
func (c *Client) RunningEgresses(ctx context.Context) ([]meeting.Egress, error) {
	return c.listEgress(ctx, &livekit.ListEgressRequest{Active: true})
}

// Egress is one recorder. It fails with meeting.ErrNotFound when LiveKit does not know it.
func (c *Client) Egress(ctx context.Context, id string) (*meeting.Egress, error) {
	list, err := c.listEgress(ctx, &livekit.ListEgressRequest{EgressId: id})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, meeting.ErrNotFound
	}
	return &list[0], nil
}

func (c *Client) listEgress(ctx context.Context, req *livekit.ListEgressRequest) ([]meeting.Egress, error) {
	var res *livekit.ListEgressResponse
	err := c.call(ctx, "list egress", egressGrant(uuid.Nil), func(ctx context.Context) (err error) {
		res, err = c.egress.ListEgress(ctx, req)
		if te, ok := errors.AsType[twirp.Error](err); ok && strings.Contains(te.Msg(), "egress not connected") {
			return nil // a LiveKit without Redis, which has no egress at all
		}
		return err
	})
	if err != nil {
		// That there is no such egress is an empty list to some versions, and not_found to others.
		return nil, ignoreNotFound(err)
	}
	list := make([]meeting.Egress, 0, len(res.GetItems()))
	for _, info := range res.GetItems() {
		list = append(list, *egressView(info))
	}
	return list, nil
}

// egressGrant is the grant that calls about egress need. No participant ever gets it.
func egressGrant(room uuid.UUID) *auth.VideoGrant {
	g := &auth.VideoGrant{RoomRecord: true}
	if room != uuid.Nil {
		g.Room = room.String()
	}
	return g
}

// egressStatuses are LiveKit's, in our terms.
var egressStatuses = map[livekit.EgressStatus]meeting.EgressStatus{
	livekit.EgressStatus_EGRESS_STARTING:      meeting.EgressStarting,
	livekit.EgressStatus_EGRESS_ACTIVE:        meeting.EgressActive,
	livekit.EgressStatus_EGRESS_ENDING:        meeting.EgressEnding,
	livekit.EgressStatus_EGRESS_COMPLETE:      meeting.EgressComplete,
	livekit.EgressStatus_EGRESS_LIMIT_REACHED: meeting.EgressLimitReached,
	livekit.EgressStatus_EGRESS_ABORTED:       meeting.EgressAborted,
	livekit.EgressStatus_EGRESS_FAILED:        meeting.EgressFailed,
}

// egressView puts LiveKit's account of an egress in our terms.
func egressView(info *livekit.EgressInfo) *meeting.Egress {
	e := &meeting.Egress{
		ID: info.GetEgressId(), Status: egressStatuses[info.GetStatus()], Path: egressPath(info),
		StartTime: nanoseconds(info.GetStartedAt()), EndTime: nanoseconds(info.GetEndedAt()),
		UpdateTime: nanoseconds(info.GetUpdatedAt()), InBackup: info.GetBackupStorageUsed(),
		Detail: text.MakeStorable(cmp.Or(info.GetError(), info.GetDetails())),
	}
	e.RoomID, _ = roomID(info.GetRoomName())
	for _, f := range info.GetFileResults() {
		e.Duration = time.Duration(f.GetDuration())
		// Those of the egress are when it took the order, and when the file was stored.
		if f.GetStartedAt() > 0 {
			e.StartTime = nanoseconds(f.GetStartedAt())
		}
		if f.GetEndedAt() > 0 {
			e.EndTime = nanoseconds(f.GetEndedAt())
		}
	}
	return e
}

// egressPath is where the file was asked for. Results name it too, but only once there is one.
func egressPath(info *livekit.EgressInfo) string {
	composite := info.GetRoomComposite()
	for _, f := range composite.GetFileOutputs() {
		return f.GetFilepath()
	}
	for _, f := range info.GetFileResults() {
		return f.GetFilename()
	}
	return ""
}

// nanoseconds reads a time of an egress; 0 is none.
func nanoseconds(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC().Truncate(time.Microsecond)
}
