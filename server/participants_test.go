package server_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/moderation"
)

// moderated is a room with a host and one other person in it.
type moderated struct {
	*instance
	room        *usherv1.Room
	host        *clients
	inside, out *participant.Participant // the other person, and the host
	conn        *usherv1.Connection
	admin       *lksdk.RoomServiceClient
}

// moderate starts a server with a meeting in it; as is who takes part besides the host.
func moderate(t *testing.T, level usherv1.AccessLevel, as func(*instance) *clients) *moderated {
	t.Helper()
	m := &moderated{instance: start(t)}
	m.host = m.clients(bearer(m.apiToken(m.user("Ada Moderates"), "read", "rooms")))
	m.room = must[*usherv1.CreateRoomResponse](t)(m.host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "Moderated", AccessLevel: level})).GetRoom()
	m.out, _ = m.join(t, m.host, m.room.GetId())
	m.inside, m.conn = m.join(t, as(m.instance), m.room.GetId())
	m.admin = lksdk.NewRoomServiceClient(m.LiveKit.URL, testenv.LiveKitKey, testenv.LiveKitSecret)
	return m
}

func guest(i *instance) *clients { return i.clients(bearer("")) }

// session calls as the other person.
func (m *moderated) self() *clients { return m.clients(bearer(m.conn.GetSessionToken())) }

// seen is the other person as LiveKit knows them; nil when they are not there.
func (m *moderated) seen(t *testing.T, identity string) *livekit.ParticipantInfo {
	t.Helper()
	res, err := m.admin.ListParticipants(t.Context(), &livekit.ListParticipantsRequest{Room: m.room.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range res.GetParticipants() {
		if p.GetIdentity() == identity && p.GetState() != livekit.ParticipantInfo_DISCONNECTED {
			return p
		}
	}
	return nil
}

func (m *moderated) muted(t *testing.T, identity string) bool {
	t.Helper()
	tracks := m.seen(t, identity).GetTracks()
	return len(tracks) == 1 && tracks[0].GetMuted()
}

func (m *moderated) update(t *testing.T, req *usherv1.UpdateParticipantRequest) {
	t.Helper()
	req.Room, req.ParticipantIdentity = m.room.GetId(), m.inside.Identity()
	must[*usherv1.UpdateParticipantResponse](t)(m.host.UpdateParticipant(t.Context(), req))
}

// What a host does to somebody in a meeting of two, as LiveKit itself shows it: muted, renamed, a hand that goes up and
// down, promoted and demoted, out for good. The tests below look at each more closely.
func TestModeration(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED, func(i *instance) *clients {
		return i.clients(bearer(i.apiToken(i.user("Grace Moderated"), "rooms")))
	})
	ctx, room, id := t.Context(), m.room.GetId(), m.inside.Identity()
	m.secrets.add("Named By Host")
	m.inside.Speak()
	eventually(t, "the microphone", func() bool { return len(m.seen(t, id).GetTracks()) == 1 })
	must[*usherv1.MuteParticipantResponse](t)(m.host.MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: room, ParticipantIdentity: id}))
	m.update(t, &usherv1.UpdateParticipantRequest{DisplayName: proto.String("Named By Host")})
	must[*usherv1.RaiseHandResponse](t)(m.self().RaiseHand(ctx, &usherv1.RaiseHandRequest{Raised: true}))
	role := func(role usherv1.Role) {
		t.Helper()
		must[*usherv1.SetParticipantRoleResponse](t)(m.host.SetParticipantRole(ctx, &usherv1.SetParticipantRoleRequest{
			Room: room, ParticipantIdentity: id, Role: role,
		}))
	}
	role(administrator)
	p := m.seen(t, id)
	if !m.muted(t, id) || p.GetName() != "Named By Host" || p.GetAttributes()["hand_raise_time"] == "" || p.GetAttributes()["room_role"] != "administrator" ||
		p.GetAttributes()["color"] == "" || p.GetAttributes()["is_authenticated"] != "true" {
		t.Errorf("after all of it: %v", p)
	}
	role(member)
	must[*usherv1.LowerHandResponse](t)(m.host.LowerHand(ctx, &usherv1.LowerHandRequest{Room: room, ParticipantIdentity: id}))
	if p := m.seen(t, id); p.GetAttributes()["room_role"] != "member" || p.GetAttributes()["hand_raise_time"] != "" || p.GetName() != "Named By Host" {
		t.Errorf("after the demotion: %v", p)
	}
	must[*usherv1.RemoveParticipantResponse](t)(m.host.RemoveParticipant(ctx, &usherv1.RemoveParticipantRequest{
		Room: room, ParticipantIdentity: id, BlockDuration: durationpb.New(time.Hour),
	}))
	m.inside.WaitGone()
	if back, err := participant.TryJoin(t, m.conn.GetServerUrl(), m.conn.GetToken()); err == nil {
		back.WaitGone()
	}
	eventually(t, "nobody but the host is there", func() bool { return m.seen(t, id) == nil })
	if m.seen(t, m.out.Identity()) == nil {
		t.Error("the host is out")
	}
}

