package server_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
)

// right is who may call one method, as the contract says it. It is written down here a second time, on purpose: the policy
// and this table must agree.
type right struct {
	// anyone: no credential is needed.
	anyone bool
	// service: only for services.
	service bool
	// participant: only for participants.
	participant bool
	// tokenScopes are the scopes of API tokens of which one is needed; none: API tokens are refused.
	tokenScopes []string
	// serviceScope is the scope that services need; "" refuses services, "-" needs none.
	serviceScope string
	// role is the lowest role in the room that may call.
	role usherv1.Role
	// direct: callers who would have to wait are refused with LOBBY_REQUIRED.
	direct bool
	// needs is what callers are refused with who may call, because what they name is not there.
	needs string
	// hidden is what callers without a role are refused with: they are not told that what they name is there.
	hidden string
	// noLobby: callers who may call are refused with NO_LOBBY in public rooms.
	noLobby bool
	// stream: the method streams; its first message says that the caller was let through.
	stream bool
	// alsoParticipant: participants too.
	alsoParticipant bool
	// state is the reason with which those who may call are refused, because nothing goes on in the room.
	state string
	// request makes a request for a room, from a caller of the given role.
	request func(f *matrixFixture) proto.Message
}

const (
	member        = usherv1.Role_ROLE_MEMBER
	administrator = usherv1.Role_ROLE_ADMINISTRATOR
	owner         = usherv1.Role_ROLE_OWNER
)

