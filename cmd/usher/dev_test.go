package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/usher-meet/usher/server/settings/settingstest"
)

// runAsUsher makes the test binary be usher, for tests that kill it.
const runAsUsher = "USHER_TEST_RUN_AS_USHER"

func TestMain(m *testing.M) {
	if os.Getenv(runAsUsher) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		code := run(ctx, program{args: os.Args[1:], environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// development is a `usher dev` in a process of its own.
type development struct {
	args []string
	// launcher is the start of the command line that starts it; nothing: directly.
	launcher []string
	cmd      *exec.Cmd
	// url is where it serves, and token the one that it printed.
	url, token string
	stderr     *lockedBuffer
	ended      chan struct{}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newDevelopment chooses a folder and ports.
func newDevelopment(t *testing.T) *development {
	t.Helper()
	port := freePort(t)
	return &development{
		url: "http://localhost:" + strconv.Itoa(port),
		args: []string{
			"dev", "--data", filepath.Join(t.TempDir(), "data"), "--port", strconv.Itoa(port),
			"--internal-port", strconv.Itoa(freePort(t)), "--livekit-port", strconv.Itoa(freePort(t)),
			"--livekit-server", mustEnv(t, "USHER_TEST_LIVEKIT_SERVER"),
		},
	}
}

var printedToken = regexp.MustCompile(`Bearer (eyJ[\w.-]+)`)

// start starts it and waits for its welcome.
func (d *development) start(t *testing.T) {
	t.Helper()
	argv := append(append(slices.Clone(d.launcher), os.Args[0]), d.args...)
	d.cmd = exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	d.stderr, d.ended = &lockedBuffer{}, make(chan struct{})
	d.cmd.Env = append(os.Environ(), runAsUsher+"=1")
	d.cmd.Stderr = d.stderr
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.kill(t) })
	welcome := make(chan string, 1)
	go func() {
		defer close(d.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if m := printedToken.FindStringSubmatch(lines.Text()); m != nil {
				welcome <- m[1]
			}
		}
		_ = d.cmd.Wait()
	}()
	select {
	case d.token = <-welcome:
	case <-d.ended:
		t.Fatalf("usher dev ended:\n%s", d.stderr)
	case <-time.After(time.Minute):
		t.Fatalf("usher dev does not start:\n%s", d.stderr)
	}
}

// kill ends it as a crash does.
func (d *development) kill(t *testing.T) {
	t.Helper()
	_ = d.cmd.Process.Kill()
	select {
	case <-d.ended:
	case <-time.After(30 * time.Second):
		t.Error("something of it goes on")
	}
}

// call sends an RPC in JSON and returns the status and the answer.
func (d *development) call(t *testing.T, c *http.Client, token, method, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/usher.v1."+method, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer := map[string]any{}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return res.StatusCode, answer
}

// mustCall is a call that succeeds.
func (d *development) mustCall(t *testing.T, c *http.Client, token, method, body string) map[string]any {
	t.Helper()
	status, answer := d.call(t, c, token, method, body)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %v", method, status, answer)
	}
	return answer
}

// liveKitAddress is where its livekit-server listens.
func (d *development) liveKitAddress() string { return "127.0.0.1:" + d.args[8] }

func (d *development) data() string { return d.args[2] }

// Everything survives a crash: the room, the session, the token. Nothing outlives it: livekit-server goes too.
func TestDev_survivesKill(t *testing.T) {
	t.Parallel()
	d := newDevelopment(t)
	d.start(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	res, err := browser.PostForm(d.url+"/auth/login", url.Values{"name": {"Ada"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	d.mustCall(t, browser, "", "RoomsService/CreateRoom", `{"name": "Hers"}`)
	d.mustCall(t, http.DefaultClient, d.token, "RoomsService/CreateRoom", `{"name": "Weekly"}`)
	waitUntil(t, "the session is on disk", func() bool {
		content, err := os.ReadFile(filepath.Join(d.data(), "redis.json"))
		// The key of a session, in Base64.
		return err == nil && bytes.Contains(content, []byte("dXNoZXI6MTpzZXNzaW9uOn"))
	})

	d.kill(t)
	waitUntil(t, "livekit-server has died too", func() bool {
		_, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.liveKitAddress())
		return err != nil
	})
	token := d.token
	d.start(t)
	if room := d.mustCall(t, browser, "", "RoomsService/GetRoom", `{"room": "hers"}`)["room"].(map[string]any); room["myRole"] != "ROLE_OWNER" {
		t.Errorf("her room after the crash, with the session from before: %v", room)
	}
	connection := d.mustCall(t, http.DefaultClient, token, "RoomsService/JoinRoom", `{"room": "weekly", "display_name": "Developer"}`)["connection"].(map[string]any)
	if connection["serverUrl"] != "ws://"+d.liveKitAddress() {
		t.Errorf("the connection after the crash: %v", connection)
	}
}

func TestDev_stop(t *testing.T) {
	t.Parallel()
	d := newDevelopment(t)
	d.start(t)
	// Other commands find it while it runs.
	environ := []string{"USHER_CONFIG_FILE=" + filepath.Join(d.data(), "usher.env")}
	mustUsher(t, environ, "healthcheck")
	mustUsher(t, environ, "user", "deactivate", "developer@example.test")
	if status, answer := d.call(t, http.DefaultClient, d.token, "UsersService/GetMe", "{}"); status != http.StatusForbidden {
		t.Errorf("a deactivated user gets %d %v", status, answer)
	}
	mustUsher(t, environ, "user", "reactivate", "developer@example.test")

	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C:\n%s", code, d.stderr)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.liveKitAddress()); err == nil {
		t.Error("livekit-server has outlived it")
	}
	wantRefused(t, usher(t, environ, "healthcheck"), 1, "not ready")
}

// It serves where it is told to, and prints an address at which it is reached.
func TestDev_listen(t *testing.T) {
	t.Parallel()
	for address, host := range map[string]string{"127.0.0.2": "127.0.0.2", "::1": "[::1]"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			d := newDevelopment(t)
			d.args = append(d.args, "--listen", address)
			d.url = "http://" + host + ":" + d.args[4]
			d.start(t)
			d.mustCall(t, http.DefaultClient, d.token, "RoomsService/CreateRoom", `{"name": "There"}`)
			config := d.mustCall(t, http.DefaultClient, "", "ConfigService/GetConfig", "{}")["config"].(map[string]any)
			if want := d.url + "/auth/login"; config["signInUrl"] != want {
				t.Errorf("the sign-in is at %v, want %s", config["signInUrl"], want)
			}
			if got, want := config["livekit"], (map[string]any{"serverUrl": "ws://" + host + ":" + d.args[8]}); !maps.Equal(got.(map[string]any), want) {
				t.Errorf("LiveKit is at %v, want %v", got, want)
			}
		})
	}
}

// `go tool task dev` is a chain of programs. Killing its head must not leave usher behind on its ports.
func TestDev_stopsWithItsLauncher(t *testing.T) {
	t.Parallel()
	d := newDevelopment(t)
	// A launcher: a shell under the name of one, which stays because it has more to do.
	launcher := filepath.Join(t.TempDir(), "task")
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(shell)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(launcher, content, 0o700); err != nil {
		t.Fatal(err)
	}
	d.launcher = []string{launcher, "-c", `"$@"; exit $?`, "task"}
	d.start(t)
	d.kill(t)
	waitUntil(t, "livekit-server has gone", func() bool {
		_, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.liveKitAddress())
		return err != nil
	})
	d.start(t) // the ports and the folder are free
}

