package auth

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
)

// The scopes of API tokens and services.
const (
	ScopeRead        = "read"
	ScopeRooms       = "rooms"
	ScopeRecordings  = "recordings"
	ScopeInvitations = "invitations"
	ScopeTelephony   = "telephony"
)

// Rule says who may call one method. What depends on a row, such as a role in the room, the method decides.
type Rule struct {
	// Anonymous callers may call.
	Anonymous bool
	// User may call with a session or an access token; with an API token only as Scopes say.
	User bool
	// Scopes are those of which an API token needs one. Empty: API tokens may not call.
	Scopes []string
	// AnyScope lets every API token call.
	AnyScope bool
	// Service callers may call, if they have one of ServiceScopes or that is empty.
	Service       bool
	ServiceScopes []string
	// Participant callers may call.
	Participant bool
	// System callers may call.
	System bool
	// FindsByName is true of methods that find things by names that can be guessed. Whoever looked too much up in vain, or
	// whose network did in the case of strangers, may not call them for a while, not even for what exists.
	FindsByName bool
	// CountsEveryCall is true of methods whose answer does not tell whether something was found: each call counts as one in
	// vain.
	CountsEveryCall bool
}

// anyone is a rule for all but participants, whose tokens are good for one room only.
func anyone(scopes ...string) Rule {
	return Rule{Anonymous: true, User: true, Scopes: scopes, AnyScope: len(scopes) == 0, Service: true, System: true}
}

// users is a rule for people who signed in, and for their API tokens with one of scopes.
func users(scopes ...string) Rule { return Rule{User: true, Scopes: scopes} }

// services is r, and services with one of scopes too.
func (r Rule) services(scopes ...string) Rule {
	r.Service, r.ServiceScopes = true, scopes
	return r
}

// participants is r, and people in a meeting too.
func (r Rule) participants() Rule {
	r.Participant = true
	return r
}

func (r Rule) findsByName() Rule {
	r.FindsByName = true
	return r
}

func (r Rule) countsEveryCall() Rule {
	r.FindsByName, r.CountsEveryCall = true, true
	return r
}

// telephony is a rule for what drives LiveKit's telephony: parts of this server, and services that stand for them.
var telephony = Rule{Service: true, ServiceScopes: []string{ScopeTelephony}, System: true}

