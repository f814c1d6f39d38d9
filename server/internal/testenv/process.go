package testenv

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// Process is a program that a test started.
type Process struct {
	t    testing.TB
	argv []string
	// environ is added to the environment of the test.
	environ []string
	cmd     *exec.Cmd
	log     *Log
	done    chan struct{}
}

// Start runs a program until the end of the test.
func Start(t testing.TB, program string, args ...string) *Process {
	t.Helper()
	return StartWith(t, nil, program, args...)
}

// StartWith is [Start] with more in the environment.
func StartWith(t testing.TB, environ []string, program string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, argv: append([]string{program}, args...), environ: environ, log: &Log{}}
	p.start()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(program), tail(p.log.String(), 4000))
		}
	})
	return p
}

func (p *Process) start() {
	p.t.Helper()
	cmd := exec.CommandContext(context.Background(), p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.Env = append(os.Environ(), p.environ...)
	// Should this test be killed, the program goes too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.argv[0], err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
}

// Kill ends the program at once, as a crash would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Restart starts the program again after [Process.Kill], with the same arguments.
func (p *Process) Restart() {
	p.t.Helper()
	p.start()
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns the program's output so far.
func (p *Process) Output() string { return p.log.String() }

// until waits for ready to succeed, and fails the test when the program ends or 20 s pass.
func (p *Process) until(ready func() error) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-p.done:
			p.t.Fatalf("%s ended: %s", p.argv[0], tail(p.log.String(), 2000))
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is not ready: %v\n%s", p.argv[0], err, tail(p.log.String(), 2000))
		}
	}
}

// RedisServer is a redis-server of one test.
type RedisServer struct {
	*Process
	// Address is host:port.
	Address string
}

// Redis starts an empty redis-server for this test. Its data survive [Process.Kill] and [RedisServer.Restart]: each write is
// on the disk before it is answered, unless the arguments, which are redis-server's, say otherwise.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	port := Port(t)
	r := &RedisServer{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	r.Process = Start(t, program(t, "USHER_TEST_REDIS_SERVER"), append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", t.TempDir(), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always",
	}, args...)...)
	r.wait()
	return r
}

// Restart starts Redis again and waits until it answers.
func (r *RedisServer) Restart() {
	r.t.Helper()
	r.Process.Restart()
	r.wait()
}

func (r *RedisServer) wait() {
	r.t.Helper()
	r.until(func() error {
		conn, err := net.DialTimeout("tcp", r.Address, time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write([]byte("PING\r\n")); err != nil {
			return err
		}
		answer := make([]byte, 16)
		n, err := conn.Read(answer)
		if err == nil && !bytes.HasPrefix(answer[:n], []byte("+PONG")) {
			err = errors.New(string(answer[:n]))
		}
		return err
	})
}

// Client connects to the server for the rest of the test.
func (r *RedisServer) Client(t testing.TB) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{r.Address}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// The key and secret of the test's livekit-server.
const (
	LiveKitKey    = "test-livekit"
	LiveKitSecret = "test-livekit-secret-of-32-characters-or-more"
)

// LiveKitServer is a livekit-server of one test.
type LiveKitServer struct {
	*Process
	// URL is the HTTP address of its API.
	URL string
	// Redis is where it keeps trunks and dispatch rules; nil when it was started without.
	Redis *RedisServer
}

// LiveKitOptions configure a livekit-server.
type LiveKitOptions struct {
	// Program is the path of livekit-server; empty for the one that all tests have.
	Program string
	// Webhooks are the addresses to which it sends its events.
	Webhooks []string
	// Redis is where it keeps trunks and dispatch rules, and where the parts of LiveKit talk to one another. Without one it
	// keeps rooms in memory and has no telephony.
	Redis *RedisServer
	// NoRemoteUnmute leaves out the setting without which nobody on the phone can be let in.
	NoRemoteUnmute bool
}

// LiveKit starts a livekit-server for this test, on loopback only. Its webhooks go to the given addresses.
func LiveKit(t testing.TB, webhooks ...string) *LiveKitServer {
	t.Helper()
	return NewLiveKit(t, LiveKitOptions{Webhooks: webhooks})
}

// NewLiveKit is [LiveKit] with options.
func NewLiveKit(t testing.TB, o LiveKitOptions) *LiveKitServer {
	t.Helper()
	port, udp := Port(t), Port(t)
	config := `
port: ` + strconv.Itoa(port) + `
bind_addresses: [127.0.0.1]
rtc:
  tcp_port: 0
  udp_port: ` + strconv.Itoa(udp) + `
  use_external_ip: false
  node_ip: 127.0.0.1
  interfaces: {includes: [lo]}
  enable_loopback_candidate: true
keys: {` + LiveKitKey + `: ` + LiveKitSecret + `}
room: {enable_remote_unmute: ` + strconv.FormatBool(!o.NoRemoteUnmute) + `}
logging: {level: info}
`
	if o.Redis != nil {
		config += "redis: {address: " + strconv.Quote(o.Redis.Address) + "}\n"
	}
	if len(o.Webhooks) > 0 {
		config += "webhook: {api_key: " + LiveKitKey + ", urls: [" + strings.Join(o.Webhooks, ", ") + "]}\n"
	}
	path := filepath.Join(t.TempDir(), "livekit.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &LiveKitServer{URL: "http://127.0.0.1:" + strconv.Itoa(port), Redis: o.Redis}
	if o.Program == "" {
		o.Program = LiveKitProgram(t)
	}
	l.Process = Start(t, o.Program, "--config", path)
	l.wait()
	return l
}

// Restart starts livekit-server again and waits until it answers.
func (l *LiveKitServer) Restart() {
	l.t.Helper()
	l.Process.Restart()
	l.wait()
}

func (l *LiveKitServer) wait() {
	l.t.Helper()
	l.until(func() error {
		res, err := http.Get(l.URL)
		if err == nil {
			err = res.Body.Close()
		}
		return err
	})
}

// LiveKitProgram is the path of the livekit-server that tests have.
func LiveKitProgram(t testing.TB) string {
	t.Helper()
	return program(t, "USHER_TEST_LIVEKIT_SERVER")
}

// program is the path of a program that `go tool task test` names in the environment.
func program(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set: run the tests with `go tool task test`", variable)
	}
	return path
}
