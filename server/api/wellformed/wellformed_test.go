package wellformed

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
)

const (
	unaryProcedure = usherv1connect.RoomsServiceGetRoomProcedure
	watchProcedure = usherv1connect.LobbyServiceWatchEntryProcedure
	chatProcedure  = "/test.Chat/Chat"
	maxBytes       = 4 * fault.MaxRequest
)

// edge is a server with a method of each kind, which answer all messages.
type edge struct {
	*httptest.Server
	log testenv.Log

	mu      sync.Mutex
	refused []connect.Code
	arrived int
}

func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{}
	options := append(fault.Codecs(), connect.WithReadMaxBytes(maxBytes), connect.WithInterceptors(
		fault.Interceptor{Log: slog.New(slog.NewTextHandler(&e.log, nil))},
	))
	mux := http.NewServeMux()
	get := func(context.Context, *connect.Request[usherv1.GetRoomRequest]) (*connect.Response[usherv1.GetRoomResponse], error) {
		return connect.NewResponse(&usherv1.GetRoomResponse{}), nil
	}
	mux.Handle(unaryProcedure, connect.NewUnaryHandler(
		unaryProcedure, get, append(options, connect.WithIdempotency(connect.IdempotencyNoSideEffects))...,
	))
	watch := func(ctx context.Context, _ *connect.Request[usherv1.GetRoomRequest], s *connect.ServerStream[usherv1.GetRoomResponse]) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.Send(&usherv1.GetRoomResponse{})
	}
	mux.Handle(watchProcedure, connect.NewServerStreamHandler(watchProcedure, watch, options...))
	chat := func(_ context.Context, s *connect.BidiStream[usherv1.GetRoomRequest, usherv1.GetRoomResponse]) error {
		for {
			if _, err := s.Receive(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.Send(&usherv1.GetRoomResponse{}); err != nil {
				return err
			}
		}
	}
	mux.Handle(chatProcedure, connect.NewBidiStreamHandler(chatProcedure, chat, options...))
	e.Server = httptest.NewUnstartedServer(Handler{
		Next: mux, MaxBytes: maxBytes,
		Streams: func(p string) bool { return p != unaryProcedure },
		Many:    func(p string) bool { return p == chatProcedure },
		Arrived: func(http.ResponseWriter) { e.mu.Lock(); e.arrived++; e.mu.Unlock() },
		Refused: func(_ context.Context, _ string, code connect.Code) {
			e.mu.Lock()
			e.refused = append(e.refused, code)
			e.mu.Unlock()
		},
	})
	e.Config.Protocols = new(http.Protocols)
	e.Config.Protocols.SetHTTP1(true)
	e.Config.Protocols.SetUnencryptedHTTP2(true)
	e.Start()
	t.Cleanup(e.Close)
	return e
}

// h2c is a client that speaks HTTP/2 without TLS, which gRPC needs.
func h2c(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// outcome is what a client makes of an answer.
type outcome struct {
	http         int
	code, reason string
}

// send sends a request and reads the answer, whatever its protocol is.
func (e *edge) send(t *testing.T, client *http.Client, method, path string, header http.Header, body io.Reader) outcome {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, e.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	o := outcome{http: res.StatusCode}
	kind := header.Get("Content-Type")
	if strings.HasPrefix(kind, "application/grpc") && res.StatusCode == http.StatusOK {
		for _, h := range []http.Header{res.Header, res.Trailer} {
			if code, err := strconv.Atoi(h.Get("Grpc-Status")); err == nil && code != 0 {
				o.code = connect.Code(code).String()
				o.reason = reasonInStatus(t, h.Get("Grpc-Status-Details-Bin"))
			}
		}
		return o
	}
	if strings.HasPrefix(kind, "application/connect+") && res.StatusCode == http.StatusOK {
		o.code, o.reason = reasonInStream(t, answer)
		return o
	}
	if res.StatusCode != http.StatusOK {
		o.code, o.reason = reasonInJSON(t, answer)
	}
	return o
}

func reasonInStatus(t *testing.T, encoded string) string {
	t.Helper()
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	var s status.Status
	if err := proto.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	for _, d := range s.GetDetails() {
		var info errdetails.ErrorInfo
		if d.UnmarshalTo(&info) == nil {
			return info.GetReason()
		}
	}
	return ""
}

func reasonInStream(t *testing.T, answer []byte) (code, reason string) {
	t.Helper()
	for len(answer) >= prefixSize {
		size := binary.BigEndian.Uint32(answer[1:])
		message := answer[prefixSize : prefixSize+size]
		if answer[0]&flagCompressed != 0 {
			r, err := gzip.NewReader(bytes.NewReader(message))
			if err != nil {
				t.Fatal(err)
			}
			if message, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if answer[0]&2 != 0 {
			var end struct{ Error json.RawMessage }
			if err := json.Unmarshal(message, &end); err != nil {
				t.Fatal(err)
			}
			if end.Error == nil {
				return "", ""
			}
			return reasonInJSON(t, end.Error)
		}
		answer = answer[prefixSize+size:]
	}
	t.Errorf("the stream has no end")
	return "", ""
}

func reasonInJSON(t *testing.T, answer []byte) (code, reason string) {
	t.Helper()
	var e struct {
		Code    string
		Details []struct {
			Debug struct{ Reason, Domain string }
		}
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		t.Errorf("the answer is %q: %v", answer, err)
		return "", ""
	}
	var reasons []string
	for _, d := range e.Details {
		if d.Debug.Domain == fault.Domain {
			reasons = append(reasons, d.Debug.Reason)
		}
	}
	return e.Code, strings.Join(reasons, " and ")
}

func envelope(flags byte, message string) string {
	prefix := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message)))
	return string(prefix) + message
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// way is how a call is made.
type way struct {
	name, path, contentType  string
	encoding, timeout, spent string
	enveloped, json          bool
}

