package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// baselineVariable makes this program the baseline's server instead of the benchmarks; it holds the address to listen on.
const baselineVariable = "USHER_BENCH_BASELINE"

// TestMain lets the baseline run as a process of its own, like the program that it is compared with.
func TestMain(m *testing.M) {
	if address := os.Getenv(baselineVariable); address != "" {
		fmt.Fprintln(os.Stderr, serveBaseline(context.Background(), address, os.Getenv("USHER_DATABASE_URL")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// baseline is what GetRoom and JoinRoom cannot do without: a Connect handler behind the same credential check, with one SQL
// statement through pgx, and for JoinRoom two signatures. It has no limits, no validation, no metrics and no log.
type baseline struct {
	usherv1connect.UnimplementedRoomsServiceHandler

	pool    *pgxpool.Pool
	livekit *livekit.Client
	keys    *auth.Keys
}

func (b *baseline) room(ctx context.Context, id string) (*usherv1.Room, error) {
	r := &usherv1.Room{}
	err := b.pool.QueryRow(ctx, "SELECT id, name, slug, access_level FROM rooms WHERE id = $1", id).
		Scan(&r.Id, &r.Name, &r.Slug, &r.AccessLevel)
	return r, err
}

// GetRoom implements usherv1connect.RoomsServiceHandler.
func (b *baseline) GetRoom(ctx context.Context, req *usherv1.GetRoomRequest) (*usherv1.GetRoomResponse, error) {
	r, err := b.room(ctx, req.GetRoom())
	return &usherv1.GetRoomResponse{Room: r}, err
}

// JoinRoom implements usherv1connect.RoomsServiceHandler.
func (b *baseline) JoinRoom(ctx context.Context, req *usherv1.JoinRoomRequest) (*usherv1.JoinRoomResponse, error) {
	r, err := b.room(ctx, req.GetRoom())
	if err != nil {
		return nil, err
	}
	id := uuid.MustParse(r.GetId())
	token, _, err := b.livekit.Token(meeting.Grant{
		Room: id, Identity: "p_baseline", DisplayName: req.GetDisplayName(), Sources: []usherv1.TrackSource{1, 2, 3, 4},
	}, "")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	session, err := b.keys.SignSession(auth.ParticipantSession{RoomID: id, Identity: "p_baseline", JoinTime: now, ExpireTime: now.Add(time.Hour)})
	return &usherv1.JoinRoomResponse{Connection: &usherv1.Connection{LivekitRoom: r.GetId(), Token: token, SessionToken: session}}, err
}

// serveBaseline serves until it fails.
func serveBaseline(ctx context.Context, address, database string) error {
	db, err := dbtx.Open(ctx, database)
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	lk, err := livekit.New(livekit.Config{
		URL: "http://127.0.0.1:1", Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret, TokenLife: 10 * time.Minute,
		EmptyTimeout: 5 * time.Minute, DepartureTimeout: 20 * time.Second,
	})
	if err != nil {
		return err
	}
	keys := auth.NewKeys([]byte(secret), nil)
	check := &auth.Authenticator{DB: db, Keys: keys, Log: slog.New(slog.DiscardHandler)}
	path, handler := usherv1connect.NewRoomsServiceHandler(&baseline{pool: pool, livekit: lk, keys: keys}, connect.WithReadMaxBytes(1<<20))
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		caller, err := check.Caller(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r.WithContext(auth.WithCaller(r.Context(), caller)))
	})
	mux.HandleFunc("/webhooks/livekit", baselineWebhook(pool))
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}).Serve(listener)
}
