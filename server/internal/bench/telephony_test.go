package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/telephony"
)

// phoneToken is a service that opens and closes rooms for phone callers.
const phoneToken = "usher_svc_test-service-token-of-the-benchmark"

// cost is what opening a room takes.
type cost struct {
	time                        float64 // in ms, the median
	statements, rows, liveCalls int64   // the least, since the server also does other things
}

// BenchmarkDialIn opens and closes a room in which somebody is, while 0, 1,000 and 10,000 other rooms can be dialled as far
// as Usher knows. LiveKit has no rules of those: what it costs LiveKit to look through its rules is not ours to measure.
func BenchmarkDialIn(b *testing.B) {
	wire, calls := &statements{}, &atomic.Int64{}
	redis := newRedis(b)
	lk := testenv.NewLiveKit(b, testenv.LiveKitOptions{Redis: redis})
	trunk := phone.New(b, lk).TrunkWithAddresses("bench", []string{"192.0.2.0/24"}, "+33123456789")
	hash := sha256.Sum256([]byte(phoneToken))
	b.Setenv("USHER_SERVICE_TOKENS", "bench:"+hex.EncodeToString(hash[:])+":telephony")
	b.Setenv("USHER_TELEPHONY_SWEEP", "24h")
	database := testenv.PostgresURL(b)
	counted := &testenv.LiveKitServer{URL: countCalls(b, lk.URL, calls)}
	address, _ := serve(b, buildUsher(b), wire.listen(b, database), newRedis(b), counted)
	db, err := dbtx.Open(b.Context(), database)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(db.Close)
	room := meet(b, db, address, lk.URL)
	c := usherv1connect.NewTelephonyServiceClient(http.DefaultClient, address, connect.WithInterceptors(bearerOf(phoneToken)))

	costs := map[int]cost{}
	others := []int{0, 1_000, 10_000}
	for i, n := range others {
		if i > 0 {
			addDialled(b, db, trunk, n-others[i-1])
		}
		costs[n] = measureOpen(b, c, room, wire, calls)
	}
	none := costs[0]
	for _, n := range others[1:] {
		is := costs[n]
		result(b, fmt.Sprintf("dialin-%d", n), is.time, "ms", none.time, is.time/none.time, is.time <= 1.5*none.time)
		result(b, fmt.Sprintf("dialin-%d-statements", n), float64(is.statements), "statements", float64(none.statements),
			float64(is.statements)/float64(none.statements), is.statements == none.statements)
		result(b, fmt.Sprintf("dialin-%d-rows", n), float64(is.rows), "rows", float64(none.rows),
			float64(is.rows)/float64(none.rows), is.rows == none.rows)
		result(b, fmt.Sprintf("dialin-%d-livekit", n), float64(is.liveCalls), "calls", float64(none.liveCalls),
			float64(is.liveCalls)/float64(none.liveCalls), is.liveCalls == none.liveCalls)
	}
}

// countCalls puts a proxy in front of LiveKit's API.
func countCalls(b *testing.B, target string, n *atomic.Int64) string {
	b.Helper()
	u, err := url.Parse(target)
	if err != nil {
		b.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// meet makes a room, and somebody joins its meeting.
func meet(b *testing.B, db *dbtx.DB, address, livekit string) string {
	b.Helper()
	var id uuid.UUID
	err := db.Run(b.Context(), func(tx *ent.Client) error {
		r, err := tx.Room.Create().SetName("Bench").SetNameKey("bench").SetSlug("bench").
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC).Save(b.Context())
		if err == nil {
			id = r.ID
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	c := usherv1connect.NewRoomsServiceClient(http.DefaultClient, address)
	res, err := c.JoinRoom(b.Context(), &usherv1.JoinRoomRequest{Room: id.String()})
	if err != nil {
		b.Fatal(err)
	}
	participant.Join(b, livekit, res.GetConnection().GetToken())
	return id.String()
}

// bearerOf authenticates every call.
func bearerOf(token string) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, req)
		}
	})
}

// measureOpen opens and closes a room again and again.
func measureOpen(b *testing.B, c usherv1connect.TelephonyServiceClient, room string, wire *statements, calls *atomic.Int64) cost {
	b.Helper()
	const times = 400 // some seconds, so that what the server does each second is measured too
	least := cost{statements: 1 << 30, rows: 1 << 30, liveCalls: 1 << 30}
	var took []float64
	for n := range times {
		before := cost{statements: wire.n.Load(), rows: wire.rows.Load(), liveCalls: calls.Load()}
		start := time.Now()
		res, err := c.OpenDialIn(b.Context(), &usherv1.OpenDialInRequest{RoomId: room})
		if err != nil || !res.GetCreated() {
			b.Fatalf("open: %v, %v", res, err)
		}
		if n >= 5 { // the first ones prepare statements
			took = append(took, float64(time.Since(start).Microseconds())/1000)
			least.statements = min(least.statements, wire.n.Load()-before.statements)
			least.rows = min(least.rows, wire.rows.Load()-before.rows)
			least.liveCalls = min(least.liveCalls, calls.Load()-before.liveCalls)
		}
		closed, err := c.CloseDialIn(b.Context(), &usherv1.CloseDialInRequest{RoomId: room})
		if err != nil || closed.GetDeletedCount() != 1 {
			b.Fatalf("close: %v, %v", closed, err)
		}
	}
	slices.Sort(took)
	least.time = took[len(took)/2]
	return least
}

