package server_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server"
)

// The same calls get the same answers and the same refusals in every protocol.
func TestProtocols(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada := i.user("Ada Protocol")
	token := i.apiToken(ada, "read", "rooms")
	created := must[*usherv1.CreateRoomResponse](t)(i.clients(bearer(token)).CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Protocols", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
	})).GetRoom()

	want := must[*usherv1.GetRoomResponse](t)(i.clients(bearer(token)).GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: created.GetSlug()}))
	for _, p := range []struct {
		name    string
		http    *http.Client
		options []connect.ClientOption
	}{
		{"connect json", http.DefaultClient, []connect.ClientOption{connect.WithProtoJSON()}},
		{"connect proto", http.DefaultClient, nil},
		{"connect proto over h2c", h2c(t), nil},
		{"connect GET", http.DefaultClient, []connect.ClientOption{connect.WithHTTPGet()}},
		{"connect GET json", http.DefaultClient, []connect.ClientOption{connect.WithHTTPGet(), connect.WithProtoJSON()}},
		{"grpc", h2c(t), []connect.ClientOption{connect.WithGRPC()}},
		{"grpc json", h2c(t), []connect.ClientOption{connect.WithGRPC(), connect.WithProtoJSON()}},
		{"grpc-web", http.DefaultClient, []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			as := func(token string) *clients { return i.clientsOver(p.http, append(p.options, bearer(token))...) }
			got := must[*usherv1.GetRoomResponse](t)(as(token).GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: created.GetSlug()}))
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("GetRoom differs (-want +got):\n%s", diff)
			}
			for _, refusal := range []struct {
				name   string
				call   func() error
				code   connect.Code
				reason string
			}{
				{"no credential", func() error {
					_, err := as("").ListRooms(t.Context(), &usherv1.ListRoomsRequest{})
					return err
				}, connect.CodeUnauthenticated, "SIGN_IN_REQUIRED"},
				{"bad credential on a public method", func() error {
					_, err := as("test-nonsense").GetConfig(t.Context(), &usherv1.GetConfigRequest{})
					return err
				}, connect.CodeUnauthenticated, "UNAUTHENTICATED"},
				{"shape", func() error {
					_, err := as(token).ListRooms(t.Context(), &usherv1.ListRoomsRequest{PageSize: -1})
					return err
				}, connect.CodeInvalidArgument, "INVALID_REQUEST"},
				{"existence", func() error {
					_, err := as(token).GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: "nowhere"})
					return err
				}, connect.CodeNotFound, "ROOM_NOT_FOUND"},
				{"permission", func() error {
					_, err := as(serviceToken).ListMembers(t.Context(), &usherv1.ListMembersRequest{Room: created.GetId()})
					return err
				}, connect.CodePermissionDenied, "NOT_PERMITTED"},
				{"state", func() error {
					_, err := as("").JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: created.GetId(), DisplayName: "Guest of protocols"})
					return err
				}, connect.CodeFailedPrecondition, "LOBBY_REQUIRED"},
			} {
				err := refusal.call()
				if got := connect.CodeOf(err); err == nil || got != refusal.code {
					t.Errorf("%s: code = %v, want %v", refusal.name, got, refusal.code)
				}
				if got := reason(err); got != refusal.reason {
					t.Errorf("%s: reason = %q, want %q", refusal.name, got, refusal.reason)
				}
			}
		})
	}
}

