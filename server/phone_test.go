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
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/telephony"
)

// dialled is the number of the only trunk.
const dialled = "+4930100"

// phoneFixture is a server whose rooms can be called, one of its rooms, and somebody in it.
type phoneFixture struct {
	*instance
	bridge *phone.Bridge
	lk     *livekit.Client
	host   *clients
	// owner is who the host is.
	owner *ent.User
	room  string
	id    uuid.UUID
	web   *participant.Participant
	// pin opens the room: see [phoneFixture.open].
	pin string
}

// startPhoneFixture starts a server with a trunk, and a room that its owner is in and speaks in.
func startPhoneFixture(t *testing.T, access usherv1.AccessLevel, policy usherv1.PhonePolicy, change ...func(*settings.Config)) *phoneFixture {
	t.Helper()
	listen, webhook := listenForWebhooks(t)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), Webhooks: []string{webhook}})
	change = append([]func(*settings.Config){func(c *settings.Config) { c.Listen = listen }}, change...)
	return startPhoneFixtureOn(t, lk, access, policy, change...)
}

func startPhoneFixtureOn(
	t *testing.T, lk *testenv.LiveKitServer, access usherv1.AccessLevel, policy usherv1.PhonePolicy, change ...func(*settings.Config),
) *phoneFixture {
	t.Helper()
	bridge := phone.New(t, lk)
	bridge.Trunk("trunk", dialled)
	return startPhoneFixtureWith(t, lk, bridge, access, policy, change...)
}

