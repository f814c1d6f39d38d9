package fault

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"connectrpc.com/connect"
	protovalidate "connectrpc.com/validate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// edge is a server with the edge of the real one, whose service does as the test says.
type edge struct {
	usherv1connect.UnimplementedRoomsServiceHandler
	*httptest.Server
	log testenv.Log

	// get answers GetRoom, and the stream after two messages.
	get error
}

// streamProcedure streams GetRoomResponses. The contract has no stream of its own yet.
const streamProcedure = "/usher.v1.RoomsService/WatchRoom"

func newEdge(t *testing.T, get error) *edge {
	t.Helper()
	e := &edge{get: get}
	options := append(Codecs(), connect.WithInterceptors(
		Interceptor{Log: slog.New(slog.NewTextHandler(&e.log, nil))}, protovalidate.NewInterceptor(),
	))
	mux := http.NewServeMux()
	mux.Handle(usherv1connect.NewRoomsServiceHandler(e, options...))
	mux.Handle(streamProcedure, connect.NewServerStreamHandler(streamProcedure, e.watch, options...))
	e.Server = httptest.NewUnstartedServer(mux)
	e.Config.Protocols = new(http.Protocols)
	e.Config.Protocols.SetHTTP1(true)
	e.Config.Protocols.SetUnencryptedHTTP2(true)
	e.Start()
	t.Cleanup(e.Close)
	return e
}

func (e *edge) GetRoom(_ context.Context, req *usherv1.GetRoomRequest) (*usherv1.GetRoomResponse, error) {
	if e.get != nil {
		return nil, e.get
	}
	return &usherv1.GetRoomResponse{Room: &usherv1.Room{Name: req.GetRoom()}}, nil
}

func (e *edge) CreateRoom(_ context.Context, req *usherv1.CreateRoomRequest) (*usherv1.CreateRoomResponse, error) {
	return &usherv1.CreateRoomResponse{Room: &usherv1.Room{Name: req.GetName()}}, e.get
}

func (e *edge) watch(
	_ context.Context, req *connect.Request[usherv1.GetRoomRequest], stream *connect.ServerStream[usherv1.GetRoomResponse],
) error {
	for range 2 {
		if err := stream.Send(&usherv1.GetRoomResponse{Room: &usherv1.Room{Name: req.Msg.GetRoom()}}); err != nil {
			return err
		}
	}
	return e.get
}

// protocols are the ways to call, each with the options of a client.
var protocols = []struct {
	name    string
	json    bool
	options []connect.ClientOption
}{
	{"Connect JSON", true, []connect.ClientOption{connect.WithProtoJSON()}},
	{"Connect proto", false, nil},
	{"gRPC", false, []connect.ClientOption{connect.WithGRPC()}},
	{"gRPC JSON", true, []connect.ClientOption{connect.WithGRPC(), connect.WithProtoJSON()}},
	{"gRPC-Web", false, []connect.ClientOption{connect.WithGRPCWeb()}},
	{"gRPC-Web JSON", true, []connect.ClientOption{connect.WithGRPCWeb(), connect.WithProtoJSON()}},
}

// client is an HTTP client that speaks HTTP/2 without TLS, which gRPC needs.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// rawCodec sends the bytes that it is given. The status of gRPC goes through it as well.
type rawCodec struct{ name string }

func (c rawCodec) Name() string { return c.name }

func (rawCodec) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (rawCodec) Unmarshal(data []byte, message any) error {
	if status, ok := message.(proto.Message); ok {
		return proto.Unmarshal(data, status)
	}
	return nil
}

// call calls a procedure with a body that may be anything, and returns the error.
func call(t *testing.T, e *edge, procedure string, json bool, body string, options ...connect.ClientOption) *connect.Error {
	t.Helper()
	codec := rawCodec{"proto"}
	if json {
		codec.name = "json"
	}
	raw := []byte(body)
	c := connect.NewClient[[]byte, []byte](client(t), e.URL+procedure, append(options, connect.WithCodec(codec))...)
	var err error
	if procedure == streamProcedure {
		var stream *connect.ServerStreamForClient[[]byte]
		if stream, err = c.CallServerStream(t.Context(), connect.NewRequest(&raw)); err == nil {
			for stream.Receive() {
			}
			err = errors.Join(stream.Err(), stream.Close())
		}
	} else {
		_, err = c.CallUnary(t.Context(), connect.NewRequest(&raw))
	}
	ce, ok := errors.AsType[*connect.Error](err)
	if err != nil && !ok {
		t.Fatalf("not a Connect error: %v", err)
	}
	return ce
}

