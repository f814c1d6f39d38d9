package participants

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/moderation"
	"github.com/usher-meet/usher/server/ratelimit"
)

var errDown = errors.New("test: LiveKit does not answer")

func (w *fixture) update(u *ent.User, name string, req *usherv1.UpdateParticipantRequest) error {
	req.Room, req.ParticipantIdentity = "room", w.identities[name]
	_, err := w.UpdateParticipant(w.as(u), req)
	return err
}

// decided is what counts for somebody.
func (w *fixture) decided(name string, user uuid.UUID) moderation.State {
	w.t.Helper()
	states, err := moderation.Load(w.t.Context(), w.DB.Read, w.room)
	if err != nil {
		w.t.Fatal(err)
	}
	return states.Of(w.identities[name], user)
}

func TestUpdateParticipant(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		audio := &usherv1.PublishSources{Sources: []usherv1.TrackSource{microphone}}
		want(t, "a name", w.update(w.adam, "Mona", &usherv1.UpdateParticipantRequest{DisplayName: proto.String(" Moo\u202e\x00na ")}), nil)
		want(t, "what may be published", w.update(w.adam, "Mona", &usherv1.UpdateParticipantRequest{CanPublishSources: audio}), nil)
		want(t, "nothing", w.update(w.adam, "Mona", &usherv1.UpdateParticipantRequest{}), nil)
		state := w.decided("Mona", w.mona.ID)
		if state.Name != "Moona" || !state.NameByHost || !state.RestrictSources || !slices.Equal(state.Sources, audio.GetSources()) || state.NoSubscribe {
			t.Errorf("decided %+v, want each change and nothing else", state)
		}
		// The account, on another device too.
		if other := w.decided("Stranger", w.mona.ID); other.Name != "Moona" {
			t.Errorf("on another device: %+v", other)
		}
		reset := &usherv1.UpdateParticipantRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"can_publish_sources"}}}
		want(t, "a field without a value", w.update(w.adam, "Mona", reset), nil)
		if state := w.decided("Mona", w.mona.ID); state.RestrictSources || state.Name != "Moona" {
			t.Errorf("after the reset: %+v", state)
		}
		w.wantRecorded("participant.renamed participant:Mona", "participant.restricted participant:Mona fields=can_publish_sources",
			"participant.restricted participant:Mona fields=can_publish_sources")
		if w.rooms.later != 3 || w.rooms.now != 3 {
			t.Errorf("%d tasks, followed %d times, want 3 each", w.rooms.later, w.rooms.now)
		}
	})
}

func TestUpdateParticipant_refused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		mute := func() *usherv1.UpdateParticipantRequest {
			return &usherv1.UpdateParticipantRequest{CanSubscribe: proto.Bool(false)}
		}
		w.identities["Nobody"] = "p_test"
		w.identities["Program"] = "test-program"
		w.livekit.people = append(w.livekit.people, meeting.Participant{Identity: "test-program", Attributes: map[string]string{}})
		want(t, "by a member", w.update(w.mona, "Stranger", mute()), auth.ErrInsufficientRole)
		want(t, "by a stranger", w.update(nil, "Mona", mute()), auth.ErrInsufficientRole)
		want(t, "an owner, by an administrator", w.update(w.adam, "Olga", mute()), auth.ErrInsufficientRole)
		want(t, "somebody who is not there", w.update(w.olga, "Nobody", mute()), ErrNotFound)
		want(t, "what is no client of ours", w.update(w.olga, "Program", mute()), auth.ErrNotPermitted)
		want(t, "no name", w.update(w.olga, "Mona", &usherv1.UpdateParticipantRequest{DisplayName: proto.String("\u202e ")}), fault.Invalid("", ""))
		w.livekit.down = errDown
		want(t, "without LiveKit", w.update(w.olga, "Mona", mute()), fault.ErrLiveKit)
		w.livekit.down = meeting.ErrNotFound
		w.livekit.people = nil
		want(t, "without a meeting", w.update(w.olga, "Mona", mute()), fault.ErrNotLive)
		w.wantNothing("what was refused")
	})
}

// A decision and the task that makes LiveKit follow are one transaction.
func TestUpdateParticipant_sameTransaction(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		w.rooms.fails = errors.New("test: no task")
		if err := w.update(w.olga, "Mona", &usherv1.UpdateParticipantRequest{CanSubscribe: proto.Bool(false)}); err == nil {
			t.Error("a decision without a task was answered")
		}
		w.wantNothing("what failed")
		if w.rooms.now != 0 {
			t.Error("LiveKit follows what was not decided")
		}
	})
}