func startPhoneFixtureWith(
	t *testing.T, lk *testenv.LiveKitServer, bridge *phone.Bridge, access usherv1.AccessLevel, policy usherv1.PhonePolicy,
	change ...func(*settings.Config),
) *phoneFixture {
	t.Helper()
	i := startOn(t, lk, change...)
	p := &phoneFixture{instance: i, bridge: bridge, owner: i.user("Ada Of Phones")}
	p.host = i.clients(bearer(i.apiToken(p.owner, "rooms", "read")))
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
func (p *phoneFixture) second() *participant.Participant {
	p.t.Helper()
	conn := must[*usherv1.JoinRoomResponse](p.t)(p.host.JoinRoom(p.t.Context(), &usherv1.JoinRoomRequest{Room: p.room})).GetConnection()
	other := participant.Join(p.t, conn.GetServerUrl(), conn.GetToken())
	other.Speak()
	return other
}

// setPolicy changes who waits, and what callers do.
func (p *phoneFixture) setPolicy(access usherv1.AccessLevel, policy usherv1.PhonePolicy) {
	p.t.Helper()
	must[*usherv1.UpdateRoomResponse](p.t)(p.host.UpdateRoom(p.t.Context(), &usherv1.UpdateRoomRequest{
		Room: &usherv1.Room{Id: p.room, AccessLevel: access, Configuration: &usherv1.RoomConfiguration{PhonePolicy: policy}},
	}))
}

// open has the room be open for callers now, whatever became of LiveKit's events.
func (p *phoneFixture) open() {
	p.t.Helper()
	phones := p.clients(bearer(phoneServiceToken))
	must[*usherv1.OpenDialInResponse](p.t)(phones.OpenDialIn(p.t.Context(), &usherv1.OpenDialInRequest{RoomId: p.room}))
	p.pin = p.rule().PIN
}

// rule is the dispatch rule of the room, as soon as there is one.
func (p *phoneFixture) rule() (rule phone.Rule) {
	p.t.Helper()
	p.until("there is a dispatch rule", func() bool {
		rules := p.bridge.Rules()
		i := slices.IndexFunc(rules, func(r phone.Rule) bool { return r.Room == p.room })
		if i >= 0 {
			rule = rules[i]
		}
		return i >= 0
	})
	p.secrets.add(rule.PIN)
	return rule
}

// dial makes a call that gets through. The number is in no log.
func (p *phoneFixture) dial(number, to, pin string) *phone.Call {
	p.t.Helper()
	p.secrets.add(number)
	return p.bridge.MustDial(number, to, pin)
}

// dialRefused makes a call that the PIN opens, and that is ended: perhaps before the caller's client has connected.
func (p *phoneFixture) dialRefused(number string) {
	p.t.Helper()
	p.secrets.add(number)
	call, err := p.bridge.Dial(number, dialled, p.pin)
	switch {
	case err == nil:
		call.WaitGone()
	case errors.Is(err, phone.ErrNoAnswer), errors.Is(err, phone.ErrWrongPIN):
		p.t.Fatal(err)
	}
}

// caller is somebody on the phone as LiveKit has them now, and whether they are there.
func (p *phoneFixture) caller(c *phone.Call) (meeting.Participant, bool) {
	p.t.Helper()
	people, err := p.lk.Participants(p.t.Context(), p.id)
	if err != nil {
		return meeting.Participant{}, false // LiveKit is being started
	}
	i := slices.IndexFunc(people, func(x meeting.Participant) bool { return x.Attributes["sip.callID"] == c.ID })
	if i < 0 {
		return meeting.Participant{}, false
	}
	return people[i], true
}

// until polls, patiently.
func (p *phoneFixture) until(what string, ok func() bool) {
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
func (p *phoneFixture) untilHeld(c *phone.Call) {
	p.t.Helper()
	p.until("the caller is held", func() bool { return p.isHeld(c) })
}

func (p *phoneFixture) isHeld(c *phone.Call) bool {
	x, there := p.caller(c)
	return there && x.NoSubscribe && len(x.Tracks) == 1 && x.Tracks[0].Muted && x.Attributes["lobby"] == "waiting"
}

// silent checks that a held caller and the meeting do not hear each other for a while.
func (p *phoneFixture) silent(c *phone.Call) {
	p.t.Helper()
	p.silentTo(c, p.web)
}

func (p *phoneFixture) silentTo(c *phone.Call, other *participant.Participant) {
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
func (p *phoneFixture) waitingCall() *usherv1.Entry {
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
func (p *phoneFixture) decide(d usherv1.Decision) (*usherv1.Entry, error) {
	p.t.Helper()
	e := p.waitingCall()
	res, err := p.host.DecideEntry(p.t.Context(), &usherv1.DecideEntryRequest{
		Room: p.room, EntryId: e.GetId(), Etag: e.GetEtag(), Decision: d,
	})
	return res.GetEntry(), err
}

// heldInList says of the only caller what ListParticipants says.
func (p *phoneFixture) heldInList() *usherv1.Participant {
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
	p := startPhoneFixtureOn(t, lk, restrictedRoom, phonesWait)
	p.open()
	call := p.dial("+4917012345678", dialled, p.pin)
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

// Two servers share all but what they remember: LiveKit tells one of them of callers, and hosts decide at the other. What
// one has done the other leaves alone, and when one dies the other finds who calls.
func TestPhoneReplicas(t *testing.T) {
	t.Parallel()
	p := startPhoneFixture(t, restrictedRoom, phonesWait)
	other := serve(t, p.Config, p.Redis, p.LiveKit)
	p.host = other.clients(bearer(other.apiToken(p.owner, "rooms", "read")))
	p.open()
	other.secrets.add(p.pin)
	held := func(number string) *phone.Call {
		t.Helper()
		other.secrets.add(number)
		call := p.dial(number, dialled, p.pin)
		p.untilHeld(call)
		p.silent(call)
		return call
	}
	call := held("+4917012345678")
	if _, err := p.decide(allow); err != nil {
		t.Fatal(err)
	}
	for range 5 { // sweeps of both
		p.hearEachOther(call)
		time.Sleep(time.Second)
	}
	denied := held("+4917087654321")
	if _, err := p.decide(deny); err != nil {
		t.Fatal(err)
	}
	denied.WaitGone()

	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	late := held("+4917011111111")
	if _, err := p.decide(allow); err != nil {
		t.Fatal(err)
	}
	p.hearEachOther(late)
	p.hearEachOther(call)
}

// A room can be called exactly while somebody is in its meeting with a browser, with its PIN and on its trunk.
func TestPhoneCall(t *testing.T) {
	t.Parallel()
	const caller, grace = "+4917012345678", 2 * time.Second
	listen, webhook := listenForWebhooks(t)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), Webhooks: []string{webhook}})
	bridge := phone.New(t, lk)
	trunk, other := bridge.Trunk("trunk", dialled), "+4930200"
	bridge.Trunk("somebody else's", other)
	p := startPhoneFixtureWith(t, lk, bridge, restrictedRoom, phonesDirect, func(c *settings.Config) {
		c.Listen, c.Callers.Grace = listen, grace
		c.Telephony.Trunks = []telephony.ConfiguredTrunk{{ID: trunk}}
	})
	web := p.web
	for meetings := range 2 {
		rule := p.rule()
		if rule.Name != "SIP_"+p.room || !slices.Equal(rule.TrunkIDs, []string{trunk}) || !rule.HidesNumber || len(rule.PIN) != 9 {
			t.Errorf("rule of %q on %v, numbers hidden %v, PIN of %d digits", rule.Name, rule.TrunkIDs, rule.HidesNumber, len(rule.PIN))
		}
		shown := must[*usherv1.GetDialInResponse](t)(p.host.GetDialIn(t.Context(), &usherv1.GetDialInRequest{Room: p.room})).GetDialIn()
		if shown.GetPin() != rule.PIN {
			t.Error("the PIN that is shown is not that of the rule")
		}
		for what, c := range map[string]struct {
			to, pin string
			want    error
		}{
			"another PIN":           {dialled, otherPIN(rule.PIN), phone.ErrWrongPIN},
			"half of the PIN":       {dialled, rule.PIN[:5], phone.ErrWrongPIN},
			"another trunk":         {other, rule.PIN, phone.ErrNoAnswer},
			"a number of no trunk":  {"+4930300", rule.PIN, phone.ErrNoAnswer},
			"the PIN and the trunk": {dialled, rule.PIN, nil},
		} {
			room, _, err := bridge.Ask(caller, c.to, c.pin)
			if !errors.Is(err, c.want) || err == nil && room != p.room {
				t.Errorf("%s: into %q, %v; want %v", what, room, err, c.want)
			}
		}
		call := p.dial(caller, dialled, rule.PIN)
		call.Hears(web.Identity())
		web.Hears(call.Identity())

		web.Room.Disconnect()
		left := time.Now()
		p.until("the rule is gone", func() bool { return len(bridge.Rules()) == 0 })
		if _, _, err := bridge.Ask(caller, dialled, rule.PIN); !errors.Is(err, phone.ErrNoAnswer) {
			t.Errorf("without anybody there: %v, want no answer", err)
		}
		call.WaitGone()
		if took := time.Since(left); took < grace {
			t.Errorf("the caller was out after %v, want %v", took, grace)
		}
		p.until("no meeting", func() bool { return len(p.liveRooms(t)) == 0 })
		if meetings == 0 {
			web = p.second()
		}
	}
}

// otherPIN is a PIN that differs in one digit.
func otherPIN(pin string) string {
	last := (pin[len(pin)-1]-'0'+1)%10 + '0'
	return pin[:len(pin)-1] + string(last)
}

// People on the phone wait in front of a restricted room, deaf and mute, whatever happens meanwhile, until a host decides.
func TestPhoneLobby(t *testing.T) {
	t.Parallel()
	listen, webhook := listenForWebhooks(t)
	events := newRelay(t, webhook)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), Webhooks: []string{events.URL}})
	api := newFaultyLiveKit(t, lk)
	p := startPhoneFixtureOn(t, lk, restrictedRoom, phonesWait, func(c *settings.Config) { c.Listen, c.LiveKit.URL = listen, api.URL })
	p.open()
	p.measureHolds(events, api)

	first := p.dial("+4917012345678", dialled, p.pin)
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
	second := p.dial("+4917012345678", dialled, p.pin)
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
	lost := p.dial("+4917087654321", dialled, p.pin)
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
func (p *phoneFixture) measureHolds(events *relay, api *faultyLiveKit) {
	p.t.Helper()
	const calls = 20
	took := make([]time.Duration, 0, calls)
	heard, overheard := 0, 0
	for n := range calls {
		call := p.dial(fmt.Sprintf("+49170%07d", n), dialled, p.pin)
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
func (p *phoneFixture) hearEachOther(c *phone.Call) {
	p.t.Helper()
	c.Hears(p.web.Identity())
	p.web.Hears(c.Identity())
}