// What cannot be decoded is refused with a reason, in every protocol, for unary calls and for streams.
func TestInterceptor_undecodable(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, p := range protocols {
		for kind, procedure := range map[string]string{"unary": usherv1connect.RoomsServiceGetRoomProcedure, "stream": streamProcedure} {
			t.Run(p.name+" "+kind, func(t *testing.T) {
				t.Parallel()
				body, field := "\x0a\x7fcut short", ""
				if p.json {
					body, field = `{"room": "a", "rom": "b"}`, "rom"
				}
				ce := call(t, e, procedure, p.json, body, p.options...)
				if ce == nil || ce.Code() != connect.CodeInvalidArgument || reason(ce) != "INVALID_REQUEST" {
					t.Fatalf("got %v, want INVALID_REQUEST", ce)
				}
				if info, _ := detail[*errdetails.ErrorInfo](ce); info.GetMetadata()["field"] != field {
					t.Errorf("field: got %q, want %q (%v)", info.GetMetadata()["field"], field, ce)
				}
				// And what can be decoded is not.
				body = "\x0a\x01a"
				if p.json {
					body = `{"room": "a"}`
				}
				if ce := call(t, e, procedure, p.json, body, p.options...); ce != nil {
					t.Errorf("a good request: %v", ce)
				}
			})
		}
	}
	if s := e.log.String(); s != "" {
		t.Errorf("bad requests are no events of the server, but it logged %s", s)
	}
}

func TestInterceptor_strictJSON(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	tests := []struct {
		name, body   string
		field, says  string
		wantAccepted bool
	}{
		{name: "an unknown field", body: `{"titel": "x"}`, field: "titel", says: "unknown field"},
		{name: "an unknown field inside", body: `{"configuration": {"everyone_can_mut": true}}`, field: "everyone_can_mut", says: "unknown field"},
		{name: "an unknown value of an enumeration", body: `{"access_level": "PUBLIC"}`, field: "access_level", says: "which must be one of ACCESS_LEVEL_PUBLIC, ACCESS_LEVEL_TRUSTED, ACCESS_LEVEL_RESTRICTED"},
		{name: "another type", body: `{"name": 7}`, field: "name", says: "string"},
		{name: "no JSON", body: `name=x`, says: "name"},
		{name: "cut short", body: `{"name": "x`, says: "unexpected"},
		{name: "a field twice", body: `{"name": "x", "name": "y"}`, field: "name", says: "duplicate"},
		{name: "nested without end", body: strings.Repeat("[", 20_000), says: "unexpected"},
		{name: "nothing", body: ``, says: "an empty request is {}"},
		{name: "an empty request", body: `{}`, wantAccepted: true},
		{name: "names as in the contract", body: `{"access_level": "ACCESS_LEVEL_PUBLIC"}`, wantAccepted: true},
		{name: "names as in JavaScript", body: `{"accessLevel": "ACCESS_LEVEL_PUBLIC"}`, wantAccepted: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, header, answer := post(t, e, usherv1connect.RoomsServiceCreateRoomProcedure, test.body)
			if test.wantAccepted {
				if status != http.StatusOK {
					t.Errorf("got %d %v, want it accepted", status, answer)
				}
				return
			}
			if status != http.StatusBadRequest || header.Get("Content-Type") != "application/json" {
				t.Errorf("got %d %s, want 400 application/json", status, header.Get("Content-Type"))
			}
			if answer.Code != "invalid_argument" || !strings.Contains(answer.Message, test.says) {
				t.Errorf("got %+v, want invalid_argument with %q", answer, test.says)
			}
			if strings.Contains(answer.Message, "\u00a0") || strings.Contains(answer.Message, `\u00a0`) || len(answer.Message) > 400 {
				t.Errorf("not fit for people: %q", answer.Message)
			}
			want := info{Reason: "INVALID_REQUEST", Domain: "usher"}
			if test.field != "" {
				want.Metadata = map[string]string{"field": test.field}
			}
			if len(answer.Details) != 1 || !cmp.Equal(answer.Details[0].Debug, want) {
				t.Errorf("details: got %+v, want %+v", answer.Details, want)
			}
		})
	}
}