func TestSetParticipantRole(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		set := func(u *ent.User, name string, role usherv1.Role) error {
			_, err := w.SetParticipantRole(w.as(u), &usherv1.SetParticipantRoleRequest{Room: "room", ParticipantIdentity: w.identities[name], Role: role})
			return err
		}
		want(t, "an administrator", set(w.adam, "Mona", administrator), nil)
		a, err := auth.FindRoom(w.as(w.mona), w.DB.Read, "room")
		if err != nil || a.Role != administrator {
			t.Errorf("Mona is %v (%v)", a.Role, err)
		}
		want(t, "an owner", set(w.olga, "Mona", owner), fault.Invalid("", ""))
		want(t, "a stranger", set(w.olga, "Stranger", administrator), ErrNotAuthenticated)
		want(t, "by a stranger", set(nil, "Mona", plainMember), auth.ErrInsufficientRole)
		w.run(func(tx *ent.Client) error { return tx.User.UpdateOneID(w.mona.ID).SetActive(false).Exec(t.Context()) })
		want(t, "an account that was deactivated", set(w.olga, "Mona", plainMember), ErrNotAuthenticated)
	})
}

func TestRemoveParticipant(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		remove := func(u *ent.User, name string, block time.Duration) error {
			_, err := w.RemoveParticipant(w.as(u), &usherv1.RemoveParticipantRequest{
				Room: "room", ParticipantIdentity: w.identities[name], BlockDuration: durationpb.New(block),
			})
			return err
		}
		want(t, "an owner, by an administrator", remove(w.adam, "Olga", 0), auth.ErrInsufficientRole)
		w.wantNothing("what was refused")
		want(t, "without a block", remove(w.adam, "Stranger", 0), nil)
		want(t, "an account without a block", remove(w.adam, "Mona", 0), nil)
		if !w.decided("Mona", uuid.Nil).Blocked || w.decided("Olga", w.mona.ID).Blocked {
			t.Error("the identity is to stay out, and the account may come back as somebody else")
		}
		want(t, "an account with a block", remove(w.olga, "Mona", time.Hour), nil)
		if !w.decided("Olga", w.mona.ID).Blocked {
			t.Error("the account may come back")
		}
		// What is nice to have fails, and what was decided holds.
		w.lobby.down, w.identities["Phone"] = fault.ErrRedis, "sip_test"
		w.livekit.people = append(w.livekit.people, meeting.Participant{Identity: "sip_test", Attributes: map[string]string{}})
		want(t, "what is no client of ours, without Redis", remove(w.olga, "Phone", 0), nil)
		if w.decided("Phone", uuid.Nil).Blocked {
			t.Error("a phone number is kept out that nobody blocked")
		}
		wantVoid := []string{w.identities["Stranger"], w.identities["Mona"], w.identities["Mona"], w.Keys.Pseudonym("sip_test")}
		wantUsers := []uuid.UUID{uuid.Nil, uuid.Nil, w.mona.ID, uuid.Nil}
		if !slices.Equal(w.lobby.void, wantVoid) || !slices.Equal(w.lobby.users, wantUsers) {
			t.Errorf("void tickets of %v and %v, want %v and %v", w.lobby.void, w.lobby.users, wantVoid, wantUsers)
		}
		if len(w.livekit.removed) != 3 {
			t.Errorf("removed %v", w.livekit.removed)
		}
		w.wantRecorded("participant.removed participant:Stranger block=0", "participant.removed participant:Mona block=0 user=Mona",
			"participant.removed participant:Mona block=3600 user=Mona", "participant.removed participant:Phone block=0")
	})
}

