package auth_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/authtest"
	"github.com/usher-meet/usher/server/internal/testenv"
)

func keysOf(t *testing.T, c rueidis.Client) []string {
	t.Helper()
	keys, err := c.Do(t.Context(), c.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSessions(t *testing.T) {
	t.Parallel()
	mini := miniredis.RunT(t)
	small, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{mini.Addr()}, DisableCache: true, AlwaysRESP2: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(small.Close)
	for name, client := range map[string]rueidis.Client{"redis-server": testenv.Redis(t).Client(t), "miniredis": small} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, user := authtest.NewSessions(client), uuid.New()
			token := authtest.MustCreate(t, s, user, "test-id-token")
			if len(token) != 43 {
				t.Errorf("token %d characters long, want 43 (256 bits)", len(token))
			}
			found, err := s.Lookup(t.Context(), token)
			if err != nil || found.UserID != user || time.Since(found.CreateTime).Abs() > time.Minute || found.IDToken != "" {
				t.Errorf("Lookup = %+v, %v, want a session of %s without the id_token", found, err, user)
			}
			for _, key := range keysOf(t, client) {
				if len(key) > 60 && key == token {
					t.Errorf("the token itself is in Redis: %s", key)
				}
			}
			authtest.WantEnded(t, s, token+"x")
			authtest.WantEnded(t, s, "")
			ended, err := s.End(t.Context(), token)
			if err != nil || ended.UserID != user || ended.IDToken != "test-id-token" {
				t.Errorf("End = %+v, %v, want the session with its id_token", ended, err)
			}
			authtest.WantEnded(t, s, token)
			if _, err := s.End(t.Context(), token); !errors.Is(err, auth.ErrSessionEnded) {
				t.Errorf("second End: %v, want ErrSessionEnded", err)
			}
			if left := keysOf(t, client); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestSessions_lifetime(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	s := authtest.NewSessions(client)
	token := authtest.MustCreate(t, s, uuid.New(), "")
	key := sessionKeyOf(t, client)
	left := func() time.Duration {
		ms, err := client.Do(t.Context(), client.B().Pttl().Key(key).Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	age := func(d time.Duration) {
		created := strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10)
		if err := client.Do(t.Context(), client.B().Hset().Key(key).FieldValue().FieldValue("created", created).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	about := func(what string, want time.Duration) {
		t.Helper()
		if got := left(); got > want || got < want-10*time.Second {
			t.Errorf("%s: %s left, want %s", what, got, want)
		}
	}
	about("after signing in", 12*time.Hour)
	if err := client.Do(t.Context(), client.B().Pexpire().Key(key).Milliseconds(60_000).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	about("used after a while", 12*time.Hour)
	age(7*24*time.Hour - 5*time.Minute)
	if _, err := s.Lookup(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	about("used near its greatest age", 5*time.Minute)
	age(7*24*time.Hour + time.Second)
	authtest.WantEnded(t, s, token)
	if exists, err := client.Do(t.Context(), client.B().Exists().Key(key).Build()).AsInt64(); err != nil || exists != 0 {
		t.Errorf("the session over its age is still there (%v)", err)
	}
	short := &auth.Sessions{Redis: client, IdleTimeout: 30 * time.Millisecond, MaxAge: time.Hour}
	idle := authtest.MustCreate(t, short, uuid.New(), "")
	time.Sleep(60 * time.Millisecond) // time passing is what this is about
	authtest.WantEnded(t, short, idle)
}

// sessionKeyOf is the key of the only session in Redis.
func sessionKeyOf(t *testing.T, c rueidis.Client) string {
	t.Helper()
	for _, key := range keysOf(t, c) {
		if kind, err := c.Do(t.Context(), c.B().Type().Key(key).Build()).ToString(); err == nil && kind == "hash" {
			return key
		}
	}
	t.Fatal("there is no session")
	return ""
}

func TestSessions_corrupt(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	s := authtest.NewSessions(client)
	for _, corrupt := range []rueidis.Completed{
		client.B().Hset().Key("KEY").FieldValue().FieldValue("user", "nobody").Build(),
		client.B().Hset().Key("KEY").FieldValue().FieldValue("created", "soon").Build(),
		client.B().Hdel().Key("KEY").Field("created").Build(),
		client.B().Set().Key("KEY").Value("text").Build(),
	} {
		token := authtest.MustCreate(t, s, uuid.New(), "")
		args := corrupt.Commands()
		for i := range args {
			if args[i] == "KEY" {
				args[i] = sessionKeyOf(t, client)
			}
		}
		if err := client.Do(t.Context(), client.B().Arbitrary(args...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		authtest.WantEnded(t, s, token)
		if err := client.Do(t.Context(), client.B().Flushall().Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEndAll(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	s, ada, bob := authtest.NewSessions(client), uuid.New(), uuid.New()
	first, second, other := authtest.MustCreate(t, s, ada, ""), authtest.MustCreate(t, s, ada, ""), authtest.MustCreate(t, s, bob, "")
	if times, err := s.List(t.Context(), ada); err != nil || len(times) != 2 {
		t.Errorf("List = %v, %v, want two sessions", times, err)
	}
	if err := s.EndAll(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	authtest.WantEnded(t, s, first)
	authtest.WantEnded(t, s, second)
	if _, err := s.Lookup(t.Context(), other); err != nil {
		t.Errorf("somebody else's session: %v", err)
	}
	if err := s.EndAll(t.Context(), ada); err != nil {
		t.Errorf("EndAll again: %v", err)
	}
	if err := s.EndAll(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{}, keysOf(t, client)); diff != "" {
		t.Errorf("left behind: %s", diff)
	}
}

// TestEndAll_concurrentSignIn: a session that is being made is either ended or found by the next EndAll.
func TestEndAll_concurrentSignIn(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t).Client(t)
	s, user := authtest.NewSessions(client), uuid.New()
	const browsers, each = 8, 50
	var creating, ending sync.WaitGroup
	tokens, done := make(chan string, browsers*each), make(chan struct{})
	ending.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := s.EndAll(t.Context(), user); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range browsers {
		creating.Go(func() {
			for range each {
				token, err := s.Create(t.Context(), user, "")
				if err != nil {
					t.Error(err)
					return
				}
				tokens <- token
			}
		})
	}
	creating.Wait()
	close(done)
	ending.Wait()
	close(tokens)
	if err := s.EndAll(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	left := 0
	for token := range tokens {
		if _, err := s.Lookup(t.Context(), token); err == nil {
			left++
		}
	}
	if left > 0 {
		t.Errorf("%d sessions go on after all were ended", left)
	}
}

func TestSessions_redisGone(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s, user := authtest.NewSessions(server.Client(t)), uuid.New()
	token := authtest.MustCreate(t, s, user, "")
	server.Kill()
	begin := time.Now()
	for name, call := range map[string]func() error{
		"Lookup": func() error { _, err := s.Lookup(t.Context(), token); return err },
		"Create": func() error { _, err := s.Create(t.Context(), user, ""); return err },
		"End":    func() error { _, err := s.End(t.Context(), token); return err },
		"EndAll": func() error { return s.EndAll(t.Context(), user) },
		"List":   func() error { _, err := s.List(t.Context(), user); return err },
	} {
		if err := call(); !errors.Is(err, fault.ErrRedis) {
			t.Errorf("%s without Redis: %v, want ErrRedis", name, err)
		}
	}
	if waited := time.Since(begin); waited > 15*time.Second {
		t.Errorf("five calls without Redis took %s", waited)
	}
	server.Restart()
	if _, err := s.Lookup(t.Context(), token); err != nil {
		t.Errorf("Lookup after the restart: %v", err)
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	s := authtest.NewSessions(nil)
	const tail = "; Path=/; Max-Age=604800; HttpOnly"
	if got, want := s.Cookie("test-token", true).String(), "__Host-usher_session=test-token"+tail+"; Secure; SameSite=Lax"; got != want {
		t.Errorf("on https: %s, want %s", got, want)
	}
	if got, want := s.Cookie("test-token", false).String(), "usher_session=test-token"+tail+"; SameSite=Lax"; got != want {
		t.Errorf("on http: %s, want %s", got, want)
	}
	if got, want := auth.EndCookie(true).String(), "__Host-usher_session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"; got != want {
		t.Errorf("ended: %s, want %s", got, want)
	}
}

// TestSessions_cluster: on a Redis Cluster a script may touch the keys of one slot only.
func TestSessions_cluster(t *testing.T) {
	t.Parallel()
	client := newCluster(t)
	s, user := authtest.NewSessions(client), uuid.New()
	first, second := authtest.MustCreate(t, s, user, ""), authtest.MustCreate(t, s, user, "test-id-token")
	if _, err := s.Lookup(t.Context(), first); err != nil {
		t.Errorf("Lookup: %v", err)
	}
	if _, err := s.End(t.Context(), second); err != nil {
		t.Errorf("End: %v", err)
	}
	third := authtest.MustCreate(t, s, user, "")
	if err := s.EndAll(t.Context(), user); err != nil {
		t.Errorf("EndAll: %v", err)
	}
	authtest.WantEnded(t, s, first)
	authtest.WantEnded(t, s, third)
}

// newCluster starts a Redis Cluster of one node, which refuses what several would.
func newCluster(t *testing.T) rueidis.Client {
	t.Helper()
	port := strconv.Itoa(testenv.Port(t))
	testenv.Start(t, os.Getenv("USHER_TEST_REDIS_SERVER"), "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "",
		"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(testenv.Port(t)))
	address := []string{"127.0.0.1:" + port}
	deadline := time.Now().Add(20 * time.Second)
	for assigned := false; ; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the cluster is not ready")
		}
		node, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: address, DisableCache: true, ForceSingleClient: true})
		if err != nil {
			continue
		}
		if !assigned {
			assigned = node.Do(t.Context(), node.B().Arbitrary("CLUSTER", "ADDSLOTSRANGE", "0", "16383").Build()).Error() == nil
		}
		info, err := node.Do(t.Context(), node.B().ClusterInfo().Build()).ToString()
		node.Close()
		if err == nil && strings.Contains(info, "cluster_state:ok") {
			break
		}
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: address, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}
