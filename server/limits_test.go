package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/settings"
)

// dial sends the beginning of a request and returns the connection.
func dial(t *testing.T, s *httptest.Server, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A client that does not send what it announced is cut off, wherever it sends it.
func TestClientTimeouts_slowBody(t *testing.T) {
	t.Parallel()
	p := clientTimeouts{send: 200 * time.Millisecond, answer: 10 * time.Second, stream: 10 * time.Second}
	mux := http.NewServeMux()
	mux.HandleFunc("/read", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	mux.HandleFunc("/ignore", func(http.ResponseWriter, *http.Request) {})
	s := httptest.NewServer(p.wrap(mux))
	t.Cleanup(s.Close)
	for _, path := range []string{"/read", "/ignore", "/nothing-here", "/grpc.made.up/Method"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, s, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("the connection was not closed: %v", err)
			}
		})
	}
}

// The message of a stream must arrive as soon as those of other calls, though the stream may last.
func TestClientTimeouts_slowStream(t *testing.T) {
	t.Parallel()
	p := clientTimeouts{send: 200 * time.Millisecond, answer: 10 * time.Second, stream: time.Minute, rest: 100 * time.Millisecond}
	read := make(chan error, 1)
	s := httptest.NewServer(p.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	})))
	t.Cleanup(s.Close)
	for procedure := range streams {
		conn := dial(t, s, "POST "+procedure+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
		select {
		case err := <-read:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: reading ended with %v, want that the time was over", procedure, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the message is still waited for after 10 s", procedure)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: the connection was not closed: %v", procedure, err)
		}
	}
}

// A stream whose message has arrived lasts.
func TestClientTimeouts_streamLasts(t *testing.T) {
	t.Parallel()
	p := clientTimeouts{send: 100 * time.Millisecond, answer: 10 * time.Second, stream: time.Minute}
	s := httptest.NewServer(p.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-time.After(time.Second): // long after the time to send
			_, _ = io.WriteString(w, "still there")
		}
	})))
	t.Cleanup(s.Close)
	for _, request := range []string{"Content-Length: 1\r\n\r\n{", "Content-Length: 0\r\n\r\n"} {
		conn := dial(t, s, "POST /usher.v1.LobbyService/WatchEntry HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+request)
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(answer), "still there") {
			t.Errorf("%q: %q, %v; want the answer", request, answer, err)
		}
	}
}

// Who is refused before their request was read gets the answer soon and loses the connection, unless the rest comes at once.
func TestClientTimeouts_refused(t *testing.T) {
	t.Parallel()
	p := clientTimeouts{send: time.Minute, answer: time.Minute, stream: time.Minute, rest: 100 * time.Millisecond}
	s := httptest.NewServer(p.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	})))
	t.Cleanup(s.Close)
	const head = "POST /usher.v1.RoomsService/GetRoom HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
	conn := dial(t, s, head+"{")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 403 ") {
		t.Errorf("half a request: %q, %v; want 403, and the end of the connection", answer, err)
	}
	conn = dial(t, s, head+"{}"+strings.Replace(head, "Host: x", "Host: x\r\nConnection: close", 1)+"{}")
	if answer, err = io.ReadAll(conn); err != nil || strings.Count(string(answer), "HTTP/1.1 403 ") != 2 {
		t.Errorf("two requests: %q, %v; want two answers", answer, err)
	}
}

// Streams count from their headers on: those of one who sends nothing more use up their own places only.
func TestOpenStreams(t *testing.T) {
	t.Parallel()
	const watch, reflection = "/usher.v1.LobbyService/WatchEntry", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	inside, leave, refused := make(chan bool, 10), make(chan bool), 0
	o := &openStreams{
		next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			inside <- true
			select {
			case <-leave:
			case <-r.Context().Done(): // it passed, though it is one too many
			}
		}),
		rules: settings.StreamsConfig{PerNetwork: 2, PerUser: 1}, open: map[string]int{},
		refused: func(context.Context, string, *auth.Caller, connect.Code) { refused++ },
	}
	call := func(path string, c *auth.Caller) *httptest.ResponseRecorder {
		ctx, cancel := context.WithTimeout(auth.WithCaller(t.Context(), c), 20*time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, nil)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		o.ServeHTTP(w, r)
		return w
	}
	stranger := &auth.Caller{AddressPrefix: "192.0.2.0/24"}
	for _, open := range []struct {
		path   string
		caller *auth.Caller
	}{
		{watch, stranger},
		{reflection, stranger},
		{watch, &auth.Caller{AddressPrefix: "198.51.100.0/24"}},
		{watch, &auth.Caller{Kind: auth.User, User: &ent.User{ID: uuid.New()}, AddressPrefix: "192.0.2.0/24"}},
		{"/usher.v1.RoomsService/GetRoom", stranger}, // which does not stream
	} {
		go call(open.path, open.caller)
		<-inside
	}
	for _, path := range []string{watch, reflection} {
		if w := call(path, stranger); w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), "RATE_LIMITED") {
			t.Errorf("a third stream of %s: %d %s, want RATE_LIMITED", path, w.Code, w.Body)
		}
	}
	if refused != 2 {
		t.Errorf("%d refusals were counted, want 2", refused)
	}
	close(leave)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		o.mu.Lock()
		left := len(o.open)
		o.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d still count", left)
		}
	}
	go call(watch, stranger)
	<-inside
}