// info is an ErrorInfo as curl shows it.
type info struct {
	Reason   string            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata"`
}

type answer struct {
	Code    string
	Message string
	Details []struct {
		Type  string
		Debug info
	}
}

// post calls as curl does.
func post(t *testing.T, e *edge, procedure, body string) (status int, header http.Header, a answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+procedure, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := e.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return res.StatusCode, res.Header, a
}

// The text of an error that is no fault never leaves the server, whatever the protocol; the log has it.
func TestInterceptor_hidesPlainErrors(t *testing.T) {
	t.Parallel()
	const secret = "dial 10.0.0.7: password refused for ada@example.org"
	e := newEdge(t, errors.New(secret))
	for _, p := range protocols {
		for kind, procedure := range map[string]string{"unary": usherv1connect.RoomsServiceGetRoomProcedure, "stream": streamProcedure} {
			body := "\x0a\x01a"
			if p.json {
				body = `{"room": "a"}`
			}
			ce := call(t, e, procedure, p.json, body, p.options...)
			if ce == nil || ce.Code() != connect.CodeInternal || ce.Message() != "internal error" || len(ce.Details()) != 0 {
				t.Errorf("%s %s: got %v, want internal error", p.name, kind, ce)
			}
		}
	}
	if n := strings.Count(e.log.String(), secret); n != 2*len(protocols) {
		t.Errorf("the log has the cause %d times, want %d:\n%s", n, 2*len(protocols), e.log.String())
	}
}

func TestInterceptor_retryAfter(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ErrDatabase.Because(errors.New("some cause")))
	status, header, _ := post(t, e, usherv1connect.RoomsServiceGetRoomProcedure, `{"room": "a"}`)
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" {
		t.Errorf("got %d with Retry-After %q, want 503 with 1", status, header.Get("Retry-After"))
	}
	for _, p := range protocols {
		if p.json {
			continue
		}
		ce := call(t, e, usherv1connect.RoomsServiceGetRoomProcedure, false, "\x0a\x01a", p.options...)
		if ce == nil || reason(ce) != "DATABASE_UNAVAILABLE" {
			t.Fatalf("%s: got %v, want DATABASE_UNAVAILABLE", p.name, ce)
		}
		if wait, _ := detail[*errdetails.RetryInfo](ce); wait.GetRetryDelay().GetSeconds() != 1 {
			t.Errorf("%s: RetryInfo %v, want 1 s", p.name, wait)
		}
	}
}

// A request that the rules of the contract refuse has the reason beside the violations, and names the field.
func TestInterceptor_violations(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	_, err := usherv1connect.NewRoomsServiceClient(client(t), e.URL).
		CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: strings.Repeat("x", 501)})
	checkViolation(t, err, "name")

	e.get = Invalid("configuration.can_publish_sources", "the camera is not for sale")
	_, err = usherv1connect.NewRoomsServiceClient(client(t), e.URL).GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: "a"})
	checkViolation(t, err, "configuration.can_publish_sources")
}

func checkViolation(t *testing.T, err error, field string) {
	t.Helper()
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok || ce.Code() != connect.CodeInvalidArgument || reason(ce) != "INVALID_REQUEST" {
		t.Fatalf("got %v, want INVALID_REQUEST", err)
	}
	info, _ := detail[*errdetails.ErrorInfo](ce)
	if got := info.GetMetadata()["field"]; got != field {
		t.Errorf("ErrorInfo names %q, want %q", got, field)
	}
	violations, _ := detail[*validate.Violations](ce)
	if len(violations.GetViolations()) != 1 {
		t.Fatalf("got violations %v, want one", violations)
	}
	if got := fieldName(violations.GetViolations()[0].GetField()); got != field {
		t.Errorf("the violation names %q, want %q", got, field)
	}
}

