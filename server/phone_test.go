package server_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/meeting"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/live"
	"github.com/usher-meet/usher/server/livekit"
)

const (
	dialled  = "+4930100"
	pin      = "1234567890"
	ruleName = "a rule of the test"
)

// phoned is a server whose rooms can be called, one of its rooms, and somebody in it.
type phoned struct {
	*instance
	bridge *phone.Bridge
	lk     *livekit.Client
	host   *clients
	room   string
	id     uuid.UUID
	web    *meeting.Participant
}

// startPhoned starts a server with a room that its owner is in and speaks in. The rule by which it can be called is the test's
// own, and says that callers wait if they do.
func startPhoned(t *testing.T, access usherv1.AccessLevel, policy usherv1.PhonePolicy, change ...func(*server.Config)) *phoned {
	t.Helper()
	listen, webhook := listenForWebhooks(t)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), Webhooks: []string{webhook}})
	change = append([]func(*server.Config){func(c *server.Config) { c.Listen = listen }}, change...)
	return startPhonedOn(t, lk, access, policy, change...)
}

func startPhonedOn(
	t *testing.T, lk *testenv.LiveKitServer, access usherv1.AccessLevel, policy usherv1.PhonePolicy, change ...func(*server.Config),
) *phoned {
	t.Helper()
	// The rules are the test's: the server would make one of its own, with another PIN, in their place.
	own := func(c *server.Config) { c.Telephony.Enabled, c.Telephony.Sweep = false, time.Hour }
	i := startOn(t, lk, append([]func(*server.Config){own}, change...)...)
	p := &phoned{instance: i, bridge: phone.New(t, lk)}
	p.host = i.clients(bearer(i.apiToken(i.user("Ada Of Phones"), "rooms", "read")))
	p.room = must[*usherv1.CreateRoomResponse](t)(p.host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Phones", AccessLevel: access, Configuration: &usherv1.RoomConfiguration{PhonePolicy: policy},
	})).GetRoom().GetId()
	p.id = uuid.MustParse(p.room)
	client, err := livekit.New(livekit.Config{URL: lk.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	p.lk = client
	p.web, _ = i.join(t, p.host, p.room)
	p.web.Speak()
	return p
}

// second is somebody else with a browser.
func (p *phoned) second() *meeting.Participant {
	p.t.Helper()
	conn := must[*usherv1.JoinRoomResponse](p.t)(p.host.JoinRoom(p.t.Context(), &usherv1.JoinRoomRequest{Room: p.room})).GetConnection()
	other := meeting.Join(p.t, conn.GetServerUrl(), conn.GetToken())
	other.Speak()
	return other
}

// setPolicy changes who waits, and what callers do.
func (p *phoned) setPolicy(access usherv1.AccessLevel, policy usherv1.PhonePolicy) {
	p.t.Helper()
	must[*usherv1.UpdateRoomResponse](p.t)(p.host.UpdateRoom(p.t.Context(), &usherv1.UpdateRoomRequest{
		Room: &usherv1.Room{Id: p.room, AccessLevel: access, Configuration: &usherv1.RoomConfiguration{PhonePolicy: policy}},
	}))
}

// open lets people call the room, as server/telephony does.
func (p *phoned) open(held bool) {
	p.t.Helper()
	rule := phone.Rule{
		Name: ruleName, Room: p.room, PIN: pin, TrunkIDs: []string{p.bridge.Trunk("trunk", dialled)}, HidesNumber: true,
	}
	if held {
		rule.Attributes = map[string]string{"lobby": "waiting"}
	}
	id := p.bridge.AddRule(rule)
	if err := p.DB.Run(p.t.Context(), func(tx *ent.Client) error {
		return tx.DispatchRule.Create().SetID(p.id).SetRuleID(id).Exec(p.t.Context())
	}); err != nil {
		p.t.Fatal(err)
	}
}

// dialRefused makes a call that the PIN opens, and that is ended: perhaps before the caller's client has connected.
func (p *phoned) dialRefused(number string) {
	p.t.Helper()
	call, err := p.bridge.Dial(number, dialled, pin)
	switch {
	case err == nil:
		call.WaitGone()
	case errors.Is(err, phone.ErrNoAnswer), errors.Is(err, phone.ErrWrongPIN):
		p.t.Fatal(err)
	}
}

// caller is somebody on the phone as LiveKit has them now, and whether they are there.
func (p *phoned) caller(c *phone.Call) (live.Participant, bool) {
	p.t.Helper()
	people, err := p.lk.Participants(p.t.Context(), p.id)
	if err != nil {
		return live.Participant{}, false // LiveKit is being started
	}
	i := slices.IndexFunc(people, func(x live.Participant) bool { return x.Attributes["sip.callID"] == c.ID })
	if i < 0 {
		return live.Participant{}, false
	}
	return people[i], true
}

// until polls, patiently.
func (p *phoned) until(what string, ok func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			p.t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// untilHeld waits until a caller hears nothing and is not heard.
func (p *phoned) untilHeld(c *phone.Call) {
	p.t.Helper()
	p.until("the caller is held", func() bool { return p.isHeld(c) })
}

func (p *phoned) isHeld(c *phone.Call) bool {
	x, there := p.caller(c)
	return there && x.NoSubscribe && len(x.Tracks) == 1 && x.Tracks[0].Muted && x.Attributes["lobby"] == "waiting"
}

// silent checks that a held caller and the meeting do not hear each other for a while.
func (p *phoned) silent(c *phone.Call) {
	p.t.Helper()
	p.silentTo(c, p.web)
}

func (p *phoned) silentTo(c *phone.Call, other *meeting.Participant) {
	p.t.Helper()
	time.Sleep(300 * time.Millisecond) // what is on its way arrives
	caller, web := c.Heard(other.Identity()), other.Heard(c.Identity())
	time.Sleep(time.Second)
	if got := c.Heard(other.Identity()) - caller; got > 0 {
		p.t.Errorf("the held caller heard %d frames", got)
	}
	if got := other.Heard(c.Identity()) - web; got > 0 {
		p.t.Errorf("the meeting heard %d frames of the held caller", got)
	}
}

// waitingCall is the entry of the only call that waits.
func (p *phoned) waitingCall() *usherv1.Entry {
	p.t.Helper()
	var entries []*usherv1.Entry
	p.until("one caller waits", func() bool {
		entries = must[*usherv1.ListWaitingResponse](p.t)(p.host.ListWaiting(
			p.t.Context(), &usherv1.ListWaitingRequest{Room: p.room})).GetEntries()
		return len(entries) == 1
	})
	return entries[0]
}

// decide decides about the only call that waits.
func (p *phoned) decide(d usherv1.Decision) (*usherv1.Entry, error) {
	p.t.Helper()
	e := p.waitingCall()
	res, err := p.host.DecideEntry(p.t.Context(), &usherv1.DecideEntryRequest{
		Room: p.room, EntryId: e.GetId(), Etag: e.GetEtag(), Decision: d,
	})
	return res.GetEntry(), err
}

// heldInList says of the only caller what ListParticipants says.
func (p *phoned) heldInList() *usherv1.Participant {
	p.t.Helper()
	for _, x := range must[*usherv1.ListParticipantsResponse](p.t)(p.host.ListParticipants(
		p.t.Context(), &usherv1.ListParticipantsRequest{Room: p.room})).GetParticipants() {
		if x.GetKind() == usherv1.ParticipantKind_PARTICIPANT_KIND_PHONE {
			return x
		}
	}
	p.t.Fatal("no caller in the list")
	return nil
}

const (
	restrictedRoom = usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED
	publicRoom     = usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC
	phonesWait     = usherv1.PhonePolicy_PHONE_POLICY_UNSPECIFIED
	phonesDirect   = usherv1.PhonePolicy_PHONE_POLICY_DIRECT
	phonesRefused  = usherv1.PhonePolicy_PHONE_POLICY_REFUSE
)

// Without a word of LiveKit's, the sweep finds callers: they are held within two seconds, wait, and are let in.
func TestPhoneSweep(t *testing.T) {
	t.Parallel()
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})
	p := startPhonedOn(t, lk, restrictedRoom, phonesWait)
	p.open(true)
	call := p.bridge.MustDial("+4917012345678", dialled, pin)
	began := time.Now()
	p.untilHeld(call)
	t.Logf("held by the sweep after %v", time.Since(began).Round(time.Millisecond))
	p.silent(call)
	if _, err := p.decide(allow); err != nil {
		t.Fatal(err)
	}
	p.hearEachOther(call)
	call.HangUp()
}