func TestModeration_mute(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC, guest)
	ctx, id, hostID := t.Context(), m.inside.Identity(), m.out.Identity()
	m.inside.Speak()
	m.out.Speak()
	eventually(t, "both tracks", func() bool { return len(m.seen(t, id).GetTracks()) == 1 && len(m.seen(t, hostID).GetTracks()) == 1 })

	must[*usherv1.MuteParticipantResponse](t)(m.host.MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: m.room.GetId(), ParticipantIdentity: id}))
	if !m.muted(t, id) || m.muted(t, hostID) {
		t.Error("not muted, or somebody else was")
	}
	// Everybody may mute, but not a host, and not without being there.
	_, err := m.self().MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: m.room.GetSlug(), ParticipantIdentity: hostID})
	wantReason(t, err, "NOT_PERMITTED")
	must[*usherv1.MuteParticipantResponse](t)(m.self().MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: m.room.GetSlug(), ParticipantIdentity: id}))
	absent := must[*usherv1.JoinRoomResponse](t)(guest(m.instance).JoinRoom(ctx, &usherv1.JoinRoomRequest{Room: m.room.GetId()})).GetConnection()
	_, err = m.clients(bearer(absent.GetSessionToken())).MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: m.room.GetId(), ParticipantIdentity: id})
	wantReason(t, err, "PARTICIPANT_NOT_FOUND")
	other := must[*usherv1.CreateRoomResponse](t)(m.host.CreateRoom(ctx, &usherv1.CreateRoomRequest{Name: "Other"})).GetRoom()
	_, err = m.self().MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: other.GetId(), ParticipantIdentity: id})
	wantReason(t, err, "ROOM_NOT_FOUND")
	_, err = m.host.MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: m.room.GetId(), ParticipantIdentity: "p_test"})
	wantReason(t, err, "PARTICIPANT_NOT_FOUND")

	res := must[*usherv1.MuteAllParticipantsResponse](t)(m.host.MuteAllParticipants(ctx, &usherv1.MuteAllParticipantsRequest{Room: m.room.GetId(), ExceptIdentities: []string{hostID}}))
	if res.GetMutedCount() != 0 || m.muted(t, hostID) {
		t.Errorf("muted %d, want nobody: one was, and the other is an exception", res.GetMutedCount())
	}
	res = must[*usherv1.MuteAllParticipantsResponse](t)(m.host.MuteAllParticipants(ctx, &usherv1.MuteAllParticipantsRequest{Room: m.room.GetId()}))
	if res.GetMutedCount() != 1 || !m.muted(t, hostID) {
		t.Errorf("muted %d, want the host", res.GetMutedCount())
	}

	must[*usherv1.UpdateRoomResponse](t)(m.host.UpdateRoom(ctx, &usherv1.UpdateRoomRequest{Room: &usherv1.Room{
		Id: m.room.GetId(), Configuration: &usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(false)},
	}}))
	_, err = m.self().MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: m.room.GetId(), ParticipantIdentity: id})
	wantReason(t, err, "NOT_PERMITTED")
}

