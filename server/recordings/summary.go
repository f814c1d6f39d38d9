package recordings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/mailbox"
)

// SummaryService announces saved transcripts to a program of the operator, which does the rest: one POST of JSON for each.
type SummaryService struct {
	// URL and Token are the address and its bearer token. Required.
	URL, Token string
	// Client has the certificates to trust. Required.
	Client *http.Client
}

// summaryTimeout bounds one call: the service is to take the order, not to do the work.
const summaryTimeout = 30 * time.Second

// summaryOrder is the body of the call. docs/recording.md describes it for whoever writes such a service.
type summaryOrder struct {
	RecordingID uuid.UUID    `json:"recording_id"`
	Owner       summaryOwner `json:"owner"`
	ObjectKey   string       `json:"object_key"`
	RoomID      uuid.UUID    `json:"room_id"`
	RoomName    string       `json:"room_name"`
	Language    string       `json:"language"`
	StartTime   time.Time    `json:"start_time"`
	EndTime     time.Time    `json:"end_time"`
	Interrupted bool         `json:"interrupted"`
}

type summaryOwner struct {
	ID       uuid.UUID       `json:"id"`
	Sub      string          `json:"sub,omitempty"`
	Email    mailbox.Address `json:"email"`
	Name     string          `json:"name"`
	Language string          `json:"language"`
	Timezone string          `json:"timezone"`
}

// Summarize implements [summary]. Its errors say nothing about people: they are stored with the job.
func (s *SummaryService) Summarize(ctx context.Context, t Transcript) error {
	order := summaryOrder{
		RecordingID: t.RecordingID, ObjectKey: t.Key, RoomID: t.RoomID, RoomName: t.RoomName, Language: t.Language,
		StartTime: t.StartTime, EndTime: t.EndTime, Interrupted: t.Interrupted,
		Owner: summaryOwner{
			ID: t.Owner.ID, Email: t.Owner.Email, Name: t.Owner.FullName, Language: t.Owner.Language, Timezone: t.Owner.Timezone,
		},
	}
	if t.Owner.Sub != nil {
		order.Owner.Sub = *t.Owner.Sub
	}
	body, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("summary service: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, summaryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("summary service: its address cannot be used")
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Header.Set("Content-Type", "application/json")
	// By this the service knows an order that is repeated after its answer was lost.
	req.Header.Set("Idempotency-Key", t.RecordingID.String())
	res, err := s.Client.Do(req)
	if err != nil {
		return fmt.Errorf("summary service does not answer: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("summary service answers %d", res.StatusCode)
	}
	return nil
}
