package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
)

const (
	secret = "test-bench-secret-of-32-characters-or-more"
	// rounds and roundTime: a median of many short rounds in turns stands a noisy machine better than two long ones.
	rounds    = 11
	roundTime = time.Second
	clients   = 16
)

// benchFixture is a server under test with its parts and one room.
type benchFixture struct {
	database string
	url      string
	baseline string
	token    string
	room     string
	user     *ent.User
	db       *dbtx.DB
}

// BenchmarkGetRoom is GetRoom by a member with an API token, over Connect with protobuf and keep-alive.
func BenchmarkGetRoom(b *testing.B) {
	s := newBenchFixture(b, nil)
	s.throughput(b, "getroom", 0.5, func(ctx context.Context, c usherv1connect.RoomsServiceClient) error {
		_, err := c.GetRoom(ctx, &usherv1.GetRoomRequest{Room: s.room})
		return err
	})
}

// BenchmarkJoinRoom is JoinRoom by the same member; the baseline makes two signatures as well.
func BenchmarkJoinRoom(b *testing.B) {
	s := newBenchFixture(b, nil)
	s.throughput(b, "joinroom", 0.6, func(ctx context.Context, c usherv1connect.RoomsServiceClient) error {
		_, err := c.JoinRoom(ctx, &usherv1.JoinRoomRequest{Room: s.room, DisplayName: "Bench"})
		return err
	})
}

// BenchmarkListRooms counts the SQL statements of a page of 1 and of 100 rooms, on the wire to PostgreSQL.
func BenchmarkListRooms(b *testing.B) {
	counter := &statements{}
	s := newBenchFixture(b, func(database string) string { return counter.listen(b, database) })
	ctx := b.Context()
	for n := range 100 {
		s.makeRoom(b, fmt.Sprintf("Room %03d", n))
	}
	c := usherv1connect.NewRoomsServiceClient(http.DefaultClient, s.url, s.bearer())
	count := func(size int32) int64 {
		// The first call prepares statements, which is not the page's doing.
		for range 3 {
			if _, err := c.ListRooms(ctx, &usherv1.ListRoomsRequest{PageSize: size}); err != nil {
				b.Fatal(err)
			}
		}
		before := counter.n.Load()
		res, err := c.ListRooms(ctx, &usherv1.ListRoomsRequest{PageSize: size})
		if err != nil {
			b.Fatal(err)
		}
		if len(res.GetRooms()) != int(size) {
			b.Fatalf("page of %d rooms, want %d", len(res.GetRooms()), size)
		}
		return counter.n.Load() - before
	}
	// The sweep of the live worker runs beside: the least of several counts is the page's own.
	least := func(size int32) int64 {
		best := count(size)
		for range 9 {
			best = min(best, count(size))
		}
		return best
	}
	one, hundred := least(1), least(100)
	result(b, "listrooms", float64(hundred), "statements", float64(one), float64(hundred)/float64(one), hundred <= 4 && hundred == one)
}

// BenchmarkStart is the time from the start of the process to ready on a migrated SQLite file, and its memory after 10 s.
func BenchmarkStart(b *testing.B) {
	program := buildUsher(b)
	redis, lk := newRedis(b), testenv.LiveKit(b)
	var times []float64
	var memory float64
	for n := range 5 {
		address := "sqlite:" + filepath.Join(b.TempDir(), "usher.db")
		migrate(b, address)
		start := time.Now()
		_, process := serve(b, program, address, redis, lk)
		times = append(times, time.Since(start).Seconds())
		if n == 0 {
			time.Sleep(10 * time.Second) // what is measured is the memory after 10 s
			memory = residentMiB(b, process.Pid())
		}
		process.Kill()
	}
	slices.Sort(times)
	median := times[len(times)/2]
	result(b, "start", median, "s", 1, median, median <= 1)
	result(b, "start-rss", memory, "MiB", 120, memory/120, memory <= 120)
}

// throughput measures calls a second against the baseline, in turns, and reports the medians.
func (s *benchFixture) throughput(b *testing.B, name string, want float64, call func(context.Context, usherv1connect.RoomsServiceClient) error) {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	h := &http.Client{Transport: transport}
	subject := usherv1connect.NewRoomsServiceClient(h, s.url, s.bearer())
	bare := usherv1connect.NewRoomsServiceClient(h, s.baseline, s.bearer())
	rate(b, subject, call)
	rate(b, bare, call)
	var ours, theirs, ratios []float64
	for range rounds {
		o, t := rate(b, subject, call), rate(b, bare, call)
		ours, theirs, ratios = append(ours, o), append(theirs, t), append(ratios, o/t)
	}
	for _, list := range [][]float64{ours, theirs, ratios} {
		slices.Sort(list)
	}
	ratio := ratios[rounds/2]
	result(b, name, ours[rounds/2], "calls/s", theirs[rounds/2], ratio, ratio >= want)
}

// rate is how many calls a second succeed; one that fails ends the benchmark.
func rate(b *testing.B, c usherv1connect.RoomsServiceClient, call func(context.Context, usherv1connect.RoomsServiceClient) error) float64 {
	b.Helper()
	ctx := b.Context()
	var done atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, clients)
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for time.Since(start) < roundTime {
				if err := call(ctx, c); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
	return float64(done.Load()) / time.Since(start).Seconds()
}

