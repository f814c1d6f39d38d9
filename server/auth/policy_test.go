package auth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

// procedures are those of the contract.
func procedures() []string {
	var all []string
	protoregistry.GlobalFiles.RangeFilesByPackage("usher.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				all = append(all, "/"+string(s.FullName())+"/"+string(s.Methods().Get(j).Name()))
			}
		}
		return true
	})
	return all
}

func TestPolicy_namesTheContract(t *testing.T) {
	t.Parallel()
	policy, all := auth.Policy(), procedures()
	if len(all) < 10 {
		t.Fatalf("found only %d procedures", len(all))
	}
	for _, procedure := range all {
		if _, ok := policy[procedure]; !ok {
			t.Errorf("nobody may call %s: it has no rule", procedure)
		}
	}
	for procedure := range policy {
		if strings.HasPrefix(procedure, "/usher.") && !slices.Contains(all, procedure) {
			t.Errorf("there is a rule for %s, which does not exist", procedure)
		}
	}
	delete(policy, usherv1connect.RoomsServiceGetRoomProcedure)
	if err := auth.Check(usherv1connect.RoomsServiceGetRoomProcedure, &auth.Caller{}); err != nil {
		t.Errorf("changing the copy changed the policy: %v", err)
	}
}

// Who misspells a method is told that, and not to look for rights.
func TestCheck_unknown(t *testing.T) {
	t.Parallel()
	for _, procedure := range []string{"/usher.v1.RoomsService/GetRooms", "/usher.v1.RoomsService/GetRoom/", "/usher.v1.roomsservice/getroom", "/a.B/c", ""} {
		err := auth.Check(procedure, &auth.Caller{Kind: auth.System, AllScopes: true})
		if !errors.Is(err, auth.ErrNoMethod) || !strings.Contains(err.Error(), "no such method") {
			t.Errorf("%q: %v, want a refusal that says that there is no such method", procedure, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const rooms, users = "/usher.v1.RoomsService/", "/usher.v1.UsersService/"
	someone := &ent.User{}
	callers := map[string]*auth.Caller{
		"anonymous":   {},
		"session":     {Kind: auth.User, User: someone, AllScopes: true},
		"read":        {Kind: auth.User, User: someone, Scopes: []string{auth.ScopeRead}},
		"rooms":       {Kind: auth.User, User: someone, Scopes: []string{auth.ScopeRooms}},
		"recordings":  {Kind: auth.User, User: someone, Scopes: []string{auth.ScopeRecordings}},
		"portal":      {Kind: auth.Service, Name: "portal", Scopes: []string{auth.ScopeRooms}},
		"phone":       {Kind: auth.Service, Name: "phone", Scopes: []string{auth.ScopeTelephony}},
		"participant": {Kind: auth.Participant},
		"system":      {Kind: auth.System, Name: "test", AllScopes: true},
		"nonsense":    {Kind: auth.Kind(17)},
	}
	const (
		no      = "NOT_PERMITTED"
		read    = "NOT_PERMITTED read"
		room    = "NOT_PERMITTED rooms"
		none    = "METHOD_NOT_FOUND"
		bad     = "UNAUTHENTICATED"
		sign    = "SIGN_IN_REQUIRED"
		allowed = ""
	)
	type want map[string]string
	for procedure, want := range map[string]want{
		rooms + "GetRoom":                   {"anonymous": allowed, "session": allowed, "read": allowed, "rooms": allowed, "recordings": read, "portal": allowed, "phone": allowed, "participant": bad, "system": allowed},
		rooms + "JoinRoom":                  {"anonymous": allowed, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": allowed, "phone": allowed, "participant": bad, "system": allowed},
		rooms + "CreateRoom":                {"anonymous": sign, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": allowed, "phone": room, "participant": bad, "system": no},
		rooms + "ListRooms":                 {"anonymous": sign, "session": allowed, "read": allowed, "rooms": allowed, "recordings": read, "portal": no, "phone": no, "participant": bad, "system": no},
		rooms + "UpdateRoom":                {"anonymous": sign, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": no, "phone": no, "participant": bad, "system": no},
		rooms + "DeleteRoom":                {"anonymous": sign, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": no, "phone": no, "participant": bad, "system": no},
		rooms + "ListMembers":               {"anonymous": sign, "session": allowed, "read": allowed, "rooms": allowed, "recordings": read, "portal": no, "phone": no, "participant": bad, "system": no},
		rooms + "AddMember":                 {"anonymous": sign, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": no, "phone": no, "participant": bad, "system": no},
		rooms + "UpdateMember":              {"anonymous": sign, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": no, "phone": no, "participant": bad, "system": no},
		rooms + "RemoveMember":              {"anonymous": sign, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": no, "phone": no, "participant": bad, "system": no},
		rooms + "RenewConnection":           {"anonymous": sign, "session": bad, "read": bad, "rooms": bad, "recordings": bad, "portal": bad, "phone": bad, "participant": allowed, "system": no},
		rooms + "ResolveCreationCallback":   {"anonymous": allowed, "session": allowed, "read": room, "rooms": allowed, "recordings": room, "portal": allowed, "phone": allowed, "participant": bad, "system": allowed},
		users + "GetMe":                     {"anonymous": sign, "session": allowed, "read": allowed, "rooms": read, "recordings": read, "portal": no, "phone": no, "participant": bad, "system": no},
		users + "UpdateMe":                  {"anonymous": sign, "session": allowed, "read": no, "rooms": no, "recordings": no, "portal": no, "phone": no, "participant": bad, "system": no},
		users + "SearchUsers":               {"anonymous": sign, "session": allowed, "read": allowed, "rooms": read, "recordings": read, "portal": no, "phone": no, "participant": bad, "system": no},
		"/usher.v1.ConfigService/GetConfig": {"anonymous": allowed, "session": allowed, "read": allowed, "rooms": allowed, "recordings": allowed, "portal": allowed, "phone": allowed, "participant": bad, "system": allowed},
		"/grpc.health.v1.Health/Check":      {"anonymous": allowed, "session": allowed, "read": allowed, "rooms": allowed, "recordings": allowed, "portal": allowed, "phone": allowed, "participant": bad, "system": allowed},
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": {"anonymous": allowed, "session": allowed, "read": allowed, "rooms": allowed, "recordings": allowed, "portal": allowed, "phone": allowed, "participant": bad, "system": allowed},
		"/usher.v1.TelephonyService/CloseDialIn":                    {"anonymous": sign, "session": no, "read": no, "rooms": no, "recordings": no, "portal": "NOT_PERMITTED telephony", "phone": allowed, "participant": bad, "system": allowed},
		rooms + "Invented":                                          {"anonymous": none, "session": none, "read": none, "rooms": none, "recordings": none, "portal": none, "phone": none, "participant": none, "system": none},
		"":                                                          {"anonymous": none, "session": none, "read": none, "rooms": none, "recordings": none, "portal": none, "phone": none, "participant": none, "system": none},
	} {
		want["nonsense"] = no
		if want["session"] == none {
			want["nonsense"] = none
		}
		for name, caller := range callers {
			got := ""
			if e, ok := errors.AsType[*fault.Error](auth.Check(procedure, caller)); ok {
				got = strings.TrimSpace(e.Name() + " " + e.Meta["required_scope"])
			}
			if got != want[name] {
				t.Errorf("%s by %s: %q, want %q", procedure, name, got, want[name])
			}
		}
	}
}

// Who is refused is told which callers and scopes are not.
func TestCheck_namesCallers(t *testing.T) {
	t.Parallel()
	session := &auth.Caller{Kind: auth.User, User: &ent.User{}, AllScopes: true}
	token := func(scopes ...string) *auth.Caller {
		return &auth.Caller{Kind: auth.User, User: &ent.User{}, Scopes: scopes}
	}
	service := func(scopes ...string) *auth.Caller {
		return &auth.Caller{Kind: auth.Service, Name: "test", Scopes: scopes}
	}
	for _, tt := range []struct {
		procedure string
		caller    *auth.Caller
		want      string
	}{
		{usherv1connect.TelephonyServiceOpenDialInProcedure, session, `this method is for services with the scope "telephony"`},
		{usherv1connect.TelephonyServiceOpenDialInProcedure, &auth.Caller{}, `this method is for services with the scope "telephony"`},
		{usherv1connect.TelephonyServiceOpenDialInProcedure, service("rooms"), `the token lacks the scope "telephony"`},
		{usherv1connect.RoomsServiceUpdateRoomProcedure, service("rooms"), `this method is for people who signed in, their API tokens with the scope "rooms"`},
		{usherv1connect.RoomsServiceListRoomsProcedure, token("recordings"), `the token lacks the scope "read" or "rooms"`},
		{usherv1connect.UsersServiceUpdateMeProcedure, token("read"), `API tokens may not do that: this method is for people who signed in`},
		{usherv1connect.RoomsServiceRenewConnectionProcedure, &auth.Caller{Kind: auth.System}, `this method is for participants with their session token`},
	} {
		if err := auth.Check(tt.procedure, tt.caller); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s by %s: %v, want %q", tt.procedure, tt.caller.Kind, err, tt.want)
		}
	}
}