var rights = map[string]right{
	usherv1connect.ConfigServiceGetConfigProcedure: {
		anyone: true, tokenScopes: []string{"read", "rooms", "recordings", "invitations"}, serviceScope: "-",
		request: func(*matrixFixture) proto.Message { return &usherv1.GetConfigRequest{} },
	},
	usherv1connect.UsersServiceGetMeProcedure: {
		tokenScopes: []string{"read"},
		request:     func(*matrixFixture) proto.Message { return &usherv1.GetMeRequest{} },
	},
	usherv1connect.UsersServiceUpdateMeProcedure: {
		request: func(*matrixFixture) proto.Message {
			return &usherv1.UpdateMeRequest{User: &usherv1.User{Timezone: "Europe/Paris"}}
		},
	},
	usherv1connect.UsersServiceSearchUsersProcedure: {
		tokenScopes: []string{"read"},
		request:     func(*matrixFixture) proto.Message { return &usherv1.SearchUsersRequest{Query: "nobody@people.example"} },
	},
	usherv1connect.RoomsServiceCreateRoomProcedure: {
		tokenScopes: []string{"rooms"}, serviceScope: "rooms",
		request: func(f *matrixFixture) proto.Message {
			req := &usherv1.CreateRoomRequest{Name: "made by the matrix"}
			if f.service {
				req.OwnerEmail = "owner@people.example"
			}
			return req
		},
	},
	usherv1connect.RoomsServiceGetRoomProcedure: {
		anyone: true, tokenScopes: []string{"read", "rooms"}, serviceScope: "-",
		request: func(f *matrixFixture) proto.Message { return &usherv1.GetRoomRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.RoomsServiceListRoomsProcedure: {
		tokenScopes: []string{"read", "rooms"},
		request:     func(*matrixFixture) proto.Message { return &usherv1.ListRoomsRequest{} },
	},
	usherv1connect.RoomsServiceUpdateRoomProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: f.room.ID.String(), Name: "renamed"}}
		},
	},
	usherv1connect.RoomsServiceDeleteRoomProcedure: {
		tokenScopes: []string{"rooms"}, role: owner,
		request: func(f *matrixFixture) proto.Message { return &usherv1.DeleteRoomRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.RoomsServiceJoinRoomProcedure: {
		anyone: true, tokenScopes: []string{"rooms"}, serviceScope: "-", direct: true,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.JoinRoomRequest{Room: f.room.ID.String(), DisplayName: "Matrix"}
		},
	},
	usherv1connect.LobbyServiceRequestEntryProcedure: {
		anyone: true, tokenScopes: []string{"rooms"}, serviceScope: "-",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.RequestEntryRequest{Room: f.room.ID.String(), DisplayName: "Matrix"}
		},
	},
	usherv1connect.LobbyServiceWatchEntryProcedure: {
		anyone: true, tokenScopes: []string{"rooms"}, serviceScope: "-", needs: "TICKET_INVALID", stream: true,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.WatchEntryRequest{Room: f.room.ID.String(), Ticket: "test-ticket"}
		},
	},
	usherv1connect.LobbyServiceCancelEntryProcedure: {
		anyone: true, tokenScopes: []string{"rooms"}, serviceScope: "-", needs: "TICKET_INVALID",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.CancelEntryRequest{Room: f.room.ID.String(), Ticket: "test-ticket"}
		},
	},
	usherv1connect.LobbyServiceListWaitingProcedure: {
		tokenScopes: []string{"read", "rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message { return &usherv1.ListWaitingRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.LobbyServiceWatchWaitingProcedure: {
		tokenScopes: []string{"read", "rooms"}, role: administrator, stream: true,
		request: func(f *matrixFixture) proto.Message { return &usherv1.WatchWaitingRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.LobbyServiceDecideEntryProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, needs: "ENTRY_NOT_FOUND", noLobby: true,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.DecideEntryRequest{
				Room: f.room.ID.String(), EntryId: uuid.NewString(), Etag: "test-etag", Decision: usherv1.Decision_DECISION_ALLOW,
			}
		},
	},
	usherv1connect.LobbyServiceDecideAllEntriesProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, noLobby: true,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.DecideAllEntriesRequest{
				Room: f.room.ID.String(), Entries: []*usherv1.ShownEntry{{Id: uuid.NewString(), Etag: "test-etag"}}, Decision: usherv1.Decision_DECISION_DENY,
			}
		},
	},
	usherv1connect.RoomsServiceRenewConnectionProcedure: {
		participant: true,
		request:     func(*matrixFixture) proto.Message { return &usherv1.RenewConnectionRequest{} },
	},
	usherv1connect.RoomsServiceEndMeetingProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message { return &usherv1.EndMeetingRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.RecordingsServiceStartRecordingProcedure: {
		tokenScopes: []string{"recordings"}, role: administrator, state: "RECORDING_DISABLED",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.StartRecordingRequest{Room: f.room.ID.String(), Mode: usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT}
		},
	},
	usherv1connect.RecordingsServiceStopRecordingProcedure: {
		tokenScopes: []string{"recordings"}, role: administrator, state: "RECORDING_NOT_ACTIVE",
		request: func(f *matrixFixture) proto.Message { return &usherv1.StopRecordingRequest{Room: f.room.ID.String()} },
	},
	// What depends on the role in a recording is in TestRecordingAccessMatrix: a role in its room gives none.
	usherv1connect.RecordingsServiceGetRecordingProcedure: {
		tokenScopes: []string{"read", "recordings"}, needs: "RECORDING_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message { return &usherv1.GetRecordingRequest{RecordingId: f.recording()} },
	},
	usherv1connect.RecordingsServiceListRecordingsProcedure: {
		tokenScopes: []string{"read", "recordings"},
		request:     func(f *matrixFixture) proto.Message { return &usherv1.ListRecordingsRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.RecordingsServiceUpdateRecordingProcedure: {
		tokenScopes: []string{"recordings"}, needs: "RECORDING_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.UpdateRecordingRequest{RecordingId: f.recording(), Keep: proto.Bool(true)}
		},
	},
	usherv1connect.RecordingsServiceDeleteRecordingProcedure: {
		tokenScopes: []string{"recordings"}, needs: "RECORDING_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.DeleteRecordingRequest{RecordingId: f.recording()}
		},
	},
	usherv1connect.RecordingsServiceCreateDownloadUrlProcedure: {
		tokenScopes: []string{"recordings"}, needs: "RECORDING_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.CreateDownloadUrlRequest{RecordingId: f.recording()}
		},
	},
	usherv1connect.RecordingsServiceListRecordingAccessesProcedure: {
		tokenScopes: []string{"read", "recordings"}, needs: "RECORDING_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.ListRecordingAccessesRequest{RecordingId: f.recording()}
		},
	},
	usherv1connect.RecordingsServiceGrantRecordingAccessProcedure: {
		tokenScopes: []string{"recordings"}, needs: "RECORDING_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.GrantRecordingAccessRequest{
				RecordingId: f.recording(), Role: member, Identifier: &usherv1.GrantRecordingAccessRequest_UserId{UserId: f.stranger.ID.String()},
			}
		},
	},
	usherv1connect.RecordingsServiceRevokeRecordingAccessProcedure: {
		tokenScopes: []string{"recordings"}, needs: "RECORDING_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.RevokeRecordingAccessRequest{
				RecordingId: f.recording(), Identifier: &usherv1.RevokeRecordingAccessRequest_UserId{UserId: f.stranger.ID.String()},
			}
		},
	},
	usherv1connect.RoomsServiceResolveCreationCallbackProcedure: {
		anyone: true, tokenScopes: []string{"rooms"}, serviceScope: "-",
		request: func(*matrixFixture) proto.Message {
			return &usherv1.ResolveCreationCallbackRequest{CallbackId: "test-" + strings.Repeat("a", 22)}
		},
	},
	usherv1connect.RoomsServiceListMembersProcedure: {
		tokenScopes: []string{"read", "rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message { return &usherv1.ListMembersRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.RoomsServiceAddMemberProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.AddMemberRequest{
				Room: f.room.ID.String(), Role: member, Identifier: &usherv1.AddMemberRequest_UserId{UserId: f.stranger.ID.String()},
			}
		},
	},
	usherv1connect.RoomsServiceUpdateMemberProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.UpdateMemberRequest{
				Room: f.room.ID.String(), Role: administrator, Identifier: &usherv1.UpdateMemberRequest_UserId{UserId: f.other.ID.String()},
			}
		},
	},
	usherv1connect.RoomsServiceRemoveMemberProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.RemoveMemberRequest{
				Room: f.room.ID.String(), Identifier: &usherv1.RemoveMemberRequest_UserId{UserId: f.other.ID.String()},
			}
		},
	},
	usherv1connect.RoomsServiceListAuditEventsProcedure: {
		tokenScopes: []string{"read", "rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message { return &usherv1.ListAuditEventsRequest{Room: f.room.ID.String()} },
	},
	// No mail is sent here.
	usherv1connect.InvitationsServiceCreateInvitationsProcedure: {
		tokenScopes: []string{"invitations"}, role: administrator, state: "MAIL_UNAVAILABLE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.CreateInvitationsRequest{
				Room: f.room.ID.String(), Recipients: []*usherv1.Recipient{{Email: "guest@people.example"}},
			}
		},
	},
	usherv1connect.InvitationsServiceListInvitationsProcedure: {
		tokenScopes: []string{"read", "invitations"}, role: administrator,
		request: func(f *matrixFixture) proto.Message { return &usherv1.ListInvitationsRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.InvitationsServiceGetInvitationProcedure: {
		tokenScopes: []string{"read", "invitations"}, role: administrator, hidden: "INVITATION_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.GetInvitationRequest{InvitationId: f.invitationID}
		},
	},
	usherv1connect.InvitationsServiceUpdateInvitationProcedure: {
		tokenScopes: []string{"invitations"}, role: administrator, hidden: "INVITATION_NOT_FOUND", state: "MAIL_UNAVAILABLE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.UpdateInvitationRequest{Invitation: &usherv1.Invitation{Id: f.invitationID, Message: "hello"}}
		},
	},
	usherv1connect.InvitationsServiceResendInvitationProcedure: {
		tokenScopes: []string{"invitations"}, role: administrator, hidden: "INVITATION_NOT_FOUND", state: "MAIL_UNAVAILABLE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.ResendInvitationRequest{InvitationId: f.invitationID}
		},
	},
	usherv1connect.InvitationsServiceRevokeInvitationProcedure: {
		tokenScopes: []string{"invitations"}, role: administrator, hidden: "INVITATION_NOT_FOUND",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.RevokeInvitationRequest{InvitationId: f.invitationID}
		},
	},
	usherv1connect.InvitationsServiceResolveInvitationProcedure: {
		anyone: true, tokenScopes: []string{"invitations"}, serviceScope: "-",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.ResolveInvitationRequest{Token: f.invitationToken}
		},
	},
	usherv1connect.InvitationsServiceRespondInvitationProcedure: {
		anyone: true, tokenScopes: []string{"invitations"}, serviceScope: "-",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.RespondInvitationRequest{Token: f.invitationToken, Response: usherv1.Attendance_ATTENDANCE_YES}
		},
	},
	// LiveKit has no Redis here, and takes no calls.
	usherv1connect.TelephonyServiceGetDialInProcedure: {
		anyone: true, tokenScopes: []string{"read", "rooms"}, serviceScope: "-", direct: true, state: "TELEPHONY_DISABLED",
		request: func(f *matrixFixture) proto.Message { return &usherv1.GetDialInRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.TelephonyServiceRotatePinProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, state: "TELEPHONY_DISABLED",
		request: func(f *matrixFixture) proto.Message { return &usherv1.RotatePinRequest{Room: f.room.ID.String()} },
	},
	usherv1connect.TelephonyServiceOpenDialInProcedure: {
		service: true, serviceScope: "telephony", state: "TELEPHONY_DISABLED",
		request: func(f *matrixFixture) proto.Message { return &usherv1.OpenDialInRequest{RoomId: f.room.ID.String()} },
	},
	usherv1connect.TelephonyServiceCloseDialInProcedure: {
		service: true, serviceScope: "telephony",
		request: func(f *matrixFixture) proto.Message { return &usherv1.CloseDialInRequest{RoomId: f.room.ID.String()} },
	},
	usherv1connect.TelephonyServiceListDispatchRulesProcedure: {
		service: true, serviceScope: "telephony", state: "TELEPHONY_DISABLED",
		request: func(*matrixFixture) proto.Message { return &usherv1.ListDispatchRulesRequest{} },
	},
	usherv1connect.TelephonyServiceReconcileDialInProcedure: {
		service: true, serviceScope: "telephony",
		request: func(*matrixFixture) proto.Message { return &usherv1.ReconcileDialInRequest{} },
	},
	usherv1connect.TelephonyServiceListTrunksProcedure: {
		service: true, serviceScope: "telephony",
		request: func(*matrixFixture) proto.Message { return &usherv1.ListTrunksRequest{} },
	},
	usherv1connect.ParticipantsServiceListParticipantsProcedure: {
		tokenScopes: []string{"read", "rooms"}, role: administrator,
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.ListParticipantsRequest{Room: f.room.ID.String()}
		},
	},
	usherv1connect.ParticipantsServiceMuteParticipantProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, alsoParticipant: true, state: "ROOM_NOT_LIVE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.MuteParticipantRequest{Room: f.room.ID.String(), ParticipantIdentity: "p_test"}
		},
	},
	usherv1connect.ParticipantsServiceUnmuteParticipantProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, state: "ROOM_NOT_LIVE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.UnmuteParticipantRequest{Room: f.room.ID.String(), ParticipantIdentity: "p_test"}
		},
	},
	usherv1connect.ParticipantsServiceMuteAllParticipantsProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, state: "ROOM_NOT_LIVE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.MuteAllParticipantsRequest{Room: f.room.ID.String()}
		},
	},
	usherv1connect.ParticipantsServiceUpdateParticipantProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, state: "ROOM_NOT_LIVE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.UpdateParticipantRequest{Room: f.room.ID.String(), ParticipantIdentity: "p_test", DisplayName: proto.String("Matrix")}
		},
	},
	usherv1connect.ParticipantsServiceSetParticipantRoleProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, state: "ROOM_NOT_LIVE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.SetParticipantRoleRequest{Room: f.room.ID.String(), ParticipantIdentity: "p_test", Role: member}
		},
	},
	usherv1connect.ParticipantsServiceRemoveParticipantProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, state: "ROOM_NOT_LIVE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.RemoveParticipantRequest{Room: f.room.ID.String(), ParticipantIdentity: "p_test"}
		},
	},
	usherv1connect.ParticipantsServiceLowerHandProcedure: {
		tokenScopes: []string{"rooms"}, role: administrator, state: "ROOM_NOT_LIVE",
		request: func(f *matrixFixture) proto.Message {
			return &usherv1.LowerHandRequest{Room: f.room.ID.String(), ParticipantIdentity: "p_test"}
		},
	},
	usherv1connect.ParticipantsServiceRaiseHandProcedure: {
		participant: true, state: "ROOM_NOT_LIVE",
		request: func(*matrixFixture) proto.Message { return &usherv1.RaiseHandRequest{Raised: true} },
	},
	usherv1connect.ParticipantsServiceRenameProcedure: {
		participant: true, direct: true, state: "ROOM_NOT_LIVE",
		request: func(*matrixFixture) proto.Message { return &usherv1.RenameRequest{DisplayName: "Matrix"} },
	},
}