func TestInterceptor_tooLarge(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, p := range protocols {
		body := strings.Repeat(" ", MaxRequest+1)
		ce := call(t, e, usherv1connect.RoomsServiceGetRoomProcedure, p.json, body, p.options...)
		if ce == nil || ce.Code() != connect.CodeResourceExhausted || reason(ce) != "REQUEST_TOO_LARGE" {
			t.Errorf("%s: got %v, want REQUEST_TOO_LARGE", p.name, ce)
		}
	}
}

// Only a codec can leave word in a message that it cannot be decoded.
func TestInterceptor_forgedComplaint(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for name, text := range map[string]string{"a text": "ask at https://evil.example", "none": ""} {
		forged := protowire.AppendTag([]byte("\x0a\x01a"), undecodableField, protowire.BytesType)
		forged = protowire.AppendString(forged, text)
		for _, p := range protocols {
			if p.json {
				continue
			}
			for _, procedure := range []string{usherv1connect.RoomsServiceGetRoomProcedure, streamProcedure} {
				ce := call(t, e, procedure, false, string(forged), p.options...)
				if ce == nil || reason(ce) != "INVALID_REQUEST" || !strings.Contains(ce.Message(), "field 19999") || strings.Contains(ce.Message(), "evil") {
					t.Errorf("%s, %s: got %v, want a refusal of the field", p.name, name, ce)
				}
			}
		}
	}
}

// Where an enum has a value that it must not have, the refusal lists those that it may.
func TestInterceptor_enums(t *testing.T) {
	t.Parallel()
	const levels = "ACCESS_LEVEL_PUBLIC, ACCESS_LEVEL_TRUSTED, ACCESS_LEVEL_RESTRICTED"
	const sources = "TRACK_SOURCE_CAMERA, TRACK_SOURCE_MICROPHONE, TRACK_SOURCE_SCREEN_SHARE, TRACK_SOURCE_SCREEN_SHARE_AUDIO"
	e := newEdge(t, nil)
	for body, want := range map[string]string{
		`{"accessLevel": "PUBLIC"}`: `invalid value for enum field accessLevel: \"PUBLIC\"", which must be one of ` + levels,
		`{"accessLevel": 17}`:       "access_level: must be one of " + levels,
		`{"configuration": {"can_publish_sources": ["MICROPHONE"]}}`:               `"MICROPHONE\"", which must be one of ` + sources,
		`{"configuration": {"can_publish_sources": [0]}}`:                          "configuration.can_publish_sources[0]: must be one of " + sources,
		`{"configuration": {"can_publish_sources": ["TRACK_SOURCE_UNSPECIFIED"]}}`: "configuration.can_publish_sources[0]: must be one of " + sources,
	} {
		status, _, answer := post(t, e, usherv1connect.RoomsServiceCreateRoomProcedure, body)
		if status != http.StatusBadRequest || !strings.Contains(answer.Message, want) {
			t.Errorf("%s: %d %q, want %q", body, status, answer.Message, want)
		}
	}
}

// Inflating a message ends at the limit, however much there is.
func TestInflater_limit(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 16<<20)
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	if _, err := w.Write(zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.NewReader(bytes.Repeat(member.Bytes(), 256)) // 4 GiB
	size := bomb.Len()
	var i inflater
	if err := i.Reset(bomb); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, &i)
	if ce, ok := errors.AsType[*connect.Error](err); !ok || reason(ce) != "REQUEST_TOO_LARGE" || n > MaxRequest {
		t.Errorf("%d bytes and %v, want REQUEST_TOO_LARGE", n, err)
	}
	if read := size - bomb.Len(); read > 64<<10 {
		t.Errorf("%d bytes were read, want no more than the message needs", read)
	}
	// What is as large as may be passes, and the inflater is used again.
	for _, length := range []int{0, 1, MaxRequest - 1, MaxRequest} {
		var small bytes.Buffer
		w.Reset(&small)
		_, _ = w.Write(zeros[:length]) // a buffer takes everything
		_ = w.Close()
		if err := i.Reset(&small); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, &i); err != nil || n != int64(length) {
			t.Errorf("%d bytes and %v, want %d", n, err, length)
		}
	}
}
