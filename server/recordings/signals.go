package recordings

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
)

// SettleJob has one recording looked at.
type SettleJob struct {
	RecordingID uuid.UUID `json:"recording_id"`
}

// Kind implements jobs.Args.
func (SettleJob) Kind() string { return "recordings.settle" }

// RoomJob has all recordings of a room looked at that are not settled.
type RoomJob struct {
	RoomID uuid.UUID `json:"room_id"`
}

// Kind implements jobs.Args.
func (RoomJob) Kind() string { return "recordings.room" }

// Register registers the handlers of this package's jobs.
func (s *Service) Register(r *jobs.Registry) {
	jobs.Handle(r, func(ctx context.Context, j SettleJob) error { return s.Settle(ctx, j.RecordingID, nil) })
	jobs.Handle(r, s.settleRoom)
	jobs.Handle(r, s.notify, jobs.Timeout(notifyTimeout))
}

// Events are the types of LiveKit events that this package handles.
var Events = []meeting.EventType{meeting.EgressStarted, meeting.EgressUpdated, meeting.EgressEnded, meeting.RoomFinished}

// Handle takes what LiveKit tells.
func (s *Service) Handle(ctx context.Context, e meeting.Event) error {
	if e.Type == meeting.RoomFinished {
		return s.RoomFinished(ctx, e.RoomID)
	}
	if e.Egress == nil {
		return nil
	}
	return s.EgressChanged(ctx, *e.Egress)
}

// EgressChanged is LiveKit's word about a recorder: the first signal.
func (s *Service) EgressChanged(ctx context.Context, e meeting.Egress) error {
	id, ok := s.recordingOf(e)
	if !ok {
		return nil // somebody else's
	}
	return s.Settle(ctx, id, &e)
}

// recordingOf is the recording for which a recorder works: its id is in the name of the file.
func (s *Service) recordingOf(e meeting.Egress) (uuid.UUID, bool) {
	if path.Base(path.Dir(e.Path)) != s.Rules.Folder || e.RoomID == uuid.Nil {
		return uuid.Nil, false
	}
	return parseFile(path.Base(e.Path))
}

// isPathOf reports whether a path is that of a recording's file, below whatever folder the recorder has.
func isPathOf(p string, r *ent.Recording) bool {
	return p == r.ObjectKey || strings.HasSuffix(p, "/"+r.ObjectKey)
}

// parseFile reads the id of a recording from the name of a file. Only the one spelling that this server writes counts.
func parseFile(name string) (uuid.UUID, bool) {
	stem := strings.TrimSuffix(strings.TrimSuffix(name, ".mp4"), ".ogg")
	id, err := uuid.Parse(stem)
	return id, err == nil && len(name) == len(stem)+4 && id.String() == stem
}

func (s *Service) settleRoom(ctx context.Context, j RoomJob) error {
	ids, err := s.DB.Read.Recording.Query().Where(recording.RoomID(j.RoomID),
		recording.Or(recording.StatusIn(unsettled...), recording.PurgeTimeNotNil())).IDs(ctx)
	if err != nil {
		return fmt.Errorf("find recordings of %s: %w", j.RoomID, err)
	}
	return s.settleAll(ctx, ids)
}