// matrixFixture is one room with its people, made for one call.
type matrixFixture struct {
	room *ent.Room
	// other is a member of the room, stranger is not.
	other, stranger *ent.User
	// recordingID is a recording of the room.
	recordingID string
	// invitationID is an invitation to the room, and invitationToken that of its link.
	invitationID, invitationToken string
	service                       bool
}

// recording is one that was made in the room, to which nobody who calls has access.
func (f *matrixFixture) recording() string { return f.recordingID }

// callerKind is one way to call.
type callerKind struct {
	name    string
	prepare func(m *matrix, f *matrixFixture, u *ent.User) connect.ClientOption
	// user: the caller has a role; others are tried with none only.
	user bool
	// scopes of an API token; nil for other kinds.
	scopes []string
	// service and participant tell the kind; bad is a credential that is refused everywhere.
	service, participant, bad bool
	serviceScopes             []string
}

var callerKinds = []callerKind{
	{name: "nobody", prepare: func(*matrix, *matrixFixture, *ent.User) connect.ClientOption { return bearer("") }},
	{name: "session", user: true, prepare: func(m *matrix, _ *matrixFixture, u *ent.User) connect.ClientOption {
		c := m.session(u)
		return header("Cookie", c.Name+"="+c.Value)
	}},
	{name: "token read", user: true, scopes: []string{"read"}, prepare: func(m *matrix, _ *matrixFixture, u *ent.User) connect.ClientOption {
		return bearer(m.apiToken(u, "read"))
	}},
	{name: "token rooms", user: true, scopes: []string{"rooms"}, prepare: func(m *matrix, _ *matrixFixture, u *ent.User) connect.ClientOption {
		return bearer(m.apiToken(u, "rooms"))
	}},
	{name: "token recordings", user: true, scopes: []string{"recordings"}, prepare: func(m *matrix, _ *matrixFixture, u *ent.User) connect.ClientOption {
		return bearer(m.apiToken(u, "recordings"))
	}},
	{name: "token invitations", user: true, scopes: []string{"invitations"}, prepare: func(m *matrix, _ *matrixFixture, u *ent.User) connect.ClientOption {
		return bearer(m.apiToken(u, "invitations"))
	}},
	{name: "service rooms", service: true, serviceScopes: []string{"rooms"}, prepare: func(*matrix, *matrixFixture, *ent.User) connect.ClientOption {
		return bearer(serviceToken)
	}},
	{name: "service telephony", service: true, serviceScopes: []string{"telephony"}, prepare: func(*matrix, *matrixFixture, *ent.User) connect.ClientOption {
		return bearer(phoneServiceToken)
	}},
	{name: "service without scope", service: true, prepare: func(*matrix, *matrixFixture, *ent.User) connect.ClientOption {
		return bearer(idleServiceToken)
	}},
	{name: "participant", participant: true, prepare: func(m *matrix, f *matrixFixture, _ *ent.User) connect.ClientOption {
		now := time.Now()
		token, err := m.Keys.SignSession(auth.ParticipantSession{
			RoomID: f.room.ID, Identity: m.Keys.NewIdentity(f.room.ID, uuid.Nil), DisplayName: "Matrix", JoinTime: now, ExpireTime: now.Add(time.Hour),
		})
		if err != nil {
			m.t.Fatal(err)
		}
		return bearer(token)
	}},
	{name: "bad token", bad: true, prepare: func(*matrix, *matrixFixture, *ent.User) connect.ClientOption { return bearer("test-bad-token") }},
	{name: "bad scheme", bad: true, prepare: func(*matrix, *matrixFixture, *ent.User) connect.ClientOption {
		return header("Authorization", "Basic dGVzdDp0ZXN0")
	}},
}