// Hands and names change what they are about, and wipe nothing else.
func TestModeration_handsAndNames(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC, guest)
	ctx, id := t.Context(), m.inside.Identity()
	color := m.seen(t, id).GetAttributes()["color"]
	listed := func() *usherv1.Participant {
		t.Helper()
		all := must[*usherv1.ListParticipantsResponse](t)(m.host.ListParticipants(ctx, &usherv1.ListParticipantsRequest{Room: m.room.GetId()})).GetParticipants()
		if len(all) != 2 || all[0].GetIdentity() != m.out.Identity() || all[0].GetRole() != owner || !all[0].GetAuthenticated() ||
			all[0].GetUser().GetDisplayName() != "Ada Moderates" || all[1].GetAuthenticated() || all[1].GetKind() != usherv1.ParticipantKind_PARTICIPANT_KIND_WEB {
			t.Fatalf("participants %v", all)
		}
		return all[1]
	}
	must[*usherv1.RaiseHandResponse](t)(m.self().RaiseHand(ctx, &usherv1.RaiseHandRequest{Raised: true}))
	first := listed().GetHandRaiseTime()
	if first == nil || time.Since(first.AsTime()) > time.Minute {
		t.Errorf("hand is up since %v", first)
	}
	must[*usherv1.RaiseHandResponse](t)(m.self().RaiseHand(ctx, &usherv1.RaiseHandRequest{Raised: true}))
	if got := listed().GetHandRaiseTime(); !proto.Equal(got, first) {
		t.Errorf("raised again: since %v, want %v", got, first)
	}
	m.secrets.add("Renamed Guest", "Named By Host")
	must[*usherv1.RenameResponse](t)(m.self().Rename(ctx, &usherv1.RenameRequest{DisplayName: " Renamed\u202e Guest "}))
	if got := m.seen(t, id); got.GetName() != "Renamed Guest" || got.GetAttributes()["color"] != color || got.GetAttributes()["hand_raise_time"] == "" {
		t.Errorf("after the renaming: %v", got)
	}
	must[*usherv1.LowerHandResponse](t)(m.host.LowerHand(ctx, &usherv1.LowerHandRequest{Room: m.room.GetId(), ParticipantIdentity: id}))
	if got := listed(); got.GetHandRaiseTime() != nil || got.GetDisplayName() != "Renamed Guest" || m.seen(t, id).GetAttributes()["color"] != color {
		t.Errorf("after the hand was lowered: %v", got)
	}
	m.update(t, &usherv1.UpdateParticipantRequest{DisplayName: proto.String("Named By Host")})
	_, err := m.self().Rename(ctx, &usherv1.RenameRequest{DisplayName: "Renamed Guest"})
	wantReason(t, err, "NOT_PERMITTED")
	if got := m.seen(t, id).GetName(); got != "Named By Host" {
		t.Errorf("name %q", got)
	}
	_, err = m.self().Rename(ctx, &usherv1.RenameRequest{DisplayName: "\u202e"})
	wantReason(t, err, "INVALID_REQUEST")

	var got []string
	for _, e := range must[*usherv1.ListAuditEventsResponse](t)(m.host.ListAuditEvents(ctx, &usherv1.ListAuditEventsRequest{Room: m.room.GetId()})).GetEvents() {
		if e.GetTarget() == "participant:"+id {
			got = append(got, e.GetAction()+" "+e.GetDetail())
		}
	}
	if diff := cmp.Diff([]string{"participant.renamed ", "participant.renamed by=participant:" + id}, got); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
}

// Somebody who is promoted and demoted has the rights at once; without an account there is no role.
func TestModeration_roles(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED, func(i *instance) *clients {
		return i.clients(bearer(i.apiToken(i.user("Grace Promoted"), "rooms")))
	})
	ctx, id := t.Context(), m.inside.Identity()
	set := func(role usherv1.Role) {
		t.Helper()
		res := must[*usherv1.SetParticipantRoleResponse](t)(m.host.SetParticipantRole(ctx, &usherv1.SetParticipantRoleRequest{
			Room: m.room.GetId(), ParticipantIdentity: id, Role: role,
		}))
		if res.GetRole() != role || !res.GetLivekitSynced() {
			t.Errorf("answer %v", res)
		}
	}
	must[*usherv1.UpdateRoomResponse](t)(m.host.UpdateRoom(ctx, &usherv1.UpdateRoomRequest{Room: &usherv1.Room{
		Id: m.room.GetId(), Configuration: &usherv1.RoomConfiguration{RestrictSources: true},
	}}))
	set(administrator)
	if p := m.seen(t, id); p.GetAttributes()["room_role"] != "administrator" || !p.GetPermission().GetCanPublish() {
		t.Errorf("promoted: %v", p)
	}
	m.inside.Speak()
	set(member)
	if p := m.seen(t, id); p.GetAttributes()["room_role"] != "member" || p.GetPermission().GetCanPublish() {
		t.Errorf("demoted: %v", p)
	}
	eventually(t, "the track to end", func() bool { return len(m.seen(t, id).GetTracks()) == 0 })
	_, err := m.host.SetParticipantRole(ctx, &usherv1.SetParticipantRoleRequest{Room: m.room.GetId(), ParticipantIdentity: m.out.Identity(), Role: member})
	wantReason(t, err, "INSUFFICIENT_ROLE")
	must[*usherv1.UpdateRoomResponse](t)(m.host.UpdateRoom(ctx, &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: m.room.GetId(), AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC}}))
	stranger, _ := m.join(t, guest(m.instance), m.room.GetId())
	_, err = m.host.SetParticipantRole(ctx, &usherv1.SetParticipantRoleRequest{Room: m.room.GetId(), ParticipantIdentity: stranger.Identity(), Role: member})
	wantReason(t, err, "PARTICIPANT_NOT_AUTHENTICATED")
}

