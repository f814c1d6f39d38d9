package dev

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/ratelimit"
)

const testPassword = "test-redis-password"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// mustStart starts the in-process Redis and connects to it as the server does.
func mustStart(t *testing.T, path string) (*embeddedRedis, rueidis.Client) {
	t.Helper()
	r, err := startRedis(path, testPassword, quiet())
	if err != nil {
		t.Fatal(err)
	}
	client, err := server.OpenRedis(r.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return r, client
}

// do runs a command that must succeed.
func do(t *testing.T, c rueidis.Client, words ...string) rueidis.RedisResult {
	t.Helper()
	result := c.Do(t.Context(), c.B().Arbitrary(words...).Build())
	if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%v: %v", words, err)
	}
	return result
}

func TestRedis_survivesRestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), redisFile)
	first, c := mustStart(t, path)
	binary := "\x00\xff\n\"é"
	do(t, c, "SET", "string", binary)
	do(t, c, "SET", "empty", "")
	do(t, c, "SET", "short", "x", "PX", "60000")
	do(t, c, "SET", "gone", "x", "PX", "40")
	do(t, c, "RPUSH", "list", "b", "a", "b")
	do(t, c, "SADD", "set", "x", "y")
	do(t, c, "HSET", "hash", "field", binary, "other", "")
	do(t, c, "PEXPIRE", "hash", "3600000")
	do(t, c, "ZADD", "sorted", "1700000000123.5", "a", "-inf", "b")
	c.Close()
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys, which holds sessions: %v, %v", info, err)
	}
	time.Sleep(50 * time.Millisecond) // longer than "gone" lives: time passes while nothing runs

	second, c := mustStart(t, path)
	defer func() { _ = second.stop() }()
	for _, test := range []struct{ command, want string }{
		{"GET string", binary},
		{"GET empty", ""},
		{"GET short", "x"},
		{"EXISTS gone", "0"},
		{"LRANGE list 0 -1", "b a b"},
		{"SCARD set", "2"},
		{"SISMEMBER set y", "1"},
		{"HGET hash field", binary},
		{"HLEN hash", "2"},
		{"ZSCORE sorted a", "1700000000123.5"},
		{"ZSCORE sorted b", "-inf"},
		{"TTL string", "-1"},
		{"DBSIZE", "7"},
	} {
		if got := answer(t, do(t, c, strings.Fields(test.command)...)); got != test.want {
			t.Errorf("%s: %q, want %q", test.command, got, test.want)
		}
	}
	for key, most := range map[string]int64{"short": 60_000, "hash": 3_600_000} {
		left, err := do(t, c, "PTTL", key).AsInt64()
		if err != nil || left > most-50 || left < most-30_000 {
			t.Errorf("%s lives %d ms more (%v), want a little under %d", key, left, err, most)
		}
	}
}

// answer is a reply in words.
func answer(t *testing.T, r rueidis.RedisResult) string {
	t.Helper()
	if s, err := r.ToString(); err == nil {
		return s
	}
	if n, err := r.AsInt64(); err == nil {
		return strconv.FormatInt(n, 10)
	}
	all, err := r.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// A crash costs what came after the last save, and never what is in the file.
func TestRedis_survivesCrash(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), redisFile)
	first, c := mustStart(t, path)
	do(t, c, "SET", "saved", "1")
	if err := first.save(); err != nil {
		t.Fatal(err)
	}
	do(t, c, "SET", "late", "1")
	// What a crash in the middle of the next save leaves behind.
	if err := os.WriteFile(path+".new", []byte(`{"format":1,"ke`), 0o600); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}

	second, c := mustStart(t, path)
	defer func() { _ = second.stop() }()
	if got := answer(t, do(t, c, "EXISTS", "saved", "late")); got != "1" {
		t.Errorf("%s of the two keys exist, want the one that was saved", got)
	}
}