// addDialled adds rooms that can be dialled, as far as the database says.
func addDialled(b *testing.B, db *dbtx.DB, trunk string, n int) {
	b.Helper()
	addRooms(b, db, trunk, n)
	sqlExec(b, db, `INSERT INTO dispatch_rules (id, rule_id, trunk_id, pin_id, held)
		SELECT p.room_id, 'SDR_' || p.room_id, p.trunk_id, p.id, false FROM pins p JOIN rooms r ON r.id = p.room_id
		WHERE r.slug LIKE 'bulk-%' ON CONFLICT DO NOTHING`)
	sqlExec(b, db, "ANALYZE")
}

// addRooms adds rooms with a PIN each.
func addRooms(b *testing.B, db *dbtx.DB, trunk string, n int) {
	b.Helper()
	sqlExec(b, db, `INSERT INTO rooms (id, name, name_key, slug, access_level, meeting, version, create_time, update_time)
		SELECT gen_random_uuid(), 'Bulk', 'bulk', 'bulk-' || gen_random_uuid(), 1, 0, 1, now(), now() FROM generate_series(1, $1)`, n)
	sqlExec(b, db, `INSERT INTO pins (id, trunk_id, pin, room_id, create_time)
		SELECT gen_random_uuid(), $1, lpad(floor(random() * 1e10)::bigint::text, 10, '0'), r.id, now()
		FROM rooms r WHERE r.slug LIKE 'bulk-%' AND NOT EXISTS (SELECT 1 FROM pins p WHERE p.room_id = r.id)
		ON CONFLICT DO NOTHING`, trunk)
	sqlExec(b, db, `INSERT INTO trunks (id, room_count) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET room_count = trunks.room_count + $2`, trunk, n)
}

func sqlExec(b *testing.B, db *dbtx.DB, statement string, args ...any) {
	b.Helper()
	if _, err := db.SQL().ExecContext(b.Context(), statement, args...); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPIN draws PINs for 1,000 rooms, first in an empty database and then beside 1,000,000 other rooms of the trunk.
func BenchmarkPIN(b *testing.B) {
	const trunk, others, more = "ST_bench", 1_000_000, 1_000
	db := testenv.Postgres(b)
	log := slog.New(slog.DiscardHandler)
	s := &telephony.Service{
		Survey: telephony.Survey{DB: db, Trunks: &telephony.Trunks{
			LiveKit: noLiveKit{}, Enabled: true, Log: log,
			Configured: []telephony.ConfiguredTrunk{{ID: trunk, Numbers: []string{"+33123456789"}}},
		}},
		Keys: auth.NewKeys([]byte(secret), nil), Limiter: &ratelimit.Limiter{}, Log: log,
		Metrics: telephony.NewMetrics(prometheus.NewRegistry()), Random: rand.Reader, PINLength: 10, Rest: time.Hour, Lease: time.Minute,
	}
	draw := func() float64 {
		var rooms []uuid.UUID
		for range more {
			err := db.Run(b.Context(), func(tx *ent.Client) error {
				r, err := tx.Room.Create().SetName("More").SetNameKey("more").SetSlug("more-" + uuid.NewString()).
					SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC).Save(b.Context())
				if err == nil {
					rooms = append(rooms, r.ID)
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		start := time.Now()
		for _, room := range rooms {
			if d, err := s.DialIn(b.Context(), room); err != nil || d.GetPin() == "" {
				b.Fatalf("a draw failed: %v", err)
			}
		}
		return time.Since(start).Seconds()
	}
	draw() // prepares statements
	alone := min(draw(), draw(), draw())
	addRooms(b, db, trunk, others)
	sqlExec(b, db, "ANALYZE")
	draw()
	among := min(draw(), draw(), draw())
	result(b, "pin", among, "s", alone, among/alone, among <= 1.5*alone)
}

// noLiveKit is one that is down: PINs need none.
type noLiveKit struct{}

func (noLiveKit) InboundTrunks(context.Context) ([]meeting.Trunk, error) {
	return nil, meeting.ErrUnavailable
}