// What can be reached by GET can be reached from any site, so it must be a read that returns no secret and uses nothing up.
// Adding a method here is a security decision.
func TestGetMethods(t *testing.T) {
	t.Parallel()
	want := []string{
		usherv1connect.ConfigServiceGetConfigProcedure,
		usherv1connect.InvitationsServiceGetInvitationProcedure,
		usherv1connect.InvitationsServiceListInvitationsProcedure,
		usherv1connect.LobbyServiceListWaitingProcedure,
		usherv1connect.ParticipantsServiceListParticipantsProcedure,
		usherv1connect.RoomsServiceGetRoomProcedure,
		usherv1connect.RoomsServiceListAuditEventsProcedure,
		usherv1connect.RoomsServiceListMembersProcedure,
		usherv1connect.RoomsServiceListRoomsProcedure,
		usherv1connect.TelephonyServiceListDispatchRulesProcedure,
		usherv1connect.TelephonyServiceListTrunksProcedure,
		usherv1connect.UsersServiceGetMeProcedure,
		usherv1connect.RecordingsServiceGetRecordingProcedure,
		usherv1connect.RecordingsServiceListRecordingsProcedure,
		usherv1connect.RecordingsServiceListRecordingAccessesProcedure,
	}
	got := map[string]bool{}
	for _, m := range methods(t) {
		options, _ := m.Options().(*descriptorpb.MethodOptions)
		if options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
			got[procedure(m)] = true
			field := secretField(m.Output(), map[protoreflect.FullName]bool{})
			// Hosts get entries without tickets and connections: TestAdmission looks.
			if field == "usher.v1.Entry.ticket" && procedure(m) == usherv1connect.LobbyServiceListWaitingProcedure {
				field = ""
			}
			if field != "" && field != "usher.v1.DialIn.pin" && field != "usher.v1.DialIn.pin_display" {
				t.Errorf("%s is reachable by GET and returns the secret %s", procedure(m), field)
			}
		}
	}
	for _, p := range want {
		if !got[p] {
			t.Errorf("%s is not reachable by GET", p)
		}
		delete(got, p)
	}
	for p := range got {
		t.Errorf("%s is reachable by GET and not listed here", p)
	}

	// The server agrees with the contract: a write by GET is refused, whatever it carries.
	i := start(t)
	for _, m := range methods(t) {
		query := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {"{}"}}
		res, err := http.Get(i.URL + procedure(m) + "?" + query.Encode())
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		listed := false
		for _, p := range want {
			listed = listed || p == procedure(m)
		}
		// What is not for strangers is refused to them before it is asked how they came.
		refused := res.StatusCode == http.StatusMethodNotAllowed || res.StatusCode == http.StatusUnauthorized
		if !listed && !refused {
			t.Errorf("GET %s = %d, want 405 or 401", procedure(m), res.StatusCode)
		}
	}
}

// Every answer forbids caching, sniffing and embedding, whoever asks for whatever.
func TestHeaders(t *testing.T) {
	t.Parallel()
	i := start(t)
	for _, path := range []string{"/", "/healthz", "/readyz", "/nothing-here", usherv1connect.ConfigServiceGetConfigProcedure, "/usher.v1.Nothing/Here"} {
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+path, strings.NewReader("{}")))
		req.Header.Set("Content-Type", "application/json")
		res := must[*http.Response](t)(http.DefaultClient.Do(req))
		_ = res.Body.Close()
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", path, name, got, want)
			}
		}
		if res.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no X-Request-Id", path)
		}
	}
}

// A program that was built without Node has no web app, and says so.
func TestWithoutWebApp(t *testing.T) {
	t.Parallel()
	i := start(t)
	if status, body := get(t, i.URL+"/"); status != http.StatusOK || !strings.Contains(body, "built without the web app") {
		t.Errorf("/ = %d %q, want a word about the web app", status, body)
	}
	if status, _ := get(t, i.URL+"/some-room"); status != http.StatusNotFound {
		t.Errorf("/some-room = %d, want 404", status)
	}
}