// policy is the whole of it: what is not here is refused.
var policy = map[string]Rule{
	usherv1connect.ConfigServiceGetConfigProcedure: anyone(),

	usherv1connect.RoomsServiceCreateRoomProcedure:              users(ScopeRooms).services(ScopeRooms),
	usherv1connect.RoomsServiceGetRoomProcedure:                 anyone(ScopeRead, ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceListRoomsProcedure:               users(ScopeRead, ScopeRooms),
	usherv1connect.RoomsServiceUpdateRoomProcedure:              users(ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceDeleteRoomProcedure:              users(ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceJoinRoomProcedure:                anyone(ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceRenewConnectionProcedure:         {Participant: true},
	usherv1connect.RoomsServiceEndMeetingProcedure:              users(ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceResolveCreationCallbackProcedure: anyone(ScopeRooms).countsEveryCall(),
	usherv1connect.RoomsServiceListMembersProcedure:             users(ScopeRead, ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceAddMemberProcedure:               users(ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceUpdateMemberProcedure:            users(ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceRemoveMemberProcedure:            users(ScopeRooms).findsByName(),
	usherv1connect.RoomsServiceListAuditEventsProcedure:         users(ScopeRead, ScopeRooms).findsByName(),

	usherv1connect.ParticipantsServiceListParticipantsProcedure:    users(ScopeRead, ScopeRooms).findsByName(),
	usherv1connect.ParticipantsServiceMuteParticipantProcedure:     users(ScopeRooms).participants().findsByName(),
	usherv1connect.ParticipantsServiceUnmuteParticipantProcedure:   users(ScopeRooms).findsByName(),
	usherv1connect.ParticipantsServiceMuteAllParticipantsProcedure: users(ScopeRooms).findsByName(),
	usherv1connect.ParticipantsServiceUpdateParticipantProcedure:   users(ScopeRooms).findsByName(),
	usherv1connect.ParticipantsServiceSetParticipantRoleProcedure:  users(ScopeRooms).findsByName(),
	usherv1connect.ParticipantsServiceRemoveParticipantProcedure:   users(ScopeRooms).findsByName(),
	usherv1connect.ParticipantsServiceRaiseHandProcedure:           {Participant: true},
	usherv1connect.ParticipantsServiceRenameProcedure:              {Participant: true},
	usherv1connect.ParticipantsServiceLowerHandProcedure:           users(ScopeRooms).findsByName(),

	usherv1connect.LobbyServiceRequestEntryProcedure:     anyone(ScopeRooms).findsByName(),
	usherv1connect.LobbyServiceWatchEntryProcedure:       anyone(ScopeRooms).findsByName(),
	usherv1connect.LobbyServiceCancelEntryProcedure:      anyone(ScopeRooms).findsByName(),
	usherv1connect.LobbyServiceListWaitingProcedure:      users(ScopeRead, ScopeRooms).findsByName(),
	usherv1connect.LobbyServiceWatchWaitingProcedure:     users(ScopeRead, ScopeRooms).findsByName(),
	usherv1connect.LobbyServiceDecideEntryProcedure:      users(ScopeRooms).findsByName(),
	usherv1connect.LobbyServiceDecideAllEntriesProcedure: users(ScopeRooms).findsByName(),

	usherv1connect.TelephonyServiceGetDialInProcedure:         anyone(ScopeRead, ScopeRooms).findsByName(),
	usherv1connect.TelephonyServiceRotatePinProcedure:         users(ScopeRooms).findsByName(),
	usherv1connect.TelephonyServiceOpenDialInProcedure:        telephony,
	usherv1connect.TelephonyServiceCloseDialInProcedure:       telephony,
	usherv1connect.TelephonyServiceListDispatchRulesProcedure: telephony,
	usherv1connect.TelephonyServiceReconcileDialInProcedure:   telephony,
	usherv1connect.TelephonyServiceListTrunksProcedure:        telephony,

	usherv1connect.InvitationsServiceCreateInvitationsProcedure: users(ScopeInvitations).findsByName(),
	usherv1connect.InvitationsServiceGetInvitationProcedure:     users(ScopeRead, ScopeInvitations).findsByName(),
	usherv1connect.InvitationsServiceListInvitationsProcedure:   users(ScopeRead, ScopeInvitations).findsByName(),
	usherv1connect.InvitationsServiceUpdateInvitationProcedure:  users(ScopeInvitations).findsByName(),
	usherv1connect.InvitationsServiceResendInvitationProcedure:  users(ScopeInvitations).findsByName(),
	usherv1connect.InvitationsServiceRevokeInvitationProcedure:  users(ScopeInvitations).findsByName(),
	usherv1connect.InvitationsServiceResolveInvitationProcedure: anyone(ScopeInvitations).findsByName(),
	usherv1connect.InvitationsServiceRespondInvitationProcedure: anyone(ScopeInvitations).findsByName(),

	usherv1connect.RecordingsServiceStartRecordingProcedure:        users(ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceStopRecordingProcedure:         users(ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceGetRecordingProcedure:          users(ScopeRead, ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceListRecordingsProcedure:        users(ScopeRead, ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceUpdateRecordingProcedure:       users(ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceDeleteRecordingProcedure:       users(ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceCreateDownloadUrlProcedure:     users(ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceListRecordingAccessesProcedure: users(ScopeRead, ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceGrantRecordingAccessProcedure:  users(ScopeRecordings).findsByName(),
	usherv1connect.RecordingsServiceRevokeRecordingAccessProcedure: users(ScopeRecordings).findsByName(),

	usherv1connect.UsersServiceGetMeProcedure:       users(ScopeRead),
	usherv1connect.UsersServiceUpdateMeProcedure:    users(),
	usherv1connect.UsersServiceSearchUsersProcedure: users(ScopeRead),

	"/grpc.health.v1.Health/Check":                                   anyone(),
	"/grpc.health.v1.Health/Watch":                                   anyone(),
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      anyone(),
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": anyone(),
}

// Policy returns a copy of the rules by procedure, for tests that are generated from them.
func Policy() map[string]Rule { return maps.Clone(policy) }

// ServiceScopes are the scopes with which a service token reaches any method, sorted.
func ServiceScopes() []string {
	var scopes []string
	for _, rule := range policy {
		scopes = append(scopes, rule.ServiceScopes...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// Known reports whether the policy has the procedure: any other is refused.
func Known(procedure string) bool { _, ok := policy[procedure]; return ok }

// Check refuses callers who may not call a procedure ("/usher.v1.RoomsService/GetRoom"), whatever the request says.
//
// It fails with [ErrNoMethod] for what the policy lacks, with [ErrSignInRequired] without a credential, with
// [ErrUnauthenticated] where the kind of credential is good for other methods only, and else with [ErrNotPermitted]. What it
// says names the callers and scopes that may.
func Check(procedure string, c *Caller) error {
	rule, ok := policy[procedure]
	if !ok {
		return ErrNoMethod
	}
	return rule.check(c)
}

func (r Rule) check(c *Caller) error {
	switch c.Kind {
	case Anonymous:
		return r.checkAnonymous()
	case User:
		return r.checkUser(c)
	case Service:
		return r.checkService(c)
	case Participant:
		if !r.Participant {
			return ErrUnauthenticated.Saying(
				"a session token is for the meeting that it was made for only: sign in, or send another token",
			)
		}
	case System:
		if !r.System {
			return r.notPermitted()
		}
	default:
		return r.notPermitted()
	}
	return nil
}

func (r Rule) checkAnonymous() error {
	switch {
	case r.Anonymous:
		return nil
	case r.User:
		return ErrSignInRequired
	case r.Participant:
		return ErrSignInRequired.Saying("send the session token of your connection as bearer token")
	case r.Service:
		return ErrSignInRequired.Saying("send the token of a service as bearer token: this method is for %s", r.callers())
	}
	return r.notPermitted()
}

func (r Rule) checkUser(c *Caller) error {
	switch {
	case r.User && (c.AllScopes || r.AnyScope):
		return nil
	case r.User && len(r.Scopes) == 0:
		return ErrNotPermitted.Saying("API tokens may not do that: this method is for %s", r.callers())
	case r.User:
		return requireScope(c, r.Scopes)
	case r.Participant:
		return ErrUnauthenticated.Saying("this method takes the session token of a connection only")
	}
	return r.notPermitted()
}

func (r Rule) checkService(c *Caller) error {
	switch {
	case r.Service && len(r.ServiceScopes) == 0:
		return nil
	case r.Service:
		return requireScope(c, r.ServiceScopes)
	case r.Participant && !r.User:
		return ErrUnauthenticated.Saying("this method takes the session token of a connection only")
	}
	return r.notPermitted()
}

// requireScope refuses credentials with none of scopes, of which the first is the least.
func requireScope(c *Caller, scopes []string) error {
	if slices.ContainsFunc(scopes, c.HasScope) {
		return nil
	}
	return ErrNotPermitted.Saying("the token lacks the %s", scopesText(scopes)).With("required_scope", scopes[0])
}

func (r Rule) notPermitted() error {
	return ErrNotPermitted.Saying("this caller may not do that: this method is for %s", r.callers())
}

// callers says in words who may call.
func (r Rule) callers() string {
	var who []string
	if r.Anonymous {
		who = append(who, "everybody")
	}
	if r.User {
		who = append(who, "people who signed in")
	}
	switch {
	case r.User && r.AnyScope:
		who = append(who, "their API tokens")
	case r.User && len(r.Scopes) > 0:
		who = append(who, "their API tokens with the "+scopesText(r.Scopes))
	}
	switch {
	case r.Service && len(r.ServiceScopes) == 0:
		who = append(who, "services")
	case r.Service:
		who = append(who, "services with the "+scopesText(r.ServiceScopes))
	}
	if r.Participant {
		who = append(who, "participants with their session token")
	}
	if len(who) == 0 {
		return "this server itself"
	}
	return strings.Join(who, ", ")
}

// scopesText says in words which scopes open a method.
func scopesText(scopes []string) string {
	quoted := make([]string, len(scopes))
	for i, scope := range scopes {
		quoted[i] = strconv.Quote(scope)
	}
	return "scope " + strings.Join(quoted, " or ")
}