// Who is removed and blocked is out with every device and every credential, and out again with an old LiveKit token.
func TestModeration_removeAndBlock(t *testing.T) {
	t.Parallel()
	var grace *clients
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED, func(i *instance) *clients {
		grace = i.clients(bearer(i.apiToken(i.user("Grace Removed"), "rooms")))
		return grace
	})
	ctx, id := t.Context(), m.inside.Identity()
	phone, _ := m.join(t, grace, m.room.GetId())
	must[*usherv1.RemoveParticipantResponse](t)(m.host.RemoveParticipant(ctx, &usherv1.RemoveParticipantRequest{
		Room: m.room.GetId(), ParticipantIdentity: id, BlockDuration: durationpb.New(time.Hour),
	}))
	m.inside.WaitGone()
	phone.WaitGone()
	_, err := m.self().RenewConnection(ctx, &usherv1.RenewConnectionRequest{})
	wantReason(t, err, "PARTICIPANT_BLOCKED")
	_, err = m.self().RaiseHand(ctx, &usherv1.RaiseHandRequest{Raised: true})
	wantReason(t, err, "PARTICIPANT_BLOCKED")
	_, err = grace.JoinRoom(ctx, &usherv1.JoinRoomRequest{Room: m.room.GetId()})
	wantReason(t, err, "PARTICIPANT_BLOCKED")
	if back, err := participant.TryJoin(t, m.conn.GetServerUrl(), m.conn.GetToken()); err == nil {
		back.WaitGone()
	}
	select {
	case <-m.out.Disconnected:
		t.Error("somebody else was removed too")
	default:
	}
}

// Without a block they may join anew, as somebody else; what they held is void.
func TestModeration_remove(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC, guest)
	ctx := t.Context()
	must[*usherv1.RemoveParticipantResponse](t)(m.host.RemoveParticipant(ctx, &usherv1.RemoveParticipantRequest{
		Room: m.room.GetId(), ParticipantIdentity: m.inside.Identity(),
	}))
	m.inside.WaitGone()
	_, err := m.self().RenewConnection(ctx, &usherv1.RenewConnectionRequest{})
	wantReason(t, err, "PARTICIPANT_BLOCKED")
	again, _ := m.join(t, guest(m.instance), m.room.GetId())
	if back, err := participant.TryJoin(t, m.conn.GetServerUrl(), m.conn.GetToken()); err == nil {
		back.WaitGone()
	}
	if m.seen(t, again.Identity()) == nil {
		t.Error("who joined anew is out")
	}
}

