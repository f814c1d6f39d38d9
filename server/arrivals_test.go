package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/livetasks"
)

// arrival is somebody with an account who is in a meeting of which Ada is the host.
type arrival struct {
	*invitationFixture
	user   *ent.User
	as     *clients // calls as the account
	conn   *usherv1.Connection
	inside *participant.Participant
}

// arrivals are the ways into a meeting.
var arrivals = map[string]func(t *testing.T, a *arrival) *usherv1.Connection{
	"direct": enterDirectly, "lobby": enterByLobby, "invitation": enterByInvitation,
	"renewed after the lobby":      renewed(enterByLobby),
	"renewed after the invitation": renewed(enterByInvitation),
}

func enterDirectly(t *testing.T, a *arrival) *usherv1.Connection {
	a.member(a.user, a.room.GetId(), member)
	return must[*usherv1.JoinRoomResponse](t)(a.as.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: a.room.GetId()})).GetConnection()
}

func enterByLobby(_ *testing.T, a *arrival) *usherv1.Connection {
	e := a.knock(a.as, a.room.GetId(), "", "")
	a.decide(a.host, a.room.GetId(), e, allow)
	return a.knock(a.as, a.room.GetId(), "", e.GetTicket()).GetConnection()
}

func enterByInvitation(t *testing.T, a *arrival) *usherv1.Connection {
	return a.enterInvited(t, a.as, a.newLink(t), "")
}

func renewed(enter func(*testing.T, *arrival) *usherv1.Connection) func(*testing.T, *arrival) *usherv1.Connection {
	return func(t *testing.T, a *arrival) *usherv1.Connection {
		self := a.clients(bearer(enter(t, a).GetSessionToken()))
		return must[*usherv1.RenewConnectionResponse](t)(self.RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})).GetConnection()
	}
}

// newLink invites somebody to enter without waiting.
func (v *invitationFixture) newLink(t *testing.T) string {
	t.Helper()
	address := uuid.NewString() + "@other.example"
	invited := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
		Room: v.room.GetId(), Recipients: recipients(address), SkipLobby: true,
	})).GetInvitations()[0]
	v.status(invited.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
	return v.link(v.to(address))
}

// arrive has somebody come in one of the ways, into a meeting that goes on.
func arrive(t *testing.T, v *invitationFixture, enter func(*testing.T, *arrival) *usherv1.Connection) *arrival {
	t.Helper()
	i, w := *v.instance, *v
	i.t, w.instance = t, &i
	w.room = w.restricted(v.owner)
	w.enter(v.host, w.room.GetId())
	u := w.user("Grace " + uuid.NewString())
	a := &arrival{invitationFixture: &w, user: u, as: w.clients(bearer(w.apiToken(u, "rooms", "read")))}
	a.conn = enter(t, a)
	a.inside = joined(t, a.conn)
	return a
}

// self calls as the participant.
func (a *arrival) self() *clients { return a.clients(bearer(a.conn.GetSessionToken())) }

// wantOut wants the participant out, and not back with the LiveKit token of before.
func (a *arrival) wantOut(t *testing.T) {
	t.Helper()
	a.inside.WaitGone()
	if back, err := participant.TryJoin(t, a.conn.GetServerUrl(), a.conn.GetToken()); err == nil {
		back.WaitGone()
	}
}

// listed is the participant as the host sees them.
func (a *arrival) listed(t *testing.T) *usherv1.Participant {
	t.Helper()
	res := must[*usherv1.ListParticipantsResponse](t)(a.host.ListParticipants(t.Context(), &usherv1.ListParticipantsRequest{Room: a.room.GetId()}))
	for _, p := range res.GetParticipants() {
		if p.GetIdentity() == a.conn.GetParticipantIdentity() {
			return p
		}
	}
	t.Fatal("the host does not see them")
	return nil
}

