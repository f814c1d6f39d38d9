package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
)

// redisUser makes a user of Redis as docs/settings.md has it, but for some rules. PSUBSCRIBE wants the pattern itself among
// the channels.
func redisUser(t *testing.T, redis *testenv.RedisServer, rules ...string) settings.RedisConfig {
	t.Helper()
	set := append([]string{
		"SETUSER", "usher", "reset", "on", ">test-password", "~usher:1:*", "&usher:1:lobby:{*}:news", "+@all", "-@dangerous", "+info", "+role",
	}, rules...)
	c := redis.Client(t)
	if err := c.Do(t.Context(), c.B().Arbitrary("ACL").Args(set...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	return settings.RedisConfig{Addresses: []string{redis.Address}, Username: "usher", Password: "test-password"}
}

// sentToRedis are the commands in the source: those of scripts, and those that are sent by themselves.
func sentToRedis(t *testing.T) (commands []string) {
	t.Helper()
	sent := regexp.MustCompile(`redis\.p?call\('([A-Z]+)'|\.B\(\)\.([A-Z][a-z]+)\(`)
	err := filepath.WalkDir(".", func(path string, f os.DirEntry, err error) error {
		if err != nil || f.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") ||
			strings.HasPrefix(path, "internal"+string(filepath.Separator)) {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range sent.FindAllStringSubmatch(string(source), -1) {
			commands = append(commands, strings.ToUpper(found[1]+found[2]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(commands)
	return slices.Compact(commands)
}

// The doctor names each command that the source sends and Redis refuses. Only INFO is dispensable, and PUNSUBSCRIBE is not
// subject to permissions of its own.
func TestDoctor_redisRefuses(t *testing.T) {
	t.Parallel()
	commands := sentToRedis(t)
	if len(commands) < 25 || !slices.Contains(commands, "PUBLISH") || !slices.Contains(commands, "EVALSHA") {
		t.Fatalf("the source sends %v: the test does not see all", commands)
	}
	redis := testenv.Redis(t)
	check := func(rule, want string) {
		t.Helper()
		config := settings.Config{Redis: redisUser(t, redis, strings.Fields(rule)...)}
		_, bad, details := diagnose(t, config, 0)
		if slices.Contains(bad, "redis") != (want != "") || !strings.Contains(details["redis"], want) {
			t.Errorf("with %q: bad %v, %q, want %q", rule, bad, details["redis"], want)
		}
	}
	check("", "")
	for _, command := range commands {
		if command != "INFO" && command != "PUNSUBSCRIBE" {
			check("-"+strings.ToLower(command), command+" ")
		}
	}
	check("resetchannels", "PUBLISH ")
	check("resetchannels", "PSUBSCRIBE ")
	for _, keys := range []string{"lobby:*", "session:*", "sessions:*", "{limit:*", "{streams}*"} {
		others := "resetkeys"
		for _, other := range []string{"lobby:*", "session:*", "sessions:*", "{limit:*", "{streams}*"} {
			if other != keys {
				others += " ~usher:1:" + other
			}
		}
		check(others, "usher:1:"+keys[:4])
	}
}

// Without channels nobody can ask for entry: the replica is not ready and says why, hosts see no guest who was told to try
// again, and all is well as soon as the operator has mended it.
func TestReadyz_redisRefuses(t *testing.T) {
	t.Parallel()
	redis := testenv.Redis(t)
	config := redisUser(t, redis, "resetchannels")
	i := start(t, func(c *settings.Config) { c.Redis = config })
	olga := i.clients(bearer(i.apiToken(i.user("Olga"), "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(olga.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Quiet", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
	})).GetRoom().GetId()
	ask := func() error {
		_, err := i.clients().RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room, DisplayName: "Gil"})
		return err
	}
	for range 3 {
		if err := ask(); connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("RequestEntry: %v, want it refused", err)
		}
	}
	list := must[*usherv1.ListWaitingResponse](t)(olga.ListWaiting(t.Context(), &usherv1.ListWaitingRequest{Room: room}))
	if len(list.GetEntries()) > 0 {
		t.Errorf("the host sees %d guests who were told to try again", len(list.GetEntries()))
	}
	if status, _ := get(t, i.URL+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %d, want 503", status)
	}
	if _, body := get(t, i.Metrics+"/readyz"); !strings.Contains(body, `"redis":"refuses commands: usher doctor says which"`) {
		t.Errorf("internal /readyz = %q, want the reason", body)
	}
	redisUser(t, redis)
	eventually(t, "ready", func() bool { status, _ := get(t, i.URL+"/readyz"); return status == http.StatusOK })
	if err := ask(); err != nil {
		t.Errorf("RequestEntry after the operator has mended it: %v", err)
	}
}
