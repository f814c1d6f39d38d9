package recordings

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// What everybody in a meeting sees of its recording: labels in the metadata of the LiveKit room.
const (
	labelStarting = "starting"
	labelStarted  = "started"
	labelSaving   = "saving"
	labelAborted  = "aborted"
)

// Label returns the mode and the status of the recording that a meeting which began at since shows. Both are empty
// when there is nothing to show. server/rooms, which writes all of the metadata, asks for it.
func (s *Service) Label(ctx context.Context, room uuid.UUID, since time.Time) (mode, status string, err error) {
	r, err := s.DB.Read.Recording.Query().Where(recording.RoomID(room), recording.CreateTimeGTE(since)).
		Order(ent.Desc(recording.FieldCreateTime, recording.FieldID)).First(ctx)
	if ent.IsNotFound(err) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("find recording of %s: %w", room, err)
	}
	switch r.Status {
	case initiated:
		status = labelStarting
	case active, failedToStop:
		status = labelStarted
	case stopped:
		status = labelSaving
	case aborted, failedToStart, failed:
		status = labelAborted
	default:
		return "", "", nil
	}
	return modeName(r.Mode), status, nil
}

// modeName is a mode as it is written in labels and records: "screen_recording" or "transcript".
func modeName(m usherv1.RecordingMode) string {
	return strings.ToLower(strings.TrimPrefix(m.String(), "RECORDING_MODE_"))
}

// statusName is a status as it is written in logs and lists, such as "failed_to_stop".
func statusName(st usherv1.RecordingStatus) string {
	return strings.ToLower(strings.TrimPrefix(st.String(), "RECORDING_STATUS_"))
}

// topic of messages from the server. They have no sender.
const topic = "usher"

// tellLimit tells everybody in the meeting that the recording is as long as it may be. Who does not get the message sees the
// label change.
func (s *Service) tellLimit(ctx context.Context, r *ent.Recording) {
	people, err := s.LiveKit.Participants(ctx, r.RoomID)
	if err != nil {
		s.Log.InfoContext(ctx, "the meeting was not told that its recording is full", "recording", r.ID, "err", err)
		return
	}
	identities := make([]string, 0, len(people))
	for _, p := range people {
		identities = append(identities, p.Identity)
	}
	message := fmt.Appendf(
		nil,
		`{"type":"recordingLimitReached","recording_id":%q,"recording_mode":%q}`,
		r.ID,
		modeName(r.Mode),
	)
	if err := s.LiveKit.SendData(ctx, r.RoomID, identities, topic, message); err != nil {
		s.Log.InfoContext(ctx, "the meeting was not told that its recording is full", "recording", r.ID, "err", err)
	}
}