// Requests that are too large or not what they claim to be are refused with a reason, and reading them ends.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	i := start(t)
	large := `{"room":"` + strings.Repeat("x", 1<<20) + `"}`
	huge := `{"room":"` + strings.Repeat("x", 5<<20) + `"}`
	for _, tt := range []struct {
		name, path, contentType, body string
		status                        int
		reason                        string
	}{
		{"unknown field", usherv1connect.RoomsServiceGetRoomProcedure, "application/json", `{"rooom":"x"}`, 400, "INVALID_REQUEST"},
		{"unknown enum value", usherv1connect.RoomsServiceListRoomsProcedure, "application/json", `{"role":"ROLE_BOSS"}`, 401, "SIGN_IN_REQUIRED"},
		{"not JSON", usherv1connect.RoomsServiceGetRoomProcedure, "application/json", `{{{`, 400, "INVALID_REQUEST"},
		{"not protobuf", usherv1connect.RoomsServiceGetRoomProcedure, "application/proto", "\xff\xff\xff\xff", 400, "INVALID_REQUEST"},
		{"over 1 MiB", usherv1connect.RoomsServiceGetRoomProcedure, "application/json", large, 429, "REQUEST_TOO_LARGE"},
		{"over 4 MiB", usherv1connect.RoomsServiceGetRoomProcedure, "application/json", huge, 429, "REQUEST_TOO_LARGE"},
		{"empty", usherv1connect.RoomsServiceGetRoomProcedure, "application/json", ``, 400, "INVALID_REQUEST"},
		{"slug of 501 characters", usherv1connect.RoomsServiceGetRoomProcedure, "application/json", `{"room":"` + strings.Repeat("x", 501) + `"}`, 400, "INVALID_REQUEST"},
		{"text that is not UTF-8", usherv1connect.RoomsServiceGetRoomProcedure, "application/json", "{\"room\":\"\xff\"}", 400, "INVALID_REQUEST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+tt.path, strings.NewReader(tt.body)))
			req.Header.Set("Content-Type", tt.contentType)
			res := must[*http.Response](t)(http.DefaultClient.Do(req))
			defer res.Body.Close()
			body := string(must[[]byte](t)(io.ReadAll(res.Body)))
			if res.StatusCode != tt.status || !strings.Contains(body, `"reason":"`+tt.reason+`"`) && !strings.Contains(body, `"reason": "`+tt.reason+`"`) {
				t.Errorf("answer = %d %s, want %d with reason %s", res.StatusCode, body, tt.status, tt.reason)
			}
		})
	}
}

// A method that is spelt otherwise than in the contract, or percent-encoded, is not there, whoever asks for it.
func TestUnknownMethods(t *testing.T) {
	t.Parallel()
	i := start(t)
	token := i.apiToken(i.user("Ada Of Spelling"), "rooms")
	for _, path := range []string{
		"/usher.v1.RoomsService/GetRooms", "/usher.v1.RoomsService/getRoom", "/usher.v1.RoomsService/GetRoom/",
		"/usher.v1.RoomsService%2FGetRoom", "/usher.v1.RoomsService/Get%52oom", "/usher%2Ev1.RoomsService/GetRoom",
		"/usher.v2.RoomsService/GetRoom", "/made.up.Service/Method",
	} {
		for _, as := range []string{"", token, serviceToken} {
			for _, contentType := range []string{"application/json", "application/grpc-web"} {
				req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+path, strings.NewReader(`{"room":"x"}`)))
				req.Header.Set("Content-Type", contentType)
				if as != "" {
					req.Header.Set("Authorization", "Bearer "+as)
				}
				res := must[*http.Response](t)(http.DefaultClient.Do(req))
				body := string(must[[]byte](t)(io.ReadAll(res.Body)))
				_ = res.Body.Close()
				if contentType == "application/grpc-web" {
					if got := res.Header.Get("Grpc-Status"); got != "12" || res.StatusCode != http.StatusOK {
						t.Errorf("%s in gRPC-Web: %d, status %q; want UNIMPLEMENTED", path, res.StatusCode, got)
					}
					continue
				}
				if res.StatusCode != http.StatusNotImplemented || !strings.Contains(body, `"METHOD_NOT_FOUND"`) {
					t.Errorf("%s: %d %s, want 501 with METHOD_NOT_FOUND", path, res.StatusCode, body)
				}
			}
		}
	}
	if s := i.log.String(); strings.Contains(s, "made.up") {
		t.Errorf("a path that a stranger made up is in the log:\n%s", s)
	}
}

