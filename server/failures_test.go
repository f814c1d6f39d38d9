package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/settings"
)

// get returns the status and body of a GET.
func get(t *testing.T, address string) (int, string) {
	t.Helper()
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// eventually waits for ok, which something outside makes true within milliseconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within 20 s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Without the database calls fail as UNAVAILABLE and readiness says which part is missing; with it back, the same call with
// the same request_id succeeds once.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	var proxy *testenv.Proxy
	i := start(t, func(c *settings.Config) {
		u, err := url.Parse(string(c.DatabaseURL))
		if err != nil {
			t.Fatal(err)
		}
		proxy = testenv.NewProxy(t, u.Host)
		u.Host = proxy.Address
		c.DatabaseURL = settings.Secret(u.String())
	})
	c := i.clients(bearer(i.apiToken(i.user("Ada Database"), "read", "rooms")))
	request := &usherv1.CreateRoomRequest{Name: "Kept", RequestId: "6f8a1e0e-7a53-4a39-9d3c-0c6d3f2b9d11"}

	proxy.Cut()
	_, err := c.CreateRoom(t.Context(), request)
	wantReason(t, err, "DATABASE_UNAVAILABLE")
	if status, body := get(t, i.URL+"/readyz"); status != http.StatusServiceUnavailable || strings.Contains(body, "database") {
		t.Errorf("public /readyz = %d %q, want 503 without the part", status, body)
	}
	if status, body := get(t, i.Metrics+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"database":"does not answer"`) {
		t.Errorf("internal /readyz = %d %q, want 503 that names the database", status, body)
	}
	if status, _ := get(t, i.URL+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz = %d, want 200: a restart would not bring the database back", status)
	}

	proxy.Restore()
	eventually(t, "ready", func() bool { status, _ := get(t, i.URL+"/readyz"); return status == http.StatusOK })
	first := must[*usherv1.CreateRoomResponse](t)(c.CreateRoom(t.Context(), request))
	again := must[*usherv1.CreateRoomResponse](t)(c.CreateRoom(t.Context(), request))
	if first.GetRoom().GetId() != again.GetRoom().GetId() {
		t.Errorf("the repeated call made room %s beside %s", again.GetRoom().GetId(), first.GetRoom().GetId())
	}
}

// Without Redis nobody can be told to be signed in, look-ups of addresses are refused, and everything else goes on.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	var proxy *testenv.Proxy
	i := start(t, func(c *settings.Config) {
		proxy = testenv.NewProxy(t, c.Redis.Addresses[0])
		c.Redis.Addresses = []string{proxy.Address}
		c.Limits.Calls = ratelimit.Limit{Name: "calls", Burst: 1000, Period: time.Minute}
		c.Limits.EmailLookup = ratelimit.Limit{Name: "email-lookup", Burst: 1000, Period: time.Minute}
	})
	ada := i.user("Ada Redis")
	token := i.clients(bearer(i.apiToken(ada, "read", "rooms")))
	cookie := i.session(ada)
	session := i.clients(header("Cookie", cookie.Name+"="+cookie.Value))
	must[*usherv1.GetMeResponse](t)(session.GetMe(t.Context(), &usherv1.GetMeRequest{}))

	proxy.Cut()
	_, err := session.GetMe(t.Context(), &usherv1.GetMeRequest{})
	wantReason(t, err, "REDIS_UNAVAILABLE")
	_, err = token.SearchUsers(t.Context(), &usherv1.SearchUsersRequest{Query: "somebody.else@people.example"})
	wantReason(t, err, "REDIS_UNAVAILABLE")
	created := must[*usherv1.CreateRoomResponse](t)(token.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "Without Redis"}))
	must[*usherv1.JoinRoomResponse](t)(token.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: created.GetRoom().GetId()}))

	proxy.Restore()
	eventually(t, "the session", func() bool {
		_, err := session.GetMe(t.Context(), &usherv1.GetMeRequest{})
		return err == nil
	})
}

// Limits refuse with the time after which to come back, in the body and in the header, and by caller: one who is over does
// not keep others out.
func TestLimits(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *settings.Config) {
		c.Limits.Calls = ratelimit.Limit{Name: "calls", Burst: 6, Period: time.Hour}
		c.Limits.NotFound = ratelimit.Limit{Name: "not-found", Burst: 3, Period: time.Hour}
	})
	ada, grace := i.clients(bearer(i.apiToken(i.user("Ada Limits"), "read"))), i.clients(bearer(i.apiToken(i.user("Grace Limits"), "read")))
	for range 6 {
		must[*usherv1.GetMeResponse](t)(ada.GetMe(t.Context(), &usherv1.GetMeRequest{}))
	}
	_, err := ada.GetMe(t.Context(), &usherv1.GetMeRequest{})
	wantReason(t, err, "RATE_LIMITED")
	if ce := new(connect.Error); !asConnect(err, &ce) || ce.Meta().Get("Retry-After") == "" || ce.Meta().Get("Retry-After") == "0" {
		t.Errorf("Retry-After is missing in %v", err)
	}
	must[*usherv1.GetMeResponse](t)(grace.GetMe(t.Context(), &usherv1.GetMeRequest{}))

	// Whoever asks for what is not there is refused before they can learn what is.
	edith := i.clients(bearer(i.apiToken(i.user("Edith Limits"), "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(edith.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "There"}))
	for range 3 {
		_, err := grace.GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: "not-there"})
		wantReason(t, err, "ROOM_NOT_FOUND")
	}
	for _, name := range []string{"not-there", room.GetRoom().GetSlug()} {
		_, err := grace.GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: name})
		wantReason(t, err, "RATE_LIMITED")
	}
	must[*usherv1.GetRoomResponse](t)(edith.GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: room.GetRoom().GetSlug()}))
}

func asConnect(err error, target **connect.Error) bool {
	ce, ok := err.(*connect.Error) //nolint:errorlint // the client returns it unwrapped
	*target = ce
	return ok
}

// A flood of calls that are refused is no flood of lines in the log, whether they are refused before their service or by it.
func TestRefusals_log(t *testing.T) {
	t.Parallel()
	i := start(t)
	token := i.clients(bearer(i.apiToken(i.user("Ada Refused"), "read")))
	const calls = 50
	for range calls {
		_, err := i.clients().ListRooms(t.Context(), &usherv1.ListRoomsRequest{})
		wantReason(t, err, "SIGN_IN_REQUIRED")
		_, err = token.GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: "not-there"})
		wantReason(t, err, "ROOM_NOT_FOUND")
	}
	if err := i.stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RoomsService/ListRooms", "RoomsService/GetRoom"} {
		lines, told := 0, 0
		for line := range strings.Lines(i.log.String()) {
			if strings.Contains(line, name) {
				lines++
				_, times, _ := strings.Cut(line, "repeated=")
				n, _ := strconv.Atoi(strings.TrimSpace(times)) // 0 without
				told += max(1, n)
			}
		}
		if lines > 5 || told != calls {
			t.Errorf("%d refusals of %s are %d lines that tell of %d, want a few that tell of all", calls, name, lines, told)
		}
	}
}

// Strangers may ask whether the server is ready, and as often as they like: its parts are not asked as often.
func TestReady_flood(t *testing.T) {
	t.Parallel()
	i := start(t)
	ready := func() bool { status, _ := get(t, i.URL+"/readyz"); return status == http.StatusOK }
	eventually(t, "readiness before the flood", ready)
	if err := i.Redis.Do(t.Context(), i.Redis.B().ConfigResetstat().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	began := time.Now()
	for range 20 {
		group.Go(func() {
			for range 50 {
				// How soon a busy machine answers is not what this test is about.
				ready()
			}
		})
	}
	group.Wait()
	eventually(t, "readiness after the flood", ready)
	stats, err := i.Redis.Do(t.Context(), i.Redis.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	pings := regexp.MustCompile(`cmdstat_ping:calls=(\d+)`).FindStringSubmatch(stats)
	if pings == nil {
		t.Fatalf("Redis was never asked:\n%s", stats)
	}
	// Every 10 s all commands are tried, PING among them, for each kind of key.
	most := 3 + 16*int(time.Since(began)/(10*time.Second)) + int(time.Since(began)/(200*time.Millisecond))
	if n, err := strconv.Atoi(pings[1]); err != nil || n > most {
		t.Errorf("Redis was asked %s times, want %d at most (%v)", pings[1], most, err)
	}
}

// A stopping server says that it is not ready, takes no new connections, and lets a call end that is being sent.
func TestDrain(t *testing.T) {
	t.Parallel()
	i := start(t)
	body := `{}`
	conn, err := net.Dial("tcp", strings.TrimPrefix(i.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		usherv1connect.ConfigServiceGetConfigProcedure, len(body), body[:1])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the call to begin", func() bool {
		_, metrics := get(t, i.Metrics+"/metrics")
		return strings.Contains(metrics, "usher_http_requests_in_flight 1")
	})

	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	eventually(t, "not ready", func() bool {
		res, err := http.Get(i.Metrics + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable
	})
	eventually(t, "closed to new connections", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(i.URL, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if _, err := io.WriteString(conn, body[1:]); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the call in flight was cut off: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the call in flight got %d, want 200", res.StatusCode)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// A schema that lacks a migration keeps the server from starting, and the message says what to run.
func TestOldSchema(t *testing.T) {
	t.Parallel()
	i := start(t)
	config := i.Config
	config.DatabaseURL = settings.Secret(testenv.EmptyPostgresURL(t))
	err := server.Run(context.Background(), server.Options{Config: config, Log: discard})
	if err == nil || !strings.Contains(err.Error(), "usher migrate up") {
		t.Errorf("Run on an empty database = %v, want an error that names `usher migrate up`", err)
	}
}

// discard is a log that nobody reads.
var discard = slog.New(slog.DiscardHandler)