// People on the phone wait in front of a restricted room, deaf and mute, whatever happens meanwhile, until a host decides.
func TestPhoneLobby(t *testing.T) {
	t.Parallel()
	listen, webhook := listenForWebhooks(t)
	events := newRelay(t, webhook)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), Webhooks: []string{events.URL}})
	api := newFaultyLiveKit(t, lk)
	p := startPhonedOn(t, lk, restrictedRoom, phonesWait, func(c *server.Config) { c.Listen, c.LiveKit.URL = listen, api.URL })
	p.open(true)
	p.measureHolds(events, api)

	first := p.bridge.MustDial("+4917012345678", dialled, pin)
	p.untilHeld(first)
	p.silent(first)
	e := p.waitingCall()
	if e.GetKind() != usherv1.EntryKind_ENTRY_KIND_PHONE || e.GetDisplayName() != "Phone ··· 5678" || e.GetStatus() != waiting {
		t.Errorf("entry = %v, want a caller who waits, by the end of the number", e)
	}
	if x := p.heldInList(); !x.GetHeld() || x.GetDisplayName() != "Phone ··· 5678" || x.GetCanSubscribe() || !x.GetTracks()[0].GetMuted() {
		t.Errorf("participant = %v, want one who is held", x)
	}

	lk.Kill()
	lk.Restart()
	before, _ := p.caller(first)
	p.until("the caller is back, and held", func() bool {
		x, _ := p.caller(first)
		return x.SID != before.SID && p.isHeld(first)
	})
	other := p.second() // the first one's client may take long to come back
	p.silentTo(first, other)
	if again := p.waitingCall(); again.GetId() != e.GetId() {
		t.Errorf("after the restart %v waits, want entry %s", again, e.GetId())
	}
	if _, err := p.decide(allow); err != nil {
		t.Fatal(err)
	}
	first.Hears(other.Identity())
	other.Hears(first.Identity())
	if x := p.heldInList(); x.GetHeld() || !x.GetCanSubscribe() || x.GetTracks()[0].GetMuted() {
		t.Errorf("participant = %v, want one who was let in", x)
	}

	// Another call with that number takes the place of the one that was let in, and is not.
	second := p.bridge.MustDial("+4917012345678", dialled, pin)
	first.WaitGone()
	p.untilHeld(second)
	p.silentTo(second, other)
	if again := p.waitingCall(); again.GetId() == e.GetId() {
		t.Errorf("the second call has the entry of the first one")
	}
	if e, err := p.decide(deny); err != nil || e.GetStatus() != denied {
		t.Fatalf("decision = %v, %v", e, err)
	}
	second.WaitGone()
	if waiting := p.list(p.host, p.room); len(waiting) != 0 {
		t.Errorf("waiting = %v, want nobody", waiting)
	}

	events.lose()
	lost := p.bridge.MustDial("+4917087654321", dialled, pin)
	began := time.Now()
	p.untilHeld(lost)
	took := time.Since(began)
	t.Logf("without the webhook held after %v", took.Round(time.Millisecond))
	if took > 2*time.Second {
		t.Errorf("without the webhook held after %v, want 2 s at most", took)
	}
	p.silentTo(lost, other)
}