func TestRedis_unreadableFile(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"half":            `{"format":1,"keys":[{"key":"YQ==","type":"str`,
		"another format":  `{"format":99,"keys":[]}`,
		"an unknown type": `{"format":1,"keys":[{"key":"YQ==","type":"string","items":["MQ=="]},{"key":"Yg==","type":"tree","items":["MQ=="]}]}`,
		"a hash of one":   `{"format":1,"keys":[{"key":"YQ==","type":"hash","items":["MQ=="]}]}`,
		"no items":        `{"format":1,"keys":[{"key":"YQ==","type":"string"}]}`,
		"a score of text": `{"format":1,"keys":[{"key":"YQ==","type":"zset","items":["MQ==","YQ=="]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), redisFile)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			r, c := mustStart(t, path)
			defer func() { _ = r.stop() }()
			if got := answer(t, do(t, c, "DBSIZE")); got != "0" {
				t.Errorf("it starts with %s keys, want none", got)
			}
			if kept, err := os.ReadFile(path + ".unreadable"); err != nil || string(kept) != content {
				t.Errorf("the file was not put aside: %q %v", kept, err)
			}
		})
	}
}

func TestRedis_timePasses(t *testing.T) {
	t.Parallel()
	r, c := mustStart(t, filepath.Join(t.TempDir(), redisFile))
	defer func() { _ = r.stop() }()
	limiter := &ratelimit.Limiter{Redis: c}
	hourly := ratelimit.Call{Limit: ratelimit.Limit{Name: "hourly", Burst: 1, Period: time.Hour}, Key: "k"}
	call := ratelimit.Call{Limit: ratelimit.Limit{Name: "test", Burst: 1, Period: 50 * time.Millisecond}, Key: "k"}
	for _, c := range []ratelimit.Call{hourly, call} {
		if err := limiter.Take(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := limiter.Take(t.Context(), hourly); !errors.Is(err, ratelimit.ErrLimited) {
		t.Errorf("the second call within the hour: %v, want a refusal", err)
	}
	do(t, c, "SET", "key", "x", "PX", "50")
	deadline := time.Now().Add(10 * time.Second)
	for answer(t, do(t, c, "EXISTS", "key")) == "1" || limiter.Take(t.Context(), call) != nil {
		if time.Now().After(deadline) {
			t.Fatal("time stands still: a key of 50 ms lives after 10 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestRedis_wantsPassword(t *testing.T) {
	t.Parallel()
	r, _ := mustStart(t, filepath.Join(t.TempDir(), redisFile))
	defer func() { _ = r.stop() }()
	c := r.config()
	c.Password = "test-wrong"
	if client, err := server.OpenRedis(c); err == nil {
		client.Close()
		t.Error("a wrong password was let in")
	}
	if !strings.HasPrefix(r.server.Addr(), "127.0.0.1:") {
		t.Errorf("it listens on %s, want loopback", r.server.Addr())
	}
}

// The client of the server, with publish and subscribe beside commands: RESP3 would block here.
func TestRedis_publishAndSubscribe(t *testing.T) {
	t.Parallel()
	r, c := mustStart(t, filepath.Join(t.TempDir(), redisFile))
	defer func() { _ = r.stop() }()
	got := make(chan string, 1)
	subscribed := make(chan struct{})
	dedicated, release := c.Dedicate()
	defer release()
	dedicated.SetPubSubHooks(rueidis.PubSubHooks{
		OnSubscription: func(rueidis.PubSubSubscription) { close(subscribed) },
		OnMessage:      func(m rueidis.PubSubMessage) { got <- m.Message },
	})
	if err := dedicated.Do(t.Context(), dedicated.B().Subscribe().Channel("test").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	<-subscribed
	do(t, c, "PUBLISH", "test", "hello")
	select {
	case m := <-got:
		if m != "hello" {
			t.Errorf("message %q", m)
		}
	case <-time.After(10 * time.Second):
		t.Error("no message came")
	}
}