func TestMute(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		mute := func(ctx context.Context, name, track string) error {
			_, err := w.MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: "room", ParticipantIdentity: w.identities[name], TrackSid: track})
			return err
		}
		want(t, "by a host", mute(w.as(w.adam), "Olga", ""), nil)
		want(t, "one track", mute(w.as(w.adam), "Mona", "TV_Mona"), nil)
		want(t, "by anybody", mute(w.self("Stranger", uuid.Nil), "Mona", ""), nil)
		want(t, "a host, by anybody", mute(w.self("Stranger", uuid.Nil), "Olga", ""), auth.ErrNotPermitted)
		want(t, "a camera, by anybody", mute(w.self("Stranger", uuid.Nil), "Mona", "TV_Mona"), auth.ErrNotPermitted)
		want(t, "by a member from outside", mute(w.as(w.mona), "Stranger", ""), auth.ErrInsufficientRole)
		if want := []string{"TR_Olga", "TV_Mona", "TR_Mona"}; !slices.Equal(w.livekit.muted, want) {
			t.Errorf("muted %v, want %v", w.livekit.muted, want)
		}
		w.livekit.muted, w.livekit.gone[w.identities["Stranger"]] = nil, true
		w.livekit.people[1].Tracks[0].Muted = true
		res, err := w.MuteAllParticipants(w.as(w.olga), &usherv1.MuteAllParticipantsRequest{Room: "room", ExceptIdentities: []string{w.identities["Olga"]}})
		if err != nil || res.GetMutedCount() != 1 || !slices.Equal(w.livekit.muted, []string{"TR_Mona"}) {
			t.Errorf("muted %v, %v (%v), want Mona: the others are an exception, muted, or gone", w.livekit.muted, res, err)
		}
		w.run(func(tx *ent.Client) error {
			return tx.Room.UpdateOneID(w.room.ID).SetConfiguration(&usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(false)}).Exec(t.Context())
		})
		want(t, "where hosts mute only", mute(w.self("Stranger", uuid.Nil), "Mona", ""), auth.ErrNotPermitted)
	})
}

// Somebody on the phone is kept out, and is on record, under a name that does not lead to their number; and of those who
// withhold it, nobody is kept out together with another.
func TestRemoveParticipant_phone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		const number, withheld = "sip_bf97e33ee09d0e8d", "sip_2f183a4e64493af3"
		for identity, name := range map[string]string{number: "Phone 3344", withheld: "Phone mous"} {
			w.livekit.people = append(w.livekit.people, meeting.Participant{
				Identity: identity, DisplayName: name, Kind: usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE,
			})
			_, err := w.RemoveParticipant(w.as(w.adam), &usherv1.RemoveParticipantRequest{
				Room: "room", ParticipantIdentity: identity, BlockDuration: durationpb.New(time.Hour),
			})
			want(t, "remove "+name, err, nil)
			w.identities[name] = w.Keys.Pseudonym(identity)
		}
		if !w.decided("Phone 3344", uuid.Nil).Blocked || w.decided("Phone mous", uuid.Nil).Blocked {
			t.Error("want the number kept out, and nobody who withholds theirs")
		}
		states, err := w.DB.Read.ParticipantState.Query().All(t.Context())
		if err != nil || strings.Contains(fmt.Sprint(states), "sip_") {
			t.Errorf("decisions %v, %v, want none that tells the number", states, err)
		}
		events, err := w.DB.Read.AuditEvent.Query().All(t.Context())
		if err != nil || len(events) != 2 || strings.Contains(fmt.Sprint(events), "sip_") {
			t.Errorf("on record are %v, %v, want two removals, and nothing of the number", events, err)
		}
		if strings.Contains(fmt.Sprint(w.lobby.void), "sip_") {
			t.Errorf("void tickets of %v", w.lobby.void)
		}
	})
}