// measureHolds prints how long it takes to hold a caller, from the arrival of LiveKit's event to its last answer.
func (p *phoned) measureHolds(events *relay, api *faultyLiveKit) {
	p.t.Helper()
	const calls = 20
	took := make([]time.Duration, 0, calls)
	heard, overheard := 0, 0
	for n := range calls {
		call := p.bridge.MustDial(fmt.Sprintf("+49170%07d", n), dialled, pin)
		p.untilHeld(call)
		took = append(took, api.last(call.Identity(), "UpdateParticipant", "MutePublishedTrack").Sub(events.joined(call.Identity())))
		heard += call.Heard(p.web.Identity())
		overheard += p.web.Heard(call.Identity())
		call.HangUp()
	}
	p.until("nobody waits", func() bool { return len(p.list(p.host, p.room)) == 0 })
	slices.Sort(took)
	p.t.Logf("hold in place after the event, %d calls: median %v, worst %v; heard of the meeting: %d frames of 20 ms, heard by it: %d",
		calls, took[calls/2].Round(100*time.Microsecond), took[calls-1].Round(100*time.Microsecond), heard, overheard)
}

// hearEachOther waits until a caller and the meeting do.
func (p *phoned) hearEachOther(c *phone.Call) {
	p.t.Helper()
	c.Hears(p.web.Identity())
	p.web.Hears(c.Identity())
}