var ways = []way{
	{"Connect JSON", unaryProcedure, "application/json", "Content-Encoding", "Connect-Timeout-Ms", "0", false, true},
	{"Connect proto", unaryProcedure, "application/proto", "Content-Encoding", "Connect-Timeout-Ms", "0", false, false},
	{"Connect stream", watchProcedure, "application/connect+json", "Connect-Content-Encoding", "Connect-Timeout-Ms", "0", true, true},
	{"gRPC", unaryProcedure, "application/grpc", "Grpc-Encoding", "Grpc-Timeout", "0m", true, false},
	{"gRPC stream", watchProcedure, "application/grpc+proto", "Grpc-Encoding", "Grpc-Timeout", "0m", true, false},
	{"gRPC JSON", unaryProcedure, "application/grpc+json", "Grpc-Encoding", "Grpc-Timeout", "0m", true, true},
	{"gRPC-Web", unaryProcedure, "application/grpc-web+proto", "Grpc-Encoding", "Grpc-Timeout", "0m", true, false},
	{"gRPC-Web stream", watchProcedure, "application/grpc-web", "Grpc-Encoding", "Grpc-Timeout", "0m", true, false},
	{"Connect stream both ways", chatProcedure, "application/connect+proto", "Connect-Content-Encoding", "Connect-Timeout-Ms", "0", true, false},
	{"gRPC both ways", chatProcedure, "application/grpc", "Grpc-Encoding", "Grpc-Timeout", "0m", true, false},
}

func (w way) message() string {
	if w.json {
		return `{"room":"a"}`
	}
	return "\x0a\x01a"
}

// wrap puts a message into an envelope where the protocol has them.
func (w way) wrap(flags byte, message string) string {
	if w.enveloped {
		return envelope(flags, message)
	}
	return message
}