// want is the reason with which a call must be refused; "" when it must not be refused for want of a right.
func (r right) want(k callerKind, role usherv1.Role, level usherv1.AccessLevel) string {
	switch {
	case k.bad:
		return "UNAUTHENTICATED"
	case k.participant:
		if r.state != "" && (r.participant || r.alsoParticipant) {
			if r.direct && level != usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC {
				return "NOT_PERMITTED" // who had to be let in keeps their name
			}
			return r.state
		}
		if r.participant {
			// A stranger's connection outlives a change of the level only while the same meeting goes on; there is none.
			if level != usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC {
				return "LOBBY_REQUIRED"
			}
			return ""
		}
		return "UNAUTHENTICATED"
	case k.name == "nobody" && (r.service || r.participant):
		return "SIGN_IN_REQUIRED"
	case r.service && !k.service:
		return "NOT_PERMITTED"
	case r.participant:
		return "UNAUTHENTICATED"
	case k.service:
		if r.serviceScope == "" || r.serviceScope != "-" && !slices.Contains(k.serviceScopes, r.serviceScope) {
			return "NOT_PERMITTED"
		}
	case k.name == "nobody" && !r.anyone:
		return "SIGN_IN_REQUIRED"
	case k.scopes != nil && !slices.ContainsFunc(k.scopes, func(s string) bool { return slices.Contains(r.tokenScopes, s) }):
		return "NOT_PERMITTED"
	}
	if role == 0 && r.hidden != "" {
		return r.hidden
	}
	if role < r.role {
		return "INSUFFICIENT_ROLE"
	}
	trusted := level == usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED && k.user
	if r.direct && role == 0 && level != usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC && !trusted {
		return "LOBBY_REQUIRED"
	}
	if r.noLobby && level == usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC {
		return "NO_LOBBY"
	}
	return cmp.Or(r.needs, r.state)
}

