package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/settings/settingstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// result is what a run of usher left behind.
type result struct {
	code           int
	stdout, stderr string
}

// usher runs a command as main does.
func usher(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	return usherTyping(t, environ, "", args...)
}

// usherTyping runs a command with something on its standard input.
func usherTyping(t *testing.T, environ []string, input string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), program{args: args, environ: environ, stdin: strings.NewReader(input), stdout: &stdout, stderr: &stderr})
	return result{code, stdout.String(), stderr.String()}
}

// mustUsher runs a command that must succeed, and returns what it printed.
func mustUsher(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	r := usher(t, environ, args...)
	if r.code != 0 {
		t.Fatalf("usher %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// mustJSON runs a command with --json and reads what it printed into v.
func mustJSON(t *testing.T, v any, environ []string, args ...string) {
	t.Helper()
	out := mustUsher(t, environ, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("usher %s: %v in\n%s", strings.Join(args, " "), err, out)
	}
}

// wantRefused checks that a command fails with an exit code and a text.
func wantRefused(t *testing.T, r result, code int, text string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.stderr, text) {
		t.Errorf("exit code %d, want %d; standard error, which must contain %q:\n%s", r.code, code, text, r.stderr)
	}
	if r.stdout != "" {
		t.Errorf("it printed on standard output:\n%s", r.stdout)
	}
}

var (
	anyUUID  = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	anyToken = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
)

// wantGolden compares text with a file of testdata; ids, times and tokens may be any.
func wantGolden(t *testing.T, name, text string) {
	t.Helper()
	text = anyUUID.ReplaceAllString(text, "UUID")
	text = anyTime.ReplaceAllString(text, "TIME")
	text = anyToken.ReplaceAllString(text, "TOKEN")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", name, diff)
	}
}

func TestRun_usage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no command":                    {nil, `expected one of "serve"`},
		"an unknown command":            {[]string{"meet"}, "unexpected argument meet"},
		"an unknown flag":               {[]string{"version", "--loud"}, "unknown flag --loud"},
		"a missing argument":            {[]string{"room", "show"}, `expected "<room>"`},
		"a token without an id":         {[]string{"token", "revoke", "abc"}, "named by its id"},
		"a token hash with odd letters": {[]string{"token", "hash", "My Service", "--scope", "rooms"}, "lower-case letters"},
		"a token hash with odd scopes":  {[]string{"token", "hash", "my-service", "--scope", "all"}, "use rooms or telephony"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, usher(t, nil, test.args...), 2, test.want)
		})
	}
}

// Every command has a help, which is its manual.
func TestRun_help(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"", "serve", "dev", "migrate", "migrate up", "migrate status", "config", "version", "healthcheck",
		"token", "token create", "token list", "token revoke", "token hash",
		"user", "user list", "user show", "user deactivate", "user reactivate", "user merge", "user export", "user delete",
		"room", "room list", "room show", "room set-owner", "room delete",
	} {
		t.Run("usher "+command, func(t *testing.T) {
			t.Parallel()
			out := mustUsher(t, nil, append(strings.Fields(command), "--help")...)
			if !strings.Contains(out, "Usage: usher") {
				t.Errorf("the help does not say how to use it:\n%s", out)
			}
		})
	}
}

func TestServe_wrongSettings(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	environ := settingstest.Environ("USHER_DATABASE_URL=sqlite:"+filepath.Join(folder, "usher.db"),
		"USHER_REDIS_TLS=maybe", "USHER_SECRET=short", "USHER_LISTEM=:1")
	r := usher(t, environ, "serve")
	wantRefused(t, r, 2, "3 problems with the settings")
	if lines := strings.Count(r.stderr, "\n"); lines != 4 {
		t.Errorf("want a line for each problem and one above:\n%s", r.stderr)
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) > 0 {
		t.Errorf("something was started: %v %v", files, err)
	}
}

func TestServe_oldSchema(t *testing.T) {
	t.Parallel()
	environ := settingstest.Environ("USHER_DATABASE_URL="+emptySQLite(t), "USHER_REDIS_ADDRESSES="+redisServer(t))
	wantRefused(t, usher(t, environ, "serve"), 1, "the database schema is older than this Usher needs: run `usher migrate up`")
	wantRefused(t, usher(t, environ, "user", "list"), 1, "the database schema is older than this Usher needs: run `usher migrate up`")
}