// onArrivals is what each method of ParticipantsService does to somebody, in this order, however they came.
var onArrivals = []struct {
	method string
	do     func(ctx context.Context, t *testing.T, a *arrival, room, id string) error
}{
	{"ListParticipants", func(_ context.Context, t *testing.T, a *arrival, _, _ string) error {
		if p := a.listed(t); !p.GetAuthenticated() || p.GetUser().GetId() != a.user.ID.String() {
			t.Errorf("the host sees %v, want an account", p)
		}
		return nil
	}},
	{"MuteParticipant", func(ctx context.Context, _ *testing.T, a *arrival, room, id string) error {
		_, err := a.host.MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: room, ParticipantIdentity: id})
		return err
	}},
	{"UnmuteParticipant", func(ctx context.Context, t *testing.T, a *arrival, room, id string) error {
		_, err := a.host.UnmuteParticipant(ctx, &usherv1.UnmuteParticipantRequest{Room: room, ParticipantIdentity: id})
		wantReason(t, err, "NOT_PERMITTED") // they are not on the phone
		return nil
	}},
	{"MuteAllParticipants", func(ctx context.Context, _ *testing.T, a *arrival, room, _ string) error {
		_, err := a.host.MuteAllParticipants(ctx, &usherv1.MuteAllParticipantsRequest{Room: room})
		return err
	}},
	{"RaiseHand", func(ctx context.Context, t *testing.T, a *arrival, _, _ string) error {
		_, err := a.self().RaiseHand(ctx, &usherv1.RaiseHandRequest{Raised: true})
		if a.listed(t).GetHandRaiseTime() == nil {
			t.Error("no hand is up")
		}
		return err
	}},
	{"LowerHand", func(ctx context.Context, t *testing.T, a *arrival, room, id string) error {
		_, err := a.host.LowerHand(ctx, &usherv1.LowerHandRequest{Room: room, ParticipantIdentity: id})
		if a.listed(t).GetHandRaiseTime() != nil {
			t.Error("the hand is up still")
		}
		return err
	}},
	{"UpdateParticipant", func(ctx context.Context, t *testing.T, a *arrival, room, id string) error {
		a.secrets.add("Named By Host")
		_, err := a.host.UpdateParticipant(ctx, &usherv1.UpdateParticipantRequest{
			Room: room, ParticipantIdentity: id, DisplayName: proto.String("Named By Host"), CanSubscribe: proto.Bool(false),
		})
		if p := a.listed(t); p.GetDisplayName() != "Named By Host" || p.GetCanSubscribe() {
			t.Errorf("after the change: %v", p)
		}
		return err
	}},
	{"SetParticipantRole", func(ctx context.Context, t *testing.T, a *arrival, room, id string) error {
		_, err := a.host.SetParticipantRole(ctx, &usherv1.SetParticipantRoleRequest{Room: room, ParticipantIdentity: id, Role: administrator})
		if a.listed(t).GetRole() != administrator {
			t.Error("they have no role")
		}
		return err
	}},
	{"Rename", func(ctx context.Context, t *testing.T, a *arrival, _, _ string) error {
		_, err := a.self().Rename(ctx, &usherv1.RenameRequest{DisplayName: "Named By Grace"})
		wantReason(t, err, "NOT_PERMITTED") // a host named the account
		return nil
	}},
	{"RemoveParticipant", func(ctx context.Context, t *testing.T, a *arrival, room, id string) error {
		link := a.newLink(t)
		_, err := a.host.RemoveParticipant(ctx, &usherv1.RemoveParticipantRequest{
			Room: room, ParticipantIdentity: id, BlockDuration: durationpb.New(time.Hour),
		})
		a.wantOut(t)
		_, joins := a.as.JoinRoom(ctx, &usherv1.JoinRoomRequest{Room: room, InvitationToken: link})
		wantReason(t, joins, "PARTICIPANT_BLOCKED")
		_, asks := a.as.RequestEntry(ctx, &usherv1.RequestEntryRequest{Room: room, InvitationToken: link})
		wantReason(t, asks, "PARTICIPANT_BLOCKED")
		_, renews := a.self().RenewConnection(ctx, &usherv1.RenewConnectionRequest{})
		wantReason(t, renews, "PARTICIPANT_BLOCKED")
		return err
	}},
}

// endings end what somebody may do in a meeting, however they came.
var endings = map[string]func(t *testing.T, a *arrival, l *accounts.Lifecycle){
	"the account is deactivated": func(t *testing.T, a *arrival, l *accounts.Lifecycle) {
		if err := l.Deactivate(t.Context(), a.user.ID); err != nil {
			t.Fatal(err)
		}
		a.wantOut(t)
		a.wantRefused(t, "ACCOUNT_INACTIVE")
		if err := l.Reactivate(t.Context(), a.user.ID); err != nil {
			t.Fatal(err)
		}
		a.wantOut(t)
		a.wantRefused(t, "UNAUTHENTICATED")
		_, err := a.as.GetMe(t.Context(), &usherv1.GetMeRequest{})
		wantReason(t, err, "UNAUTHENTICATED")
	},
	"the account is deleted": func(t *testing.T, a *arrival, l *accounts.Lifecycle) {
		if err := l.Delete(t.Context(), a.user.ID); err != nil {
			t.Fatal(err)
		}
		a.wantOut(t)
		a.wantRefused(t, "UNAUTHENTICATED")
	},
	"the meeting is ended": func(t *testing.T, a *arrival, _ *accounts.Lifecycle) {
		must[*usherv1.EndMeetingResponse](t)(a.host.EndMeeting(t.Context(), &usherv1.EndMeetingRequest{Room: a.room.GetId()}))
		a.inside.WaitGone()
	},
	"the room is deleted": func(t *testing.T, a *arrival, _ *accounts.Lifecycle) {
		must[*usherv1.DeleteRoomResponse](t)(a.host.DeleteRoom(t.Context(), &usherv1.DeleteRoomRequest{Room: a.room.GetId()}))
		a.wantOut(t)
		a.wantRefused(t, "ROOM_NOT_FOUND")
	},
}

func (a *arrival) wantRefused(t *testing.T, want string) {
	t.Helper()
	_, err := a.self().RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
	wantReason(t, err, want)
	_, err = a.self().RaiseHand(t.Context(), &usherv1.RaiseHandRequest{Raised: true})
	wantReason(t, err, want)
}