// matrix makes the fixtures of TestAuthorizationMatrix on one server.
type matrix struct{ *instance }

// Every RPC × every kind of caller × every access level × every role. The methods come from the descriptors: a new one
// without a row fails here, and without a line in the policy it is refused.
func TestAuthorizationMatrix(t *testing.T) {
	t.Parallel()
	m := &matrix{start(t)}
	for _, method := range methods(t) {
		if _, ok := rights[procedure(method)]; !ok {
			t.Errorf("%s has no row in this test: say who may call it", procedure(method))
		}
	}
	if len(rights) != len(methods(t)) {
		t.Errorf("%d rows for %d methods: a row names a method that is gone", len(rights), len(methods(t)))
	}
	stranger := m.user("Stranger Of Matrix")
	other := m.user("Other Of Matrix")
	people := map[usherv1.Role]*ent.User{}
	for _, role := range []usherv1.Role{0, member, administrator, owner} {
		people[role] = m.user(fmt.Sprintf("Role%d Of Matrix", role))
	}
	cells := 0
	for _, method := range methods(t) {
		r := rights[procedure(method)]
		for _, kind := range callerKinds {
			for _, level := range []usherv1.AccessLevel{1, 2, 3} {
				for _, role := range []usherv1.Role{0, member, administrator, owner} {
					if role != 0 && !kind.user {
						continue
					}
					cells++
					caller := people[role]
					f := m.newFixture(level, role, caller, other)
					f.stranger, f.service = stranger, kind.service
					err := m.call(t, procedure(method), r.request(f), kind.prepare(m, f, caller), r.stream)
					got, want := reason(err), r.want(kind, role, level)
					if got != want {
						t.Errorf("%s by %s, %v, %v: reason %q, want %q (%v)", procedure(method), kind.name, level, role, got, want, err)
					}
				}
			}
		}
	}
	t.Logf("%d cells", cells)
}