func TestDev_liveKitDies(t *testing.T) {
	t.Parallel()
	d := newDevelopment(t)
	d.start(t)
	killed := false
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", d.cmd.Process.Pid, thread.Name()))
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(pid); err == nil {
				killed = syscall.Kill(n, syscall.SIGKILL) == nil
			}
		}
	}
	if !killed {
		t.Fatal("livekit-server was not found among the children")
	}
	select {
	case <-d.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on without livekit-server")
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(d.stderr.String(), "livekit-server ended (signal: killed)") {
		t.Errorf("exit code %d, want 1 and the reason:\n%s", code, d.stderr)
	}
}

// The development sign-in is not in `usher serve`, configured or not.
func TestServe_noDevelopmentSignIn(t *testing.T) {
	t.Parallel()
	port := strconv.Itoa(freePort(t))
	environ := settingstest.Environ("USHER_PUBLIC_URL=http://localhost:"+port, "USHER_LISTEN=127.0.0.1:"+port,
		"USHER_LISTEN_INTERNAL=127.0.0.1:"+strconv.Itoa(freePort(t)), "USHER_DATABASE_URL="+emptySQLite(t),
		"USHER_REDIS_ADDRESSES="+redisServer(t), "USHER_LIVEKIT_URL=http://127.0.0.1:1")
	mustUsher(t, environ, "migrate", "up")
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	var stderr lockedBuffer
	go func() {
		code <- run(ctx, program{args: []string{"serve"}, environ: environ, stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr})
	}()
	defer func() {
		stop()
		if c := <-code; c != 0 {
			t.Errorf("exit code %d:\n%s", c, stderr.String())
		}
	}()
	waitUntil(t, "it is ready", func() bool { return usher(t, environ, "healthcheck").code == 0 })
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost:"+port+"/auth/login", strings.NewReader("name=Ada"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Cookies()) > 0 || bytes.Contains(body, []byte("development")) || bytes.Contains(body, []byte(`name="name"`)) || res.StatusCode < 400 {
			t.Errorf("%s /auth/login: %s, cookies %v\n%s", method, res.Status, res.Cookies(), body)
		}
	}
}

// waitUntil waits for something that another process does.
func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
