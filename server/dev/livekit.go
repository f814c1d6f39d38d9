package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// liveKitReady is how long a livekit-server may take to answer.
const liveKitReady = 20 * time.Second

// liveKitStop is how long it may take to say goodbye before it is killed.
const liveKitStop = 3 * time.Second

// liveKit is a livekit-server that runs as a child of this process and dies with it.
type liveKit struct {
	command *exec.Cmd
	logPath string
	// ended is closed when the process has.
	ended chan struct{}
}

// liveKitOptions configure a livekit-server.
type liveKitOptions struct {
	// Program is the path of livekit-server, or its name to be looked for in PATH.
	Program string
	// Folder gets its settings and its log.
	Folder      string
	Host        netip.Addr
	Port        int
	Key, Secret string
	// Bus is over which it reaches the recorder.
	Bus *bus
	// WebhookURL is where it reports what happens.
	WebhookURL string
}

// startLiveKit starts a livekit-server and waits until it answers.
func startLiveKit(ctx context.Context, o liveKitOptions) (*liveKit, error) {
	program, err := exec.LookPath(o.Program)
	if err != nil {
		return nil, fmt.Errorf(
			"livekit-server was not found (%w): name it with --livekit-server or USHER_DEV_LIVEKIT_SERVER, "+
				"or run `go tool task dev`, which builds it",
			err,
		)
	}
	settings := filepath.Join(o.Folder, "livekit.yaml")
	text, err := o.yaml()
	if err != nil {
		return nil, err
	}
	if err := writeFile(settings, []byte(text)); err != nil {
		return nil, err
	}
	l := &liveKit{logPath: filepath.Join(o.Folder, "livekit.log"), ended: make(chan struct{})}
	log, err := os.OpenFile(l.logPath, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of livekit-server: %w", err)
	}
	defer func() { _ = log.Close() }()
	// Not CommandContext: stop asks before it kills.
	//nolint:noctx,gosec // see above; the developer names the program
	l.command = exec.Command(program, "--config", settings)
	l.command.Stdout, l.command.Stderr = log, log
	l.command.SysProcAttr = childAttributes()
	if err := l.start(); err != nil {
		return nil, fmt.Errorf("start livekit-server: %w", err)
	}
	address := "http://" + hostPort(local(o.Host), o.Port)
	if err := l.wait(ctx, address); err != nil {
		l.stop()
		return nil, err
	}
	return l, nil
}

// yaml is the configuration: on loopback only, unless the host says otherwise. tcp_port would listen on every interface.
func (o liveKitOptions) yaml() (string, error) {
	udp, err := freeUDPPort(o.Host)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "port: %d\n", o.Port)
	switch {
	case o.Host.IsLoopback(), o.Host.IsUnspecified():
		fmt.Fprintf(&b, "bind_addresses: [%q]\n", o.Host)
	default:
		fmt.Fprintf(&b, "bind_addresses: [%q, 127.0.0.1]\n", o.Host)
	}
	fmt.Fprintf(&b, "rtc:\n  tcp_port: 0\n  udp_port: %d\n  use_external_ip: false\n  enable_loopback_candidate: true\n", udp)
	switch {
	case o.Host.IsLoopback():
		fmt.Fprintf(&b, "  node_ip: %s\n  interfaces: {includes: [%s]}\n", o.Host, loopbackInterface())
	case !o.Host.IsUnspecified():
		fmt.Fprintf(&b, "  node_ip: %s\n  ips: {includes: [\"%s/%d\"]}\n", o.Host, o.Host, o.Host.BitLen())
	}
	fmt.Fprintf(&b, "keys: {%q: %q}\n", o.Key, o.Secret)
	fmt.Fprintf(&b, "webhook: {api_key: %q, urls: [%q]}\n", o.Key, o.WebhookURL)
	if o.Bus != nil {
		b.WriteString(o.Bus.yaml())
	}
	b.WriteString("room: {enable_remote_unmute: true}\nlogging: {level: info}\n")
	return b.String(), nil
}

// freeUDPPort is a port for media that was free a moment ago.
func freeUDPPort(host netip.Addr) (int, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
	if err != nil {
		return 0, fmt.Errorf("find a port for media: %w", err)
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).Port, nil //nolint:forcetypeassert // what ListenUDP returns
}

// loopbackInterface is called lo on Linux and lo0 on macOS.
func loopbackInterface() string {
	all, err := net.Interfaces()
	if err == nil {
		for _, i := range all {
			if i.Flags&net.FlagLoopback != 0 {
				return i.Name
			}
		}
	}
	return "lo"
}

// start starts the process and a goroutine that waits for its end. The goroutine keeps its thread to itself until then,
// because Linux kills the child (Pdeathsig) when the thread that started it ends, not only when this process does.
func (l *liveKit) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := l.command.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = l.command.Wait() // how it ended is in the log
		close(l.ended)
	}()
	return <-started
}

func (l *liveKit) wait(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, liveKitReady, errors.New("it does not answer"))
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			return res.Body.Close()
		}
		select {
		case <-l.ended:
			return l.gone()
		case <-ctx.Done():
			return fmt.Errorf("livekit-server: %w; its log is %s", context.Cause(ctx), l.logPath)
		case <-retry.C:
		}
	}
}

// gone is the error of a livekit-server that ended by itself, with the end of its log.
func (l *liveKit) gone() error {
	content, _ := os.ReadFile(l.logPath)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-5):]
	return fmt.Errorf("livekit-server ended (%s); the end of its log, %s:\n  %s",
		l.command.ProcessState, l.logPath, strings.Join(lines, "\n  "))
}

// stop ends the process and waits until it has ended.
func (l *liveKit) stop() {
	// After one signal livekit-server waits until every meeting has ended. After a second one it ends them.
	_ = l.command.Process.Signal(os.Interrupt)
	_ = l.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.ended:
	case <-time.After(liveKitStop):
		_ = l.command.Process.Kill()
		<-l.ended
	}
}
