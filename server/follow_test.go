package server_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent/livetask"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/livetasks"
)

// join takes part in a meeting through the API and LiveKit.
func (i *instance) join(t *testing.T, c *clients, room string) (*participant.Participant, *usherv1.Connection) {
	t.Helper()
	conn := must[*usherv1.JoinRoomResponse](t)(c.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: room, DisplayName: "Somebody live"})).GetConnection()
	return participant.Join(t, conn.GetServerUrl(), conn.GetToken()), conn
}

// liveRooms asks LiveKit.
func (i *instance) liveRooms(t *testing.T) []uuid.UUID {
	t.Helper()
	lk, err := livekit.New(livekit.Config{URL: i.LiveKit.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret, TokenLife: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer lk.Close()
	return must[[]uuid.UUID](t)(lk.LiveRooms(t.Context()))
}

// Who is deactivated is out at once, in every shape: session, token, participant, and in the meeting itself, also when
// coming back with a LiveKit token that is still good.
func TestDeactivatedUserIsOut(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada, host := i.user("Ada Deactivated"), i.user("Grace Host")
	asHost := i.clients(bearer(i.apiToken(host, "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(asHost.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Deactivation", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED,
	})).GetRoom()
	cookie := i.session(ada)
	session, token := i.clients(header("Cookie", cookie.Name+"="+cookie.Value)), i.clients(bearer(i.apiToken(ada, "rooms", "read")))
	inside, conn := i.join(t, token, room.GetId())
	stays, _ := i.join(t, asHost, room.GetId())

	lifecycle := accounts.Lifecycle{
		DB:       i.DB,
		Sessions: &auth.Sessions{Redis: i.Redis, IdleTimeout: time.Hour, MaxAge: time.Hour},
		Tasks:    livetasks.NewQueue(10 * time.Minute),
	}
	if err := lifecycle.Deactivate(t.Context(), ada.ID); err != nil {
		t.Fatal(err)
	}

	_, err := session.GetMe(t.Context(), &usherv1.GetMeRequest{})
	wantReason(t, err, "SESSION_ENDED")
	_, err = token.GetMe(t.Context(), &usherv1.GetMeRequest{})
	wantReason(t, err, "ACCOUNT_INACTIVE")
	_, err = i.clients(bearer(conn.GetSessionToken())).RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
	wantReason(t, err, "ACCOUNT_INACTIVE")
	inside.WaitGone()
	if back, err := participant.TryJoin(t, conn.GetServerUrl(), conn.GetToken()); err == nil {
		back.WaitGone()
	}
	select {
	case <-stays.Disconnected:
		t.Error("somebody else was removed too")
	default:
	}
}

// A deleted room has no meeting, and an old token does not bring one back for long.
func TestDeletedRoomIsClosed(t *testing.T) {
	t.Parallel()
	i := start(t)
	c := i.clients(bearer(i.apiToken(i.user("Ada Deletes"), "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(c.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "Deleted"})).GetRoom()
	inside, conn := i.join(t, c, room.GetId())
	eventually(t, "live in GetRoom", func() bool {
		r := must[*usherv1.GetRoomResponse](t)(c.GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: room.GetId()})).GetRoom()
		return r.GetLive().GetActive() && r.GetLive().GetParticipantCount() == 1
	})
	must[*usherv1.DeleteRoomResponse](t)(c.DeleteRoom(t.Context(), &usherv1.DeleteRoomRequest{Room: room.GetId()}))
	inside.WaitGone()
	_, err := i.clients(bearer(conn.GetSessionToken())).RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
	wantReason(t, err, "ROOM_NOT_FOUND")
	// Who connects while LiveKit is still closing a room may end up in neither the old nor a new one, alone and unseen by
	// LiveKit's own list. That is LiveKit's; what is tested here is a room that was gone and comes back.
	eventually(t, "the end of the room in LiveKit", func() bool { return len(i.liveRooms(t)) == 0 })
	if back, err := participant.TryJoin(t, conn.GetServerUrl(), conn.GetToken()); err == nil {
		back.WaitGone()
	}
}

// What a room and a role allow changes in the meeting that is going on, not only in the next token.
func TestLiveRoomFollows(t *testing.T) {
	t.Parallel()
	i := start(t)
	c := i.clients(bearer(i.apiToken(i.user("Ada Follows"), "rooms")))
	other := i.user("Grace Follows")
	asOther := i.clients(bearer(i.apiToken(other, "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(c.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "Follows"})).GetRoom()
	must[*usherv1.AddMemberResponse](t)(c.AddMember(t.Context(), &usherv1.AddMemberRequest{
		Room: room.GetId(), Role: administrator, Identifier: &usherv1.AddMemberRequest_UserId{UserId: other.ID.String()},
	}))
	inside, conn := i.join(t, asOther, room.GetId())

	must[*usherv1.UpdateRoomResponse](t)(c.UpdateRoom(t.Context(), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{
		Id: room.GetId(), Configuration: &usherv1.RoomConfiguration{RestrictSources: true},
	}}))
	must[*usherv1.UpdateMemberResponse](t)(c.UpdateMember(t.Context(), &usherv1.UpdateMemberRequest{
		Room: room.GetId(), Role: member, Identifier: &usherv1.UpdateMemberRequest_UserId{UserId: other.ID.String()},
	}))
	eventually(t, "the permission to publish to end", func() bool {
		p := inside.Room.LocalParticipant.Permissions()
		return p != nil && !p.GetCanPublish() && p.GetCanSubscribe()
	})
	eventually(t, "the role to change", func() bool { return inside.Room.LocalParticipant.Attributes()["room_role"] == "member" })
	if err := inside.TrySpeak(); err == nil {
		t.Error("somebody who may publish nothing published a microphone")
	}
	renewed := must[*usherv1.RenewConnectionResponse](t)(i.clients(bearer(conn.GetSessionToken())).RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})).GetConnection()
	if renewed.GetParticipantIdentity() != conn.GetParticipantIdentity() || !renewed.GetSessionExpireTime().AsTime().Equal(conn.GetSessionExpireTime().AsTime()) {
		t.Errorf("renewed as %s until %v, want the same identity and end", renewed.GetParticipantIdentity(), renewed.GetSessionExpireTime().AsTime())
	}
}

// EndMeeting puts everybody out, and the room stays: who enters it directly meets there again, and nobody else comes back
// with what they held.
func TestEndMeeting(t *testing.T) {
	t.Parallel()
	i := start(t)
	host := i.clients(bearer(i.apiToken(i.user("Ada Ends"), "read", "rooms")))
	nobody := i.clients(bearer(""))
	room := must[*usherv1.CreateRoomResponse](t)(host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Ended", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC,
	})).GetRoom()
	end := func() {
		t.Helper()
		must[*usherv1.EndMeetingResponse](t)(host.EndMeeting(t.Context(), &usherv1.EndMeetingRequest{Room: room.GetId()}))
	}
	end() // before there is one
	ada, adaConn := i.join(t, host, room.GetId())
	guest, guestConn := i.join(t, nobody, room.GetId())
	must[*usherv1.UpdateRoomResponse](t)(host.UpdateRoom(t.Context(), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{
		Id: room.GetId(), AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
	}}))
	renew := func(c *usherv1.Connection) (*usherv1.RenewConnectionResponse, error) {
		return i.clients(bearer(c.GetSessionToken())).RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
	}
	must[*usherv1.RenewConnectionResponse](t)(renew(guestConn)) // locking the room throws nobody out

	end()
	ada.WaitGone()
	guest.WaitGone()
	_, err := renew(guestConn)
	wantReason(t, err, "LOBBY_REQUIRED")

	// The next meeting stays, and what is left of the one before it does not come in.
	again := must[*usherv1.RenewConnectionResponse](t)(renew(adaConn)).GetConnection()
	back := participant.Join(t, again.GetServerUrl(), again.GetToken())
	_, err = renew(guestConn)
	wantReason(t, err, "LOBBY_REQUIRED")
	eventually(t, "all tasks to end a meeting to be done", func() bool {
		return i.DB.Read.LiveTask.Query().Where(livetask.KindEQ(livetask.KindEndMeeting)).CountX(t.Context()) == 0
	})
	select {
	case <-back.Disconnected:
		t.Error("the next meeting was ended too")
	default:
	}

	events := must[*usherv1.ListAuditEventsResponse](t)(host.ListAuditEvents(t.Context(), &usherv1.ListAuditEventsRequest{Room: room.GetId()})).GetEvents()
	var got []string
	for _, e := range events {
		got = append(got, e.GetAction()+" "+e.GetDetail())
	}
	want := []string{
		"meeting.ended meeting=1 live=true", "room.updated fields=access_level access_level=RESTRICTED",
		"meeting.ended meeting=0 live=false", "room.created ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
}