// What a host decided goes into every later connection of that person until the meeting ends, and no further.
func TestRenewKeepsRestrictions(t *testing.T) {
	t.Parallel()
	var grace *clients
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED, func(i *instance) *clients {
		grace = i.clients(bearer(i.apiToken(i.user("Grace Restricted"), "rooms")))
		return grace
	})
	ctx, id := t.Context(), m.inside.Identity()
	m.secrets.add("Named By Host")
	audio := []livekit.TrackSource{livekit.TrackSource_SCREEN_SHARE_AUDIO}
	check := func(what, identity string) {
		t.Helper()
		p := m.seen(t, identity)
		perm := p.GetPermission()
		if p.GetName() != "Named By Host" || !slices.Equal(perm.GetCanPublishSources(), audio) || perm.GetCanSubscribe() || !perm.GetCanPublish() {
			t.Errorf("%s: %v", what, p)
		}
	}
	// Each by itself: only the given fields change.
	m.update(t, &usherv1.UpdateParticipantRequest{DisplayName: proto.String("Named By Host")})
	m.update(t, &usherv1.UpdateParticipantRequest{CanPublishSources: &usherv1.PublishSources{Sources: []usherv1.TrackSource{usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO}}})
	m.update(t, &usherv1.UpdateParticipantRequest{CanSubscribe: proto.Bool(false)})
	check("at once", id)
	renewed := must[*usherv1.RenewConnectionResponse](t)(m.self().RenewConnection(ctx, &usherv1.RenewConnectionRequest{})).GetConnection()
	back := participant.Join(t, renewed.GetServerUrl(), renewed.GetToken())
	m.inside.WaitGone() // LiveKit throws the older one out
	check("after renewing", back.Identity())
	second, _ := m.join(t, grace, m.room.GetId())
	check("on another device", second.Identity())
	must[*usherv1.UpdateRoomResponse](t)(m.host.UpdateRoom(ctx, &usherv1.UpdateRoomRequest{Room: &usherv1.Room{
		Id: m.room.GetId(), Configuration: &usherv1.RoomConfiguration{RestrictSources: true},
	}}))
	eventually(t, "the room to follow", func() bool { return strings.Contains(m.out.Room.Metadata(), `"restrictSources":true`) })
	check("after a change of the room", second.Identity())

	must[*usherv1.EndMeetingResponse](t)(m.host.EndMeeting(ctx, &usherv1.EndMeetingRequest{Room: m.room.GetId()}))
	back.WaitGone()
	again, _ := m.join(t, grace, m.room.GetId())
	if p := m.seen(t, again.Identity()); p.GetName() == "Named By Host" || p.GetPermission().GetCanPublish() || !p.GetPermission().GetCanSubscribe() {
		t.Errorf("in the next meeting: %v", p)
	}
}

// Hosts who decide about one person at the same time do not undo each other.
func TestModeration_concurrent(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC, guest)
	m.secrets.add("Named Meanwhile")
	for round := range 10 {
		m.update(t, &usherv1.UpdateParticipantRequest{DisplayName: proto.String("Somebody live"), CanSubscribe: proto.Bool(true)})
		var calls sync.WaitGroup
		errs := make([]error, 2)
		for i, req := range []*usherv1.UpdateParticipantRequest{
			{DisplayName: proto.String("Named Meanwhile")}, {CanSubscribe: proto.Bool(false)},
		} {
			req.Room, req.ParticipantIdentity = m.room.GetId(), m.inside.Identity()
			calls.Go(func() { _, errs[i] = m.host.UpdateParticipant(t.Context(), req) })
		}
		calls.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		row := m.DB.Read.ParticipantState.Query().OnlyX(t.Context())
		if *row.DisplayName != "Named Meanwhile" || row.CanSubscribe {
			t.Fatalf("round %d: a decision is lost: renamed %t, restricted %t", round, *row.DisplayName == "Named Meanwhile", !row.CanSubscribe)
		}
	}
}

// A name that a host gives while somebody renames themselves is the one that stays.
func TestModeration_renamedMeanwhile(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC, guest)
	m.secrets.add("Named By Host", "Named By Self")
	ctx, renamed := t.Context(), make(chan error, 1)
	err := m.DB.Run(ctx, func(tx *ent.Client) error {
		a, err := auth.LockRoom(ctx, tx, m.room.GetId())
		if err != nil {
			return err
		}
		go func() {
			_, err := m.self().Rename(ctx, &usherv1.RenameRequest{DisplayName: "Named By Self"})
			renamed <- err
		}()
		eventually(t, "the call to wait for the room", func() bool {
			waiting := 0
			const query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
			return m.DB.SQL().QueryRowContext(ctx, query).Scan(&waiting) == nil && waiting > 0
		})
		return moderation.Edit(ctx, tx, a.Room, moderation.Who{Identity: m.inside.Identity()}, func(row moderation.Row) { row.SetName("Named By Host", true) })
	})
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, <-renamed, "NOT_PERMITTED")
	if row := m.DB.Read.ParticipantState.Query().OnlyX(ctx); *row.DisplayName != "Named By Host" || !row.NameByHost {
		t.Errorf("the host's name is gone: by host %t", row.NameByHost)
	}
}