func TestMute_phone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		w.livekit.people = append(w.livekit.people, meeting.Participant{
			Identity: "sip_1", SID: "PA_1", DisplayName: "Phone 1234", Kind: usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE,
			Attributes: map[string]string{meeting.AttributeLobby: meeting.LobbyAdmitted},
			Tracks:     []meeting.Track{{SID: "TR_1", Source: microphone}},
		})
		caller := &w.livekit.people[len(w.livekit.people)-1]
		mute := func(ctx context.Context, track string) error {
			_, err := w.MuteParticipant(ctx, &usherv1.MuteParticipantRequest{Room: "room", ParticipantIdentity: "sip_1", TrackSid: track})
			return err
		}
		unmute := func(ctx context.Context, identity string) error {
			_, err := w.UnmuteParticipant(ctx, &usherv1.UnmuteParticipantRequest{Room: "room", ParticipantIdentity: identity})
			return err
		}
		want(t, "muted by anybody", mute(w.self("Stranger", uuid.Nil), ""), auth.ErrNotPermitted)
		want(t, "one track, muted by anybody", mute(w.self("Stranger", uuid.Nil), "TR_1"), auth.ErrNotPermitted)
		want(t, "muted by a host", mute(w.as(w.adam), ""), nil)
		if want := []string{"TR_1"}; !slices.Equal(w.livekit.muted, want) {
			t.Errorf("muted %v, want %v", w.livekit.muted, want)
		}
		want(t, "unmuted when not muted", unmute(w.as(w.adam), "sip_1"), nil)
		caller.Tracks[0].Muted = true
		want(t, "unmuted by a member", unmute(w.as(w.mona), "sip_1"), auth.ErrInsufficientRole)
		want(t, "unmuted by a host", unmute(w.as(w.adam), "sip_1"), nil)
		if want := []string{"TR_1"}; !slices.Equal(w.livekit.unmuted, want) {
			t.Errorf("unmuted %v, want %v", w.livekit.unmuted, want)
		}
		want(t, "a browser", unmute(w.as(w.adam), w.identities["Mona"]), auth.ErrNotPermitted)
		want(t, "nobody", unmute(w.as(w.adam), "sip_2"), ErrNotFound)
		caller.Attributes[meeting.AttributeLobby] = meeting.LobbyWaiting
		want(t, "held", unmute(w.as(w.adam), "sip_1"), auth.ErrNotPermitted)
		caller.Attributes[meeting.AttributeLobby], caller.NoSubscribe = meeting.LobbyAdmitted, true
		want(t, "held, as LiveKit says", unmute(w.as(w.adam), "sip_1"), auth.ErrNotPermitted)
		caller.NoSubscribe, w.livekit.gone["sip_1"] = false, true
		want(t, "gone", unmute(w.as(w.adam), "sip_1"), ErrNotFound)
		w.livekit.gone["sip_1"], w.livekit.down = false, meeting.ErrUnavailable
		want(t, "LiveKit is down", unmute(w.as(w.adam), "sip_1"), fault.ErrLiveKit)
	})
}

func TestRename(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		rename := func(name string, user uuid.UUID, to string) error {
			_, err := w.Rename(w.self(name, user), &usherv1.RenameRequest{DisplayName: to})
			return err
		}
		want(t, "oneself", rename("Mona", w.mona.ID, " Mo "), nil)
		if state := w.decided("Mona", w.mona.ID); state.Name != "Mo" || state.NameByHost {
			t.Errorf("decided %+v", state)
		}
		if other := w.decided("Stranger", w.mona.ID); other.Name != "" {
			t.Errorf("another device has the name of this one: %+v", other)
		}
		want(t, "to nothing", rename("Mona", w.mona.ID, "\x00"), fault.Invalid("", ""))
		w.AccountNames = true
		want(t, "where accounts decide", rename("Mona", w.mona.ID, "Other"), auth.ErrNotPermitted)
		want(t, "a stranger there", rename("Stranger", uuid.Nil, "Other"), nil)
		w.AccountNames = false
		want(t, "by a host", w.update(w.olga, "Mona", &usherv1.UpdateParticipantRequest{DisplayName: proto.String("Named")}), nil)
		want(t, "after that", rename("Mona", w.mona.ID, "Other"), auth.ErrNotPermitted)
		w.run(func(tx *ent.Client) error {
			return tx.Room.UpdateOneID(w.room.ID).SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Exec(t.Context())
		})
		want(t, "who had to be let in", rename("Stranger", uuid.Nil, "Third"), auth.ErrNotPermitted)
		w.wantRecorded("participant.renamed participant:Mona by=participant:Mona", "participant.renamed participant:Stranger by=participant:Stranger",
			"participant.renamed participant:Mona")
		w.run(func(tx *ent.Client) error {
			return moderation.Edit(t.Context(), tx, w.room, moderation.Who{Identity: w.identities["Olga"]}, func(r moderation.Row) { r.Block(time.Now().Add(time.Hour)) })
		})
		want(t, "somebody who was removed", rename("Olga", w.olga.ID, "Other"), moderation.ErrBlocked)
	})
}