// Whatever is wrong with a call before there is a message is refused with a reason, is the client's mistake, and is nothing
// for the log.
func TestHandler(t *testing.T) {
	t.Parallel()
	const invalid, late = "invalid_argument INVALID_REQUEST", "deadline_exceeded DEADLINE_EXCEEDED"
	for _, w := range ways {
		good, one := w.wrap(0, w.message()), w.path != chatProcedure
		unless := func(ok bool, refusal string) string {
			if ok {
				return ""
			}
			return refusal
		}
		for name, c := range map[string]struct {
			header map[string]string
			body   string
			want   string
		}{
			"a good call":               {nil, good, ""},
			"a compressed call":         {map[string]string{w.encoding: "gzip"}, w.wrap(1, zipped(t, w.message())), ""},
			"no gzip":                   {map[string]string{w.encoding: "gzip"}, w.wrap(1, "this is no gzip"), invalid},
			"gzip that is cut short":    {map[string]string{w.encoding: "gzip"}, w.wrap(1, zipped(t, w.message())[:20]), invalid},
			"gzip with another sum":     {map[string]string{w.encoding: "gzip"}, w.wrap(1, zipped(t, w.message())[:22]+"\x00\x00\x00\x00\x00\x00\x00\x00"), invalid},
			"gzip of 2 MiB":             {map[string]string{w.encoding: "gzip"}, w.wrap(1, zipped(t, strings.Repeat(" ", 2<<20))), "resource_exhausted REQUEST_TOO_LARGE"},
			"an unknown compression":    {map[string]string{w.encoding: "br"}, good, "unimplemented INVALID_REQUEST"},
			"a time-out that is none":   {map[string]string{w.timeout: "soon"}, good, invalid},
			"a time-out that is long":   {map[string]string{w.timeout: "99999999999"}, good, invalid},
			"a negative time-out":       {map[string]string{w.timeout: "-1" + strings.TrimPrefix(w.spent, "0")}, good, invalid},
			"a time-out that is spent":  {map[string]string{w.timeout: w.spent}, good, unless(w.path == chatProcedure, late)},
			"a version of the protocol": {map[string]string{"Connect-Protocol-Version": "7"}, good, unless(strings.Contains(w.contentType, "grpc"), invalid)},
			"over 1 MiB":                {nil, w.wrap(0, strings.Repeat(" ", fault.MaxRequest+1)), "resource_exhausted REQUEST_TOO_LARGE"},
			"over 4 MiB":                {nil, w.wrap(0, strings.Repeat(" ", maxBytes+1)), "resource_exhausted REQUEST_TOO_LARGE"},
			"an empty message":          {nil, w.wrap(0, ""), unless(!w.json, invalid)},
			"nothing":                   {nil, "", unless(w.enveloped && !one || !w.enveloped && !w.json, invalid)},
			"two messages":              {nil, good + good, unless(!one || !w.enveloped && !w.json, invalid)},
			"half an envelope":          {nil, "\x00\x00", invalid},
			"half a message":            {nil, good[:len(good)-1], invalid},
			"unknown flags":             {nil, w.wrap(0x40, w.message()), unless(!w.enveloped, invalid)},
			"an end of the stream":      {nil, good + w.wrap(0x02, "{}"), invalid},
			"trailers":                  {nil, good + w.wrap(0x80, "a: b\r\n"), invalid},
			"compressed, unsaid":        {nil, w.wrap(1, zipped(t, w.message())), invalid},
		} {
			t.Run(w.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				e := newEdge(t)
				header := http.Header{"Content-Type": {w.contentType}}
				for k, v := range c.header {
					header.Set(k, v)
				}
				clients := map[string]*http.Client{"HTTP/2": h2c(t)}
				if w.path != chatProcedure {
					clients["HTTP/1"] = e.Client()
				}
				for version, client := range clients {
					for _, sized := range []bool{true, false} {
						var body io.Reader = strings.NewReader(c.body)
						if !sized {
							body = io.MultiReader(body)
						}
						o := e.send(t, client, http.MethodPost, w.path, header, body)
						if got := strings.TrimSpace(o.code + " " + o.reason); got != c.want {
							t.Errorf("%s, with size %t: %d %q, want %q", version, sized, o.http, got, c.want)
						}
					}
				}
				if s := e.log.String(); s != "" {
					t.Errorf("the log has %s", s)
				}
			})
		}
	}
}