// An administrator keeps order among all but owners, and what no client of ours is can be put out, but not renamed.
func TestModeration_whom(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED, func(i *instance) *clients {
		return i.clients(bearer(i.apiToken(i.user("Grace Administrator"), "rooms")))
	})
	ctx := t.Context()
	must[*usherv1.SetParticipantRoleResponse](t)(m.host.SetParticipantRole(ctx, &usherv1.SetParticipantRoleRequest{
		Room: m.room.GetId(), ParticipantIdentity: m.inside.Identity(), Role: administrator,
	}))
	grace := m.clients(bearer(m.apiToken(m.DB.Read.User.Query().Where(user.FullName("Grace Administrator")).OnlyX(ctx), "rooms")))
	_, err := grace.RemoveParticipant(ctx, &usherv1.RemoveParticipantRequest{Room: m.room.GetId(), ParticipantIdentity: m.out.Identity()})
	wantReason(t, err, "INSUFFICIENT_ROLE")
	_, err = grace.UpdateParticipant(ctx, &usherv1.UpdateParticipantRequest{
		Room: m.room.GetId(), ParticipantIdentity: m.out.Identity(), CanSubscribe: proto.Bool(false),
	})
	wantReason(t, err, "INSUFFICIENT_ROLE")

	program, err := lksdk.ConnectToRoom(m.conn.GetServerUrl(), lksdk.ConnectInfo{
		APIKey: testenv.LiveKitKey, APISecret: testenv.LiveKitSecret, RoomName: m.room.GetId(), ParticipantIdentity: "test-program",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(program.Disconnect)
	_, err = grace.UpdateParticipant(ctx, &usherv1.UpdateParticipantRequest{
		Room: m.room.GetId(), ParticipantIdentity: "test-program", DisplayName: proto.String("Somebody live"),
	})
	wantReason(t, err, "NOT_PERMITTED")
	must[*usherv1.RemoveParticipantResponse](t)(grace.RemoveParticipant(ctx, &usherv1.RemoveParticipantRequest{
		Room: m.room.GetId(), ParticipantIdentity: "test-program",
	}))
	eventually(t, "the program to be out", func() bool { return m.seen(t, "test-program") == nil })
	if n := m.DB.Read.ParticipantState.Query().CountX(ctx); n != 0 {
		t.Errorf("%d decisions are left of what was refused, or was about a moment", n)
	}
}

// Without LiveKit nothing is done, and the caller is told.
func TestModeration_livekitDown(t *testing.T) {
	t.Parallel()
	m := moderate(t, usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC, guest)
	ctx, room, id := t.Context(), m.room.GetId(), m.inside.Identity()
	m.LiveKit.Kill()
	for name, call := range map[string]func() error{
		"ListParticipants": func() error {
			_, err := m.host.ListParticipants(ctx, &usherv1.ListParticipantsRequest{Room: room})
			return err
		},
		"MuteAllParticipants": func() error {
			_, err := m.host.MuteAllParticipants(ctx, &usherv1.MuteAllParticipantsRequest{Room: room})
			return err
		},
		"RemoveParticipant": func() error {
			_, err := m.host.RemoveParticipant(ctx, &usherv1.RemoveParticipantRequest{Room: room, ParticipantIdentity: id})
			return err
		},
		"RaiseHand": func() error { _, err := m.self().RaiseHand(ctx, &usherv1.RaiseHandRequest{Raised: true}); return err },
		"Rename": func() error {
			_, err := m.self().Rename(ctx, &usherv1.RenameRequest{DisplayName: "Somebody live"})
			return err
		},
		"EndMeeting": func() error { _, err := m.host.EndMeeting(ctx, &usherv1.EndMeetingRequest{Room: room}); return err },
	} {
		if got := reason(call()); got != "LIVEKIT_UNAVAILABLE" {
			t.Errorf("%s: reason %q", name, got)
		}
	}
	if n := m.DB.Read.ParticipantState.Query().CountX(ctx); n != 0 {
		t.Errorf("%d decisions were stored", n)
	}
}