// Renaming again and again is one line of the record, which holds no names: to the same name, and within seconds.
func TestRename_again(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		rename := func(to string) {
			_, err := w.Rename(w.self("Mona", w.mona.ID), &usherv1.RenameRequest{DisplayName: to})
			want(t, "to "+to, err, nil)
		}
		own, byHost := "participant.renamed participant:Mona by=participant:Mona", "participant.renamed participant:Mona"
		rename("Mona")
		w.wantNothing("a name that they have")
		// As if it had been some time ago.
		w.run(func(tx *ent.Client) error {
			id := "participant:" + w.identities["Mona"]
			return tx.AuditEvent.Create().SetRoomID(w.room.ID).SetAction("participant.renamed").SetTarget(id).SetDetail("by=" + id).
				SetCreateTime(time.Now().UTC().Add(-11 * time.Second)).Exec(t.Context())
		})
		rename("First")
		tasks := w.rooms.later
		for range 5 {
			rename("First")
		}
		if w.rooms.later != tasks {
			t.Errorf("%d tasks for a name that they have", w.rooms.later-tasks)
		}
		for n := range 5 {
			rename(fmt.Sprint("Mona ", n))
		}
		if state := w.decided("Mona", w.mona.ID); state.Name != "Mona 4" {
			t.Errorf("decided %+v, want the last name", state)
		}
		w.wantRecorded(own, own)
		for _, host := range []*ent.User{w.olga, w.olga, w.adam} {
			for _, name := range []string{"Named", "Other", "Named"} {
				want(t, "by a host", w.update(host, "Mona", &usherv1.UpdateParticipantRequest{DisplayName: proto.String(name)}), nil)
			}
		}
		w.wantRecorded(own, own, byHost, byHost)
	})
}

// Hands and names are limited by person, whichever of their devices calls.
func TestSelf_limits(t *testing.T) {
	t.Parallel()
	w := newFixture(t, testenv.SQLite(t))
	w.Limiter.Redis = testenv.Redis(t).Client(t)
	w.RenameLimit = ratelimit.Limit{Name: "rename", Burst: 2, Period: time.Hour}
	w.RaiseHandLimit = ratelimit.Limit{Name: "raise-hand", Burst: 2, Period: time.Hour}
	w.joins("Mona's phone", w.mona.ID, plainMember)
	limited := func(name string, user uuid.UUID, refused *fault.Error) {
		t.Helper()
		_, err := w.Rename(w.self(name, user), &usherv1.RenameRequest{DisplayName: "Other"})
		want(t, name+" renames", err, refused)
		_, err = w.RaiseHand(w.self(name, user), &usherv1.RaiseHandRequest{Raised: true})
		want(t, name+" raises a hand", err, refused)
	}
	limited("Mona", w.mona.ID, nil)
	limited("Mona's phone", w.mona.ID, nil)
	limited("Mona", w.mona.ID, ratelimit.ErrLimited)
	limited("Mona's phone", w.mona.ID, ratelimit.ErrLimited)
	limited("Stranger", uuid.Nil, nil)
}

func TestHands(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		up := func(raised bool) error {
			_, err := w.RaiseHand(w.self("Mona", w.mona.ID), &usherv1.RaiseHandRequest{Raised: raised})
			return err
		}
		mona := w.livekit.people[2]
		want(t, "up", up(true), nil)
		since := mona.Attributes[attributeHand]
		want(t, "up again", up(true), nil)
		if since == "" || mona.Attributes[attributeHand] != since || mona.Attributes["color"] == "" {
			t.Errorf("attributes %v", mona.Attributes)
		}
		_, err := w.LowerHand(w.as(w.adam), &usherv1.LowerHandRequest{Room: "room", ParticipantIdentity: mona.Identity})
		want(t, "lowered by a host", err, nil)
		if mona.Attributes[attributeHand] != "" {
			t.Error("the hand is up")
		}
		w.livekit.gone[mona.Identity] = true
		want(t, "who left meanwhile", up(true), ErrNotFound)
	})
}

// The list is in the order in which they came, and asks for all accounts at once.
func TestListParticipants(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w *fixture) {
		slices.Reverse(w.livekit.people)
		res, err := w.ListParticipants(w.as(w.adam), &usherv1.ListParticipantsRequest{Room: "room"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range res.GetParticipants() {
			got = append(got, p.GetDisplayName()+" "+p.GetRole().String()+" "+p.GetUser().GetDisplayName())
		}
		want := []string{"Olga ROLE_OWNER Olga", "Adam ROLE_ADMINISTRATOR Adam", "Mona ROLE_MEMBER Mona", "Stranger ROLE_UNSPECIFIED "}
		if !slices.Equal(got, want) {
			t.Errorf("participants %q, want %q", got, want)
		}
		w.livekit.people, w.livekit.down = nil, meeting.ErrNotFound
		if res, err := w.ListParticipants(w.as(w.olga), &usherv1.ListParticipantsRequest{Room: "room"}); err != nil || len(res.GetParticipants()) != 0 {
			t.Errorf("without a meeting: %v, %v, want nobody", res, err)
		}
	})
}