// What Connect refuses with a status of HTTP keeps that, and has the body of a refusal.
func TestHandler_statuses(t *testing.T) {
	t.Parallel()
	const invalid = "invalid_argument INVALID_REQUEST"
	for name, c := range map[string]struct {
		method, path, contentType string
		status                    int
		want                      string
	}{
		"another method":             {http.MethodPut, unaryProcedure, "application/json", 405, invalid},
		"GET of a stream":            {http.MethodGet, watchProcedure, "", 405, invalid},
		"no media type":              {http.MethodPost, unaryProcedure, "", 415, invalid},
		"another media type":         {http.MethodPost, unaryProcedure, "text/plain", 415, invalid},
		"a form":                     {http.MethodPost, unaryProcedure, "application/x-www-form-urlencoded", 415, invalid},
		"another codec":              {http.MethodPost, unaryProcedure, "application/xml", 415, invalid},
		"another set of characters":  {http.MethodPost, unaryProcedure, "application/json; charset=latin1", 415, invalid},
		"a stream that is none":      {http.MethodPost, unaryProcedure, "application/connect+json", 415, invalid},
		"another codec of a stream":  {http.MethodPost, watchProcedure, "application/connect+xml", 415, invalid},
		"another codec in gRPC":      {http.MethodPost, unaryProcedure, "application/grpc+thrift", 200, invalid},
		"another codec in gRPC-Web":  {http.MethodPost, unaryProcedure, "application/grpc-web+thrift", 200, invalid},
		"GET without a message":      {http.MethodGet, unaryProcedure + "?encoding=json", "", 400, invalid},
		"GET in no encoding":         {http.MethodGet, unaryProcedure + "?message=%7b%7d", "", 400, invalid},
		"GET in another encoding":    {http.MethodGet, unaryProcedure + "?encoding=xml&message=%7b%7d", "", 415, invalid},
		"GET of another version":     {http.MethodGet, unaryProcedure + "?connect=v7&encoding=json&message=%7b%7d", "", 400, invalid},
		"GET, compressed otherwise":  {http.MethodGet, unaryProcedure + "?compression=br&encoding=json&message=%7b%7d", "", 501, "unimplemented INVALID_REQUEST"},
		"GET, no gzip":               {http.MethodGet, unaryProcedure + "?compression=gzip&encoding=json&message=%7b%7d", "", 400, invalid},
		"GET, no Base64":             {http.MethodGet, unaryProcedure + "?base64=1&encoding=json&message=!!!", "", 400, invalid},
		"GET with an empty message":  {http.MethodGet, unaryProcedure + "?encoding=json&message=", "", 400, invalid},
		"a good GET":                 {http.MethodGet, unaryProcedure + "?encoding=json&message=%7b%7d", "", 200, ""},
		"a stream both ways, HTTP/1": {http.MethodPost, chatProcedure, "application/connect+proto", 505, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t)
			header := http.Header{}
			if c.contentType != "" {
				header.Set("Content-Type", c.contentType)
			}
			o := e.send(t, e.Client(), c.method, c.path, header, strings.NewReader("{}"[:len("{}")*boolean(c.method == http.MethodPost)]))
			if got := strings.TrimSpace(o.code + " " + o.reason); o.http != c.status || got != c.want {
				t.Errorf("%d %q, want %d %q", o.http, got, c.status, c.want)
			}
		})
	}
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A request that ends too early, or does not come at all, is answered while there is somebody to read it.
func TestHandler_incomplete(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		e.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	for name, c := range map[string]struct {
		server *httptest.Server
		ends   bool
		want   *regexp.Regexp
	}{
		"cut short": {e.Server, true, regexp.MustCompile(`(?s)HTTP/1.1 400 .*INVALID_REQUEST`)},
		"slow":      {slow, false, regexp.MustCompile(`(?s)HTTP/1.1 504 .*DEADLINE_EXCEEDED`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", c.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", unaryProcedure)
			if c.ends {
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !c.want.Match(answer) {
				t.Errorf("%q, %v; want %s", answer, err, c.want)
			}
		})
	}
}

// Calls that no interceptor sees are counted, and each once.
func TestHandler_refused(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	header := http.Header{"Content-Type": {"application/grpc"}}
	e.send(t, h2c(t), http.MethodPost, unaryProcedure, header, strings.NewReader("\x00"))
	e.send(t, h2c(t), http.MethodPost, watchProcedure, header, strings.NewReader("\x00"))
	e.send(t, h2c(t), http.MethodPost, unaryProcedure, header, strings.NewReader(envelope(0, "")))
	header.Set("Grpc-Encoding", "br")
	e.send(t, h2c(t), http.MethodPost, watchProcedure, header, strings.NewReader(envelope(0, "")))
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.refused) != 2 || e.refused[0] != connect.CodeInvalidArgument || e.refused[1] != connect.CodeUnimplemented {
		t.Errorf("refused are %v, want the first and the last", e.refused)
	}
}

// The first of many messages is noticed, once.
func TestHandler_arrived(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, body string
		want       int
	}{
		"none":            {chatProcedure, "", 0},
		"one":             {chatProcedure, envelope(0, "\x0a\x01a"), 1},
		"an empty one":    {chatProcedure, envelope(0, ""), 1},
		"three":           {chatProcedure, strings.Repeat(envelope(0, "\x0a\x01a"), 3), 1},
		"half":            {chatProcedure, envelope(0, "\x0a\x01a")[:6], 0},
		"one of one only": {watchProcedure, envelope(0, "\x0a\x01a"), 0},
	} {
		e := newEdge(t)
		e.send(t, h2c(t), http.MethodPost, c.path, http.Header{"Content-Type": {"application/grpc"}}, strings.NewReader(c.body))
		e.mu.Lock()
		if e.arrived != c.want {
			t.Errorf("%s: noticed %d times, want %d", name, e.arrived, c.want)
		}
		e.mu.Unlock()
	}
}