// result prints the line of a row, and fails the benchmark when the row misses its bar.
func result(b *testing.B, name string, value float64, unit string, baseline, ratio float64, reached bool) {
	b.Helper()
	fmt.Printf("RESULT name=%s value=%.4g unit=%s baseline=%.4g ratio=%.2f\n", name, value, unit, baseline, ratio)
	if !reached {
		b.Errorf("%s misses its bar", name)
	}
}

// newBenchFixture starts everything. The server under test reaches the database at the address that via returns; nil:
// directly.
func newBenchFixture(b *testing.B, via func(database string) string) *benchFixture {
	b.Helper()
	ctx := b.Context()
	redis, lk := newRedis(b), testenv.LiveKit(b)
	s := &benchFixture{database: testenv.PostgresURL(b)}
	address := s.database
	if via != nil {
		address = via(address)
	}
	s.url, _ = serve(b, buildUsher(b), address, redis, lk)

	db, err := dbtx.Open(ctx, s.database)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(db.Close)
	s.db = db
	err = db.Run(ctx, func(tx *ent.Client) error {
		s.user, err = tx.User.Create().SetSub("bench").SetFullName("Bench").Save(ctx)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	tokens := auth.APITokens{DB: db, Keys: auth.NewKeys([]byte(secret), nil)}
	if s.token, _, err = tokens.Create(ctx, auth.CreateAPITokenParams{UserID: s.user.ID, Name: "bench", Scopes: []string{"read", "rooms"}, ExpireTime: time.Now().Add(time.Hour)}); err != nil {
		b.Fatal(err)
	}
	s.room = s.makeRoom(b, "Bench")

	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	listen := "127.0.0.1:" + strconv.Itoa(testenv.Port(b))
	s.baseline = "http://" + listen
	b.Setenv(baselineVariable, listen)
	b.Setenv("USHER_DATABASE_URL", s.database)
	testenv.Start(b, self)
	waitReady(b, s.baseline)
	return s
}

// makeRoom makes a room of which the user is owner.
func (s *benchFixture) makeRoom(b *testing.B, name string) string {
	b.Helper()
	var id uuid.UUID
	err := s.db.Run(b.Context(), func(tx *ent.Client) error {
		r, err := tx.Room.Create().SetName(name).SetNameKey(strings.ToLower(name)).SetSlug("bench-" + uuid.NewString()[:8] + "x").
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Save(b.Context())
		if err != nil {
			return err
		}
		id = r.ID
		return tx.Member.Create().SetRoomID(r.ID).SetUserID(s.user.ID).SetRole(usherv1.Role_ROLE_OWNER).Exec(b.Context())
	})
	if err != nil {
		b.Fatal(err)
	}
	return id.String()
}

func (s *benchFixture) bearer() connect.ClientOption {
	return connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+s.token)
			return next(ctx, req)
		}
	}))
}

// buildUsher builds the program without the race detector.
func buildUsher(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "usher")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", path, "github.com/usher-meet/usher/cmd/usher").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// newRedis starts Redis as it is run: it writes to the disk once a second.
func newRedis(b *testing.B) *testenv.RedisServer {
	b.Helper()
	return testenv.Redis(b, "--appendfsync", "everysec")
}

// serve starts `usher serve` and waits until it is ready.
func serve(b *testing.B, program, database string, redis *testenv.RedisServer, lk *testenv.LiveKitServer) (string, *testenv.Process) {
	b.Helper()
	address := "127.0.0.1:" + strconv.Itoa(testenv.Port(b))
	for name, value := range map[string]string{
		"USHER_PUBLIC_URL": "http://localhost", "USHER_LISTEN": address, "USHER_LISTEN_INTERNAL": "127.0.0.1:0",
		"USHER_DATABASE_URL": database, "USHER_REDIS_ADDRESSES": redis.Address, "USHER_SECRET": secret,
		"USHER_LIVEKIT_URL": lk.URL, "USHER_LIVEKIT_PUBLIC_URL": strings.Replace(lk.URL, "http", "ws", 1),
		"USHER_LIVEKIT_KEY": testenv.LiveKitKey, "USHER_LIVEKIT_SECRET": testenv.LiveKitSecret,
		// The cost of limits is in the figures; that they refuse must not be.
		"USHER_LIMIT_CALLS": "100000000/1m", "USHER_LIMIT_JOIN": "100000000/1m",
		"USHER_LOG_LEVEL": "info",
	} {
		b.Setenv(name, value)
	}
	process := testenv.Start(b, program, "serve")
	waitReady(b, "http://"+address)
	return "http://" + address, process
}

func waitReady(b *testing.B, url string) {
	b.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		res, err := http.Get(url + "/readyz")
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	b.Fatalf("%s is not ready", url)
}

func migrate(b *testing.B, address string) {
	b.Helper()
	db, err := dbtx.Open(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := migrations.Up(b.Context(), db.SQL(), db.Dialect); err != nil {
		b.Fatal(err)
	}
}

// residentMiB is the resident memory of a process, from /proc.
func residentMiB(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
