//go:build conformance

package conformance

import (
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

var muteFacts = []fact{
	{
		"Who is muted is heard by nobody, is listed as muted, and may unmute themselves",
		"mutes people for hosts", muteHeld,
	},
	{
		"Muting a track that somebody does not have succeeds, and for somebody who is not there it fails",
		"looks at the list before it tells a host that somebody left", muteNothing,
	},
	{
		"Without room.enable_remote_unmute, unmuting is refused with \"unmute not enabled\", even a track that nobody has",
		"`usher doctor` asks so, and docs/telephony.md wants the setting", unmuteRefused,
	},
	{
		"With room.enable_remote_unmute somebody on the phone is heard again when unmuted, and unmuting a track that nobody has succeeds",
		"lets callers in", unmuteCaller,
	},
	{
		"Who was muted and publishes another track is not muted on it",
		"mutes callers who wait again whenever they publish", muteForgotten,
	},
	{
		"A message reaches those it is for and nobody else, with its topic and without a sender, and fails where no room is",
		"tells hosts who waits; clients believe what has no sender", messageSent,
	},
	{
		"A message for nobody in particular reaches everybody",
		"sends none without names", messageForAll,
	},
}

func muteHeld(t *testing.T, f *fixture) {
	room := newRoom()
	ada, grace := f.join(t, room, "ada"), f.join(t, room, "grace")
	ada.Speak()
	grace.Hears("ada")
	track := f.track(t, room, "ada").GetSid()
	if err := f.mute(t, room, "ada", track, true); err != nil {
		t.Fatal(err)
	}
	if !f.track(t, room, "ada").GetMuted() {
		t.Error("listed as not muted")
	}
	hearsNothing(t, grace, "ada")
	for _, publication := range ada.Room.LocalParticipant.TrackPublications() {
		if own, ok := publication.(*lksdk.LocalTrackPublication); ok {
			own.SetMuted(false)
		}
	}
	grace.Hears("ada")
}

func muteNothing(t *testing.T, f *fixture) {
	room := newRoom()
	f.join(t, room, "ada")
	if err := f.mute(t, room, "ada", "TR_of_nobody", true); err != nil {
		t.Errorf("a track that she does not have: %v", err)
	}
	if err := f.mute(t, room, "nobody", "TR_of_nobody", true); err == nil {
		t.Error("muting nobody succeeds")
	}
}

func unmuteRefused(t *testing.T, f *fixture) {
	strict := f.another(t, parts{noRedis: true, noRemoteUnmute: true})
	room := newRoom()
	strict.join(t, room, "ada").Speak()
	track := strict.track(t, room, "ada").GetSid()
	if err := strict.mute(t, room, "ada", track, true); err != nil {
		t.Fatal(err)
	}
	wantText(t, "unmuting", strict.mute(t, room, "ada", track, false), "unmute not enabled")
	wantText(t, "unmuting nothing", strict.mute(t, room, "ada", "TR_of_nobody", false), "unmute not enabled")
}

func unmuteCaller(t *testing.T, f *fixture) {
	call := f.dial(t, newNumber(), phone.Rule{})
	grace := f.join(t, call.room, "grace")
	track := f.track(t, call.room, call.Identity()).GetSid()
	if err := f.mute(t, call.room, call.Identity(), track, true); err != nil {
		t.Fatal(err)
	}
	hearsNothing(t, grace, call.Identity())
	if err := f.mute(t, call.room, call.Identity(), "TR_of_nobody", false); err != nil {
		t.Errorf("unmuting nothing: %v", err)
	}
	if err := f.mute(t, call.room, call.Identity(), track, false); err != nil {
		t.Fatal(err)
	}
	grace.Hears(call.Identity())
}

func muteForgotten(t *testing.T, f *fixture) {
	room := newRoom()
	ada := f.join(t, room, "ada")
	ada.Speak()
	first := f.track(t, room, "ada").GetSid()
	if err := f.mute(t, room, "ada", first, true); err != nil {
		t.Fatal(err)
	}
	if err := ada.Room.LocalParticipant.UnpublishTrack(first); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first track is gone", func() bool { return len(f.person(t, room, "ada").GetTracks()) == 0 })
	ada.Speak()
	if track := f.track(t, room, "ada"); track.GetMuted() {
		t.Errorf("the second track: %v", track)
	}
}

// message is one that somebody got.
type message struct{ to, text, topic, sender string }

// listener brings somebody into a room whose messages come out of the channel.
func (f *fixture) listener(t *testing.T, room, identity string, inbox chan<- message) {
	t.Helper()
	client, err := lksdk.ConnectToRoomWithToken(f.wsURL(), token(t, room, identity), &lksdk.RoomCallback{
		ParticipantCallback: lksdk.ParticipantCallback{
			OnDataPacket: func(packet lksdk.DataPacket, params lksdk.DataReceiveParams) {
				if p, ok := packet.(*lksdk.UserDataPacket); ok {
					inbox <- message{identity, string(p.Payload), p.Topic, params.SenderIdentity}
				}
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Disconnect)
}

// send sends a message to some.
func (f *fixture) send(t *testing.T, room, text string, to ...string) error {
	t.Helper()
	topic := "usher"
	_, err := f.rooms.SendData(t.Context(), &livekit.SendDataRequest{
		Room: room, Data: []byte(text), Kind: livekit.DataPacket_RELIABLE, DestinationIdentities: to, Topic: &topic,
	})
	return err
}

// listeners brings Ada and Grace into a room, and waits until messages reach both: before, LiveKit drops them.
func (f *fixture) listeners(t *testing.T, room string) <-chan message {
	t.Helper()
	inbox := make(chan message, 1000)
	for _, identity := range []string{"ada", "grace"} {
		f.listener(t, room, identity, inbox)
		eventually(t, identity+" gets messages", func() bool {
			if err := f.send(t, room, "ready", identity); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			return len(inbox) > 0
		})
		for len(inbox) > 0 {
			<-inbox
		}
	}
	return inbox
}

func messageSent(t *testing.T, f *fixture) {
	room := newRoom()
	inbox := f.listeners(t, room)
	for _, to := range []string{"ada", "grace"} { // each other's comes before their own
		if err := f.send(t, room, "for "+to, to); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	for len(got) < 2 {
		m := receive(t, inbox)
		if m.text == "ready" {
			continue
		}
		got[m.to] = true
		if m.text != "for "+m.to || m.topic != "usher" || m.sender != "" {
			t.Errorf("%s got %q under %q from %q", m.to, m.text, m.topic, m.sender)
		}
	}
	wantCode(t, "a message to no room", f.send(t, newRoom(), "nothing", "ada"), twirp.NotFound, twirp.Unavailable)
}

func messageForAll(t *testing.T, f *fixture) {
	room := newRoom()
	inbox := f.listeners(t, room)
	if err := f.send(t, room, "for all"); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for len(got) < 2 {
		if m := receive(t, inbox); m.text == "for all" {
			got[m.to] = true
		}
	}
}

func receive(t *testing.T, from <-chan message) message {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		t.Fatalf("no message within %v", patience)
	}
	panic("unreachable")
}