// Whoever is behind a participant is known the same way however they came: for every method about participants, and for
// every ending.
func TestAuthorizationMatrix_arrivals(t *testing.T) { //nolint:tparallel // the subtests change one instance
	t.Parallel()
	methods := usherv1.File_usher_v1_participants_proto.Services().ByName("ParticipantsService").Methods()
	done := map[string]bool{}
	for _, on := range onArrivals {
		done[on.method] = true
	}
	for n := range methods.Len() {
		if name := string(methods.Get(n).Name()); !done[name] {
			t.Errorf("nothing says what %s does to people, however they came", name)
		}
	}
	v := startInvitationFixture(t, mailcatcher.Options{})
	lifecycle := &accounts.Lifecycle{
		DB: v.DB, Sessions: &auth.Sessions{Redis: v.Redis, IdleTimeout: time.Hour, MaxAge: time.Hour},
		Tasks: livetasks.NewQueue(10 * time.Minute),
	}
	for how, enter := range arrivals {
		t.Run(strings.ReplaceAll(how, " ", "_"), func(t *testing.T) {
			a := arrive(t, v, enter)
			for _, on := range onArrivals {
				if err := on.do(t.Context(), t, a, a.room.GetId(), a.conn.GetParticipantIdentity()); err != nil {
					t.Errorf("%s: %v", on.method, err)
				}
			}
			for what, end := range endings {
				t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) { end(t, arrive(t, v, enter), lifecycle) })
			}
		})
	}
}

// Whoever came with a link that was revoked stays while they are connected, and does not get in again.
func TestRevokeInvitation_reentry(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	v.enter(v.host, v.room.GetId())
	a := &arrival{invitationFixture: v, conn: v.enterInvited(t, v.clients(), v.newLink(t), "Guest")}
	joined(t, a.conn)
	i := v.DB.Read.Invitation.Query().OnlyX(t.Context())
	must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(t.Context(), &usherv1.RevokeInvitationRequest{InvitationId: i.ID.String()}))
	joined(t, a.conn) // a connection that was lost and made again
	v.enter(v.host, v.room.GetId())
	must[*usherv1.UpdateRoomResponse](t)(v.host.UpdateRoom(t.Context(), &usherv1.UpdateRoomRequest{
		Room: &usherv1.Room{Id: v.room.GetId(), Configuration: &usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(false)}},
	}))
	eventually(t, "the meeting follows", func() bool { // a task that was done is due again some seconds later
		task := v.DB.Read.LiveTask.Query().Where(
			livetask.RoomID(uuid.MustParse(v.room.GetId())), livetask.KindEQ(livetask.KindSyncRoom)).OnlyX(t.Context())
		return task.Attempts == 0 && task.NextTime.After(task.CreateTime.Add(time.Second))
	})
	a.listed(t)
	revoke := func(at time.Time) {
		err := v.DB.Run(t.Context(), func(tx *ent.Client) error {
			return tx.Invitation.UpdateOneID(i.ID).SetRevokeTime(at.UTC()).Exec(t.Context())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	revoke(time.Now().Add(-2 * time.Minute))
	again, err := participant.TryJoin(t, a.conn.GetServerUrl(), a.conn.GetToken())
	if err == nil {
		again.WaitGone()
	}
	eventually(t, "the holder of a dead link is out", func() bool {
		res := must[*usherv1.ListParticipantsResponse](t)(v.host.ListParticipants(t.Context(), &usherv1.ListParticipantsRequest{Room: v.room.GetId()}))
		for _, p := range res.GetParticipants() {
			if p.GetInvited() {
				return false
			}
		}
		return true
	})
}

// One link is one person at a time: with another account they are somebody else, and what hosts decided stays.
func TestInvitation_anotherAccount(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	v.enter(v.host, v.room.GetId())
	link := v.newLink(t)
	people := map[string]*clients{"nobody": v.clients()}
	for _, name := range []string{"Grace", "Mary"} {
		people[name] = v.clients(bearer(v.apiToken(v.user(name+" With A Link"), "rooms")))
	}
	var before *participant.Participant
	var conn *usherv1.Connection
	for n, name := range []string{"nobody", "Grace", "Mary", "nobody"} {
		conn = v.enterInvited(t, people[name], link, fmt.Sprint("Guest ", n))
		inside := joined(t, conn)
		if before != nil {
			before.WaitGone()
		}
		before = inside
	}
	must[*usherv1.RemoveParticipantResponse](t)(v.host.RemoveParticipant(t.Context(), &usherv1.RemoveParticipantRequest{
		Room: v.room.GetId(), ParticipantIdentity: conn.GetParticipantIdentity(),
	}))
	before.WaitGone()
	for name, c := range people {
		_, err := c.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: v.room.GetId(), InvitationToken: link})
		if reason(err) != "PARTICIPANT_BLOCKED" {
			t.Errorf("%s with the link of somebody who was removed: %v", name, err)
		}
	}
}