// Connections beyond the limit are closed at once, and those that end make place.
func TestBoundedListener(t *testing.T) {
	t.Parallel()
	inner, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b := &base{
		log: slog.New(newRepeats(slog.NewTextHandler(&log, nil))), metrics: prometheus.NewRegistry(),
		config: settings.Config{Connections: settings.ConnectionsConfig{Most: 2, PerNetwork: 1}},
	}
	l := b.boundConnections(inner)
	defer l.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	connect := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	connect()
	connect()
	first, second := <-accepted, <-accepted // this machine is no network
	for range 2 {
		if _, err := connect().Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a third connection: %v, want that it was closed", err)
		}
	}
	_, _ = first.Close(), first.Close()
	connect()
	third := <-accepted
	_, _ = second.Close(), third.Close()
	if n := strings.Count(log.String(), "connection refused"); n != 1 {
		t.Errorf("it was logged %d times, want once:\n%s", n, log.String())
	}
}

func TestBoundedListener_networks(t *testing.T) {
	t.Parallel()
	l := &boundedListener{perNetwork: 2, trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, networks: map[string]int{}}
	take := func(address string) string {
		return l.take(l.networkOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))))
	}
	for _, tt := range []struct{ address, want string }{
		{"192.0.2.1:1", ""},
		{"192.0.2.2:1", ""},
		{"192.0.2.3:1", "network"},
		{"[::ffff:192.0.2.4]:1", "network"},
		{"198.51.100.1:1", ""},
		{"[2001:db8::1]:1", ""},
		{"[2001:db8::2]:1", ""},
		{"[2001:db8::3]:1", "network"},
		{"10.1.2.3:1", ""},
		{"10.1.2.3:2", ""},
		{"10.1.2.3:3", ""},
		{"127.0.0.1:1", ""},
		{"127.0.0.1:2", ""},
		{"[::1]:3", ""},
		{"[::1]:4", ""},
	} {
		if got := take(tt.address); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.address, got, tt.want)
		}
	}
	l.release(l.networkOf(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}))
	if got := take("192.0.2.9:1"); got != "" {
		t.Errorf("after one ended: %q, want that it is taken", got)
	}
}

func TestConnectionsFor(t *testing.T) {
	t.Parallel()
	for descriptors, want := range map[uint64]int{0: 0, 256: 64, 512: 256, 1024: 768, 65536: 49152, 1 << 40: 0} {
		if got := connectionsFor(descriptors); got != want {
			t.Errorf("%d descriptors leave %d connections, want %d", descriptors, got, want)
		}
	}
}

// A client that does not read the answer is cut off.
func TestClientTimeouts_slowReader(t *testing.T) {
	t.Parallel()
	p := clientTimeouts{send: 100 * time.Millisecond, answer: 100 * time.Millisecond, stream: 10 * time.Second}
	ended := make(chan struct{})
	s := httptest.NewServer(p.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for chunk := make([]byte, 1<<20); err == nil; {
			_, err = w.Write(chunk)
		}
		close(ended)
	})))
	t.Cleanup(s.Close)
	dial(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the server still writes to somebody who does not read")
	}
}

// What a client had time to send may take as long as the call may take, with and without a body, and the connection serves
// the next request.
func TestClientTimeouts_longCall(t *testing.T) {
	t.Parallel()
	p := clientTimeouts{send: 100 * time.Millisecond, answer: 10 * time.Second, stream: 10 * time.Second}
	s := httptest.NewServer(p.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		select {
		case <-r.Context().Done():
			http.Error(w, "cut off", http.StatusInternalServerError)
		case <-time.After(4 * p.send):
		}
	})))
	t.Cleanup(s.Close)
	conn := dial(t, s, "")
	answers := bufio.NewReader(conn)
	for _, request := range []string{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		for range 2 {
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("%.4s: %d %s (%v), want 200", request, res.StatusCode, body, err)
			}
		}
	}
}

// The texts of net/http reach the log without the addresses of clients; that connections cannot be accepted is a warning.
func TestConnectionLog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, want string
		level      slog.Level
	}{
		{
			"http2: server connection error from 203.0.113.7:58394: connection error: PROTOCOL_ERROR",
			"http2: server connection error from (address): connection error: PROTOCOL_ERROR", slog.LevelDebug,
		},
		{
			"http2: server: error reading preface from client [2001:db8::7%eth0]:443: EOF",
			"http2: server: error reading preface from client (address): EOF", slog.LevelDebug,
		},
		{
			"http: Accept error: accept tcp [::]:8080: accept4: too many open files; retrying in 5ms",
			"http: Accept error: accept tcp (address): accept4: too many open files; retrying in 5ms", slog.LevelWarn,
		},
	} {
		for _, enabled := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
			var b bytes.Buffer
			log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: enabled}))
			newHTTPServer(log, nil).ErrorLog.Print(tt.text)
			want := fmt.Sprintf("level=%s msg=%q\n", tt.level, tt.want)
			if tt.level < enabled {
				want = ""
			}
			if got := b.String(); !strings.HasSuffix(got, want) || want == "" && got != "" {
				t.Errorf("at %s: %q, want %q", enabled, got, want)
			}
		}
	}
}