// What is refused before there is a message is counted, and has a reason.
func TestRefusedBeforeTheMessage(t *testing.T) {
	t.Parallel()
	i := start(t)
	for name, change := range map[string]func(h http.Header) (body string, status int, want string){
		"no gzip": func(h http.Header) (string, int, string) {
			h.Set("Content-Encoding", "gzip")
			return "{}", 400, "INVALID_REQUEST"
		},
		"compression": func(h http.Header) (string, int, string) {
			h.Set("Content-Encoding", "br")
			return "{}", 501, "INVALID_REQUEST"
		},
		"time-out": func(h http.Header) (string, int, string) {
			h.Set("Connect-Timeout-Ms", "soon")
			return "{}", 400, "INVALID_REQUEST"
		},
		"spent": func(h http.Header) (string, int, string) {
			h.Set("Connect-Timeout-Ms", "0")
			return "{}", 504, "DEADLINE_EXCEEDED"
		},
		"version": func(h http.Header) (string, int, string) {
			h.Set("Connect-Protocol-Version", "2")
			return "{}", 400, "INVALID_REQUEST"
		},
		"media type": func(h http.Header) (string, int, string) {
			h.Set("Content-Type", "text/plain")
			return "{}", 415, "INVALID_REQUEST"
		},
		"no body":           func(http.Header) (string, int, string) { return "", 400, "INVALID_REQUEST" },
		"too large":         func(http.Header) (string, int, string) { return strings.Repeat(" ", 5<<20), 429, "REQUEST_TOO_LARGE" },
		"an enum in digits": func(http.Header) (string, int, string) { return "{\"x\":1}", 400, "INVALID_REQUEST" },
	} {
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+usherv1connect.ConfigServiceGetConfigProcedure, nil))
		req.Header.Set("Content-Type", "application/json")
		body, status, want := change(req.Header)
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		res := must[*http.Response](t)(http.DefaultClient.Do(req))
		answer := string(must[[]byte](t)(io.ReadAll(res.Body)))
		_ = res.Body.Close()
		if res.StatusCode != status || !strings.Contains(answer, `"reason":"`+want+`"`) && !strings.Contains(answer, `"reason": "`+want+`"`) {
			t.Errorf("%s: %d %s, want %d with %s", name, res.StatusCode, answer, status, want)
		}
	}
	_, metrics := get(t, i.Metrics+"/metrics")
	if want := `usher_rpc_requests_total{caller="anonymous",code="unimplemented",procedure="/usher.v1.ConfigService/GetConfig"} 1`; !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %s", want)
	}
}

// A query that cannot be read is the caller's mistake, and is told so after who the caller is.
func TestBadQueries(t *testing.T) {
	t.Parallel()
	i := start(t)
	for _, tt := range []struct {
		name, message, token string
		status               int
		reason               string
	}{
		{"not Base64", "!!!", "", 400, "INVALID_REQUEST"},
		{"without padding", "e30", "", 200, ""},
		{"padding", "e30=", "", 200, ""},
		{"padding in the middle", "e3=0", "", 400, "INVALID_REQUEST"},
		{"not Base64, and a bad token", "!!!", "test-no-token", 401, "UNAUTHENTICATED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+
				usherv1connect.ConfigServiceGetConfigProcedure+"?connect=v1&encoding=json&base64=1&message="+tt.message, nil))
			if tt.token != "" {
				req.Header.Set("Authorization", "Bearer "+tt.token)
			}
			res := must[*http.Response](t)(http.DefaultClient.Do(req))
			defer res.Body.Close()
			body := string(must[[]byte](t)(io.ReadAll(res.Body)))
			if res.StatusCode != tt.status || !strings.Contains(body, tt.reason) {
				t.Errorf("answer = %d %s, want %d with reason %s", res.StatusCode, body, tt.status, tt.reason)
			}
		})
	}
}

// methods are all methods of the services that the server mounts, from their descriptors.
func methods(t testing.TB) []protoreflect.MethodDescriptor {
	t.Helper()
	var all []protoreflect.MethodDescriptor
	for _, name := range server.Services {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			t.Fatal(err)
		}
		s := d.(protoreflect.ServiceDescriptor)
		for n := range s.Methods().Len() {
			all = append(all, s.Methods().Get(n))
		}
	}
	return all
}

// Every service of the contract is mounted.
func TestServices_complete(t *testing.T) {
	t.Parallel()
	mounted := map[string]bool{}
	for _, name := range server.Services {
		mounted[name] = true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("usher.v1", func(f protoreflect.FileDescriptor) bool {
		for n := range f.Services().Len() {
			if name := string(f.Services().Get(n).FullName()); !mounted[name] {
				t.Errorf("%s is in the contract and not served", name)
			}
		}
		return true
	})
}

func procedure(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}

// secretField is the name of a field below d that the contract marks as secret, "" without one.
func secretField(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) string {
	if seen[d.FullName()] {
		return ""
	}
	seen[d.FullName()] = true
	for n := range d.Fields().Len() {
		f := d.Fields().Get(n)
		if options, _ := f.Options().(*descriptorpb.FieldOptions); options.GetDebugRedact() {
			return string(f.FullName())
		}
		if f.Message() != nil {
			if found := secretField(f.Message(), seen); found != "" {
				return found
			}
		}
	}
	return ""
}
