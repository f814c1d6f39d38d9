package bench

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	lkauth "github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/webhook"

	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// BenchmarkWebhook is how many of LiveKit's events are accepted: verified, stored and answered, while those that were stored
// before are handled. The baseline verifies and inserts one row in one transaction, and handles nothing.
func BenchmarkWebhook(b *testing.B) {
	s := newBenchFixture(b, nil)
	if _, err := s.db.SQL().ExecContext(b.Context(), "CREATE TABLE baseline_events (id text PRIMARY KEY, body text NOT NULL)"); err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	h := &http.Client{Transport: transport}
	type call = func(context.Context, usherv1connect.RoomsServiceClient) error
	send := func(base string) call {
		return func(ctx context.Context, _ usherv1connect.RoomsServiceClient) error {
			return sendEvent(ctx, h, base, s.room)
		}
	}
	rate(b, nil, send(s.url))
	rate(b, nil, send(s.baseline))
	var ours, theirs, ratios []float64
	for range rounds {
		o, t := rate(b, nil, send(s.url)), rate(b, nil, send(s.baseline))
		ours, theirs, ratios = append(ours, o), append(theirs, t), append(ratios, o/t)
	}
	for _, list := range [][]float64{ours, theirs, ratios} {
		slices.Sort(list)
	}
	ratio := ratios[rounds/2]
	result(b, "webhook", ours[rounds/2], "events/s", theirs[rounds/2], ratio, ratio >= 0.5)
}

// sendEvent sends an event that nobody has sent before, as LiveKit does.
func sendEvent(ctx context.Context, h *http.Client, base, room string) error {
	body := fmt.Sprintf(`{"event":"room_started","id":"EV_%s","createdAt":"%d","room":{"name":%q,"sid":"RM_bench"}}`,
		uuid.NewString(), time.Now().Unix(), room)
	sum := sha256.Sum256([]byte(body))
	token, err := lkauth.NewAccessToken(testenv.LiveKitKey, testenv.LiveKitSecret).
		SetSha256(base64.StdEncoding.EncodeToString(sum[:])).SetValidFor(5 * time.Minute).ToJWT()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/webhooks/livekit", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", token)
	res, err := h.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %d", res.StatusCode)
	}
	return nil
}

// baselineWebhook verifies an event and stores it, and does nothing else.
func baselineWebhook(pool *pgxpool.Pool) http.HandlerFunc {
	keys := lkauth.NewSimpleKeyProvider(testenv.LiveKitKey, testenv.LiveKitSecret)
	return func(w http.ResponseWriter, r *http.Request) {
		event, err := webhook.ReceiveWebhookEvent(r, keys)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		ctx := r.Context()
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO baseline_events (id, body) VALUES ($1, $2)", event.GetId(), event.GetEvent())
			return err
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}
