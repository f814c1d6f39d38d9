package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
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