// newFixture makes a room in which caller has role, other is a member and somebody else is owner.
func (m *matrix) newFixture(level usherv1.AccessLevel, role usherv1.Role, caller, other *ent.User) *matrixFixture {
	m.t.Helper()
	f := &matrixFixture{other: other}
	ctx := m.t.Context()
	err := m.DB.Run(ctx, func(tx *ent.Client) error {
		var err error
		f.room, err = tx.Room.Create().SetName("Matrix").SetNameKey("matrix").SetSlug("matrix-" + uuid.NewString()[:13] + "x").
			SetAccessLevel(level).Save(ctx)
		if err != nil {
			return err
		}
		if role != 0 {
			if err := tx.Member.Create().SetRoomID(f.room.ID).SetUserID(caller.ID).SetRole(role).Exec(ctx); err != nil {
				return err
			}
		}
		rec, err := tx.Recording.Create().SetRoomID(f.room.ID).SetMode(usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING).
			SetStatus(usherv1.RecordingStatus_RECORDING_STATUS_SAVED).SetObjectKey("recordings/" + uuid.NewString() + ".mp4").Save(ctx)
		if err != nil {
			return err
		}
		f.recordingID = rec.ID.String()
		if err := tx.RecordingAccess.Create().SetRecordingID(rec.ID).SetUserID(other.ID).SetRole(owner).Exec(ctx); err != nil {
			return err
		}
		f.invitationToken = "test-invitation-" + f.room.ID.String()
		token := sha256.Sum256([]byte(f.invitationToken))
		inv, err := tx.Invitation.Create().SetRoomID(f.room.ID).SetRoomName(f.room.Name).SetAddress("guest@people.example").
			SetOpenKey(f.room.ID.String() + " guest@people.example").SetStatus(usherv1.InvitationStatus_INVITATION_STATUS_SENT).
			SetTokenHash(token[:]).SetIdentity("p_invited").SetExpireTime(time.Now().UTC().Add(time.Hour)).Save(ctx)
		if err != nil {
			return err
		}
		f.invitationID = inv.ID.String()
		return tx.Member.Create().SetRoomID(f.room.ID).SetUserID(other.ID).SetRole(member).Exec(ctx)
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return f
}

// call makes one call of a procedure by name.
func (m *matrix) call(t *testing.T, procedure string, req proto.Message, as connect.ClientOption, stream bool) error {
	t.Helper()
	d := req.ProtoReflect().Descriptor()
	body, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	dynamic := dynamicpb.NewMessage(d)
	if err := proto.Unmarshal(body, dynamic); err != nil {
		t.Fatal(err)
	}
	client := connect.NewClient[dynamicpb.Message, emptyAnswer](http.DefaultClient, m.URL+procedure, as, connect.WithCodec(anyCodec{}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if !stream {
		_, err = client.CallUnary(ctx, connect.NewRequest(dynamic))
		return err
	}
	messages, err := client.CallServerStream(ctx, connect.NewRequest(dynamic))
	if err != nil {
		return err
	}
	defer func() { cancel(); _ = messages.Close() }()
	if messages.Receive() {
		return nil
	}
	return messages.Err()
}

// emptyAnswer is an answer that nobody looks at.
type emptyAnswer struct{}

// anyCodec sends protobuf and reads nothing.
type anyCodec struct{}

func (anyCodec) Name() string { return "proto" }

func (anyCodec) Marshal(message any) ([]byte, error) { return proto.Marshal(message.(proto.Message)) }

func (anyCodec) Unmarshal([]byte, any) error { return nil }
