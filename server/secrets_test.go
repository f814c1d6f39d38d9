package server_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/settings"
)

// secrets collects, as a client interceptor, the value of every field that the contract marks with debug_redact, and of
// fields that hold names and addresses, in both directions. Whoever runs a server in a test searches its log for them.
type secrets struct {
	mu   sync.Mutex
	seen map[string]bool
}

// personal are fields that hold personal data although they may be printed to people.
var personal = []protoreflect.Name{"email", "full_name", "short_name", "display_name"}

func (s *secrets) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[string]bool)
	}
	for _, v := range values {
		// Shorter ones are found in any text.
		if len(v) >= 5 {
			s.seen[v] = true
		}
	}
}

// callerIdentity is the identity of somebody on the phone, which LiveKit makes from their number.
var callerIdentity = regexp.MustCompile(`\bsip_\S+`)

func (s *secrets) check(t testing.TB, log string) {
	t.Helper()
	if found := callerIdentity.FindString(log); found != "" {
		t.Errorf("the log tells who called: %s", found)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.seen {
		if at := strings.Index(log, v); at >= 0 {
			line := log[strings.LastIndexByte(log[:at], '\n')+1:]
			line, _, _ = strings.Cut(line, "\n")
			t.Errorf("the log holds a secret or personal value: %s", line)
		}
	}
}

func (s *secrets) collect(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.Message() != nil && f.IsList():
			for i := range v.List().Len() {
				s.collect(v.List().Get(i).Message())
			}
		case f.Message() != nil:
			s.collect(v.Message())
		case f.Kind() == protoreflect.StringKind && !f.IsList():
			options, _ := f.Options().(*descriptorpb.FieldOptions)
			if options.GetDebugRedact() || slices.Contains(personal, f.Name()) {
				s.add(v.String())
			}
		}
		return true
	})
}

// WrapUnary implements connect.Interceptor.
func (s *secrets) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if m, ok := req.Any().(proto.Message); ok {
			s.collect(m.ProtoReflect())
		}
		res, err := next(ctx, req)
		if err == nil {
			if m, ok := res.Any().(proto.Message); ok {
				s.collect(m.ProtoReflect())
			}
		}
		return res, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (*secrets) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (*secrets) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// Every test that starts a server searches its log; this one makes sure that there is something to find, in calls that
// succeed and in calls that fail.
func TestNoSecretsInLogs(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada := i.user("Ada Lovelace")
	c := i.clients(bearer(i.apiToken(ada, "read", "rooms")))
	created := must[*usherv1.CreateRoomResponse](t)(c.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Analytical Engines", CallbackId: "test-callback-" + strings.Repeat("x", 22),
	})).GetRoom()
	must[*usherv1.JoinRoomResponse](t)(c.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: created.GetId(), DisplayName: "Countess of Lovelace"}))
	must[*usherv1.AddMemberResponse](t)(c.AddMember(t.Context(), &usherv1.AddMemberRequest{
		Room: created.GetId(), Role: usherv1.Role_ROLE_MEMBER,
		Identifier: &usherv1.AddMemberRequest_Email{Email: "charles.babbage@people.example"},
	}))
	must[*usherv1.ListMembersResponse](t)(c.ListMembers(t.Context(), &usherv1.ListMembersRequest{Room: created.GetId()}))
	must[*usherv1.GetMeResponse](t)(c.GetMe(t.Context(), &usherv1.GetMeRequest{}))
	must[*usherv1.SearchUsersResponse](t)(c.SearchUsers(t.Context(), &usherv1.SearchUsersRequest{Query: "nobody.known@people.example"}))
	// What fails is logged more often than what succeeds.
	for _, token := range []string{"test-not-a-token-at-all", "usher_svc_test-unknown-service-token", i.apiToken(ada, "read") + "x"} {
		i.secrets.add(token)
		_, err := i.clients(bearer(token)).GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: created.GetId()})
		wantReason(t, err, "UNAUTHENTICATED")
	}
	_, err := c.AddMember(t.Context(), &usherv1.AddMemberRequest{
		Room: created.GetId(), Role: usherv1.Role_ROLE_MEMBER,
		Identifier: &usherv1.AddMemberRequest_Email{Email: "charles.babbage@people.example"},
	})
	wantReason(t, err, "MEMBER_EXISTS")
	i.LiveKit.Kill()
	must[*usherv1.GetRoomResponse](t)(c.GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: created.GetId()}))

	i.secrets.mu.Lock()
	found := len(i.secrets.seen)
	i.secrets.mu.Unlock()
	if found < 10 {
		t.Errorf("only %d secrets were collected: the search proves nothing", found)
	}
	if !strings.Contains(i.log.String(), "procedure=/usher.v1.RoomsService/CreateRoom") {
		t.Error("the log does not hold the calls: the search proves nothing")
	}
}

// A secret that is printed anyway must be the test's fault, not the type's.
func TestSecret_isNeverPrinted(t *testing.T) {
	t.Parallel()
	s := settings.Secret("test-secret")
	text, err := s.MarshalText()
	if err != nil || s.String() != "***" || s.GoString() != "***" || string(text) != "***" {
		t.Errorf("printed as %s, %#v, %s (%v), want ***", s, s, text, err)
	}
	if got := settings.Secret("").String(); got != "" {
		t.Errorf("an empty secret prints as %q, want nothing: whether one is set is no secret", got)
	}
}