func TestConfig_masksSecrets(t *testing.T) {
	t.Parallel()
	environ := settingstest.Environ("USHER_REDIS_PASSWORD=test-redis-password", "USHER_SECRET_PREVIOUS=test-previous-"+settingstest.Secret,
		"USHER_OIDC_ISSUER=https://id.example.org", "USHER_OIDC_CLIENT_ID=test-client", "USHER_OIDC_CLIENT_SECRET=test-client-secret",
		"USHER_SERVICE_TOKENS=booking:"+strings.Repeat("ab", 32)+":read")
	for _, args := range [][]string{{"config"}, {"config", "--json"}} {
		out := mustUsher(t, environ, args...)
		for _, secret := range []string{settingstest.Secret, settingstest.LiveKitSecret, "test-password", "test-redis-password", "test-client-secret", strings.Repeat("ab", 32)} {
			if strings.Contains(out, secret) {
				t.Errorf("usher %s shows %s", strings.Join(args, " "), secret)
			}
		}
		if !strings.Contains(out, "postgres://usher:***@db.example.org/usher") {
			t.Errorf("usher %s does not show which database is used:\n%s", strings.Join(args, " "), out)
		}
	}
}

func TestConfig_showsSources(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "usher.env")
	if err := os.WriteFile(path, []byte("USHER_DRAIN_TIMEOUT=5s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got struct{ Settings []settingView }
	mustJSON(t, &got, settingstest.Environ(), "--config", path, "config")
	want := map[string]settingView{
		"USHER_DRAIN_TIMEOUT": {Name: "USHER_DRAIN_TIMEOUT", Value: "5s", Source: "settings file"},
		"USHER_LISTEN":        {Name: "USHER_LISTEN", Value: ":8080", Source: "default"},
		"USHER_LIVEKIT_KEY":   {Name: "USHER_LIVEKIT_KEY", Value: "test-key", Source: "environment"},
		"USHER_SECRET":        {Name: "USHER_SECRET", Value: "***", Source: "environment", Secret: true},
	}
	seen := map[string]settingView{}
	for _, s := range got.Settings {
		if _, ok := want[s.Name]; ok {
			seen[s.Name] = s
		}
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestConfig_withProblems(t *testing.T) {
	t.Parallel()
	r := usher(t, []string{"USHER_LISTEN=:99999"}, "config")
	if r.code != 2 || !strings.Contains(r.stderr, "USHER_LISTEN") || !strings.Contains(r.stdout, "USHER_DRAIN_TIMEOUT") {
		t.Errorf("exit code %d, want 2, the settings and the problems:\n%s\n%s", r.code, r.stdout, r.stderr)
	}
}

// docs/settings.md is what the table says.
func TestSettingsDocs(t *testing.T) {
	t.Parallel()
	want := mustUsher(t, nil, "config", "--docs")
	got, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/settings.md is stale: run go run ./cmd/usher config --docs > docs/settings.md\n%s", diff)
	}
}

func TestTokenHash(t *testing.T) {
	t.Parallel()
	var got struct{ Token, Setting string }
	mustJSON(t, &got, nil, "token", "hash", "booking", "--scope", "rooms,telephony")
	if !strings.HasPrefix(got.Token, "usher_svc_") || strings.Contains(got.Setting, got.Token) {
		t.Errorf("token %q, setting %q", got.Token, got.Setting)
	}
	loaded, err := settings.Loader{Environ: settingstest.Environ("USHER_SERVICE_TOKENS=" + got.Setting), Needs: settings.NeedEverything}.Load()
	if err != nil {
		t.Fatal(err)
	}
	c := loaded.Config
	if diff := cmp.Diff([]string{"rooms", "telephony"}, c.ServiceTokens[0].Scopes); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
}

// Scopes that open no method to services are not offered.
func TestTokenHash_scopes(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"read", "recordings", "invitations", "admin", "rooms,read"} {
		wantRefused(t, usher(t, nil, "token", "hash", "booking", "--scope", scope), 2, "use rooms or telephony")
	}
}

func TestReadyAddress(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		":8080": "http://localhost:8080/readyz", "0.0.0.0:80": "http://localhost:80/readyz",
		"[::]:80": "http://localhost:80/readyz", "10.0.0.7:8080": "http://10.0.0.7:8080/readyz", "[::1]:1": "http://[::1]:1/readyz",
	} {
		if got, err := readyAddress(listen); err != nil || got != want {
			t.Errorf("readyAddress(%q) = %q, %v, want %q", listen, got, err, want)
		}
	}
}

// What the terminal shows was chosen by users: it must not be able to command it.
func TestPrintable(t *testing.T) {
	t.Parallel()
	if got := printable("A\x1b[31mda\u202e\tL\nB"); got != "A[31mdaLB" {
		t.Errorf("printable: %q", got)
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	p := &program{stdin: strings.NewReader("yes\n")}
	if err := p.confirm(false, "Delete?"); err == nil {
		t.Error("an answer that nobody typed was taken for one")
	}
	null, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Under the name that a process knows it by.
	standardInput := os.NewFile(uintptr(null), "/dev/stdin")
	defer func() { _ = standardInput.Close() }()
	p = &program{stdin: standardInput, stderr: io.Discard}
	if err := p.confirm(false, "Delete?"); !errors.Is(err, errUsage) {
		t.Errorf("without a terminal: %v, want that --yes is needed", err)
	}
	if err := p.confirm(true, "Delete?"); err != nil {
		t.Errorf("--yes: %v", err)
	}
}
