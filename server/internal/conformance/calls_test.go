//go:build conformance

package conformance

import (
	"errors"
	"strings"
	"testing"

	"github.com/livekit/protocol/livekit"

	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

// The phone bridge is a stand-in; what it is told about a call comes from LiveKit.
var callFacts = []fact{
	{
		"The right PIN reaches its room; a wrong one reaches none, and a number without a rule is not answered",
		"makes one rule for each room that people meet in", callReaches,
	},
	{
		"PINs are compared digit by digit, leading zeros included",
		"draws PINs with them", callDigits,
	},
	{
		"A caller has kind SIP, an identity that begins with \"sip_\", and an attribute sip.callID that each call has for itself",
		"tells calls by that id, and callers by kind and identity", callIdentity,
	},
	{
		"Two calls from one number have one identity, and so have two from withheld numbers",
		"knows a call by its id, and docs/telephony.md says that the later one stays", callSameNumber,
	},
	{
		"A rule that hides numbers leaves no more of them than the last four digits, in the name",
		"hides numbers always", callHidden,
	},
	{
		"A caller has the attributes of the rule from the first moment",
		"clients show nobody who waits, however late Usher hears of them", callAttributes,
	},
	{
		"A caller who may not subscribe and is muted hears nothing and is not heard, and both is undone",
		"holds callers so until a host decides", callHeld,
	},
	{
		"A change of a caller's attributes leaves those that LiveKit gave to the call",
		"shows whom a host let in, and finds the call afterwards", callKeepsID,
	},
	{
		"A caller stays in the meeting when the rule is changed or deleted",
		"changes PINs and closes lines while people meet", callStays,
	},
}

func callReaches(t *testing.T, f *fixture) {
	l := f.line(t)
	if got := l.reaches(pin); got != phone.ErrNoAnswer.Error() {
		t.Errorf("without a rule the call ends with %q", got)
	}
	one, two := newRoom(), newRoom()
	l.rule(t, phone.Rule{Room: one, PIN: pin})
	l.rule(t, phone.Rule{Room: two, PIN: "987654321"})
	for typed, want := range map[string]string{pin: one, "987654321": two, "111111111": phone.ErrWrongPIN.Error()} {
		if got := l.reaches(typed); got != want {
			t.Errorf("%s reaches %s, want %s", typed, got, want)
		}
	}
}

func callDigits(t *testing.T, f *fixture) {
	l := f.line(t)
	long, short := newRoom(), newRoom()
	l.rule(t, phone.Rule{Room: long, PIN: "012345678"})
	l.rule(t, phone.Rule{Room: short, PIN: "12345678"})
	for typed, want := range map[string]string{
		"012345678": long, "12345678": short, "0012345678": phone.ErrWrongPIN.Error(), "01234567": phone.ErrWrongPIN.Error(),
	} {
		if got := l.reaches(typed); got != want {
			t.Errorf("%s reaches %s, want %s", typed, got, want)
		}
	}
}

func callIdentity(t *testing.T, f *fixture) {
	first := f.dial(t, newNumber(), phone.Rule{HidesNumber: true})
	second := first.line.MustDial(newNumber(), first.line.number, pin)
	for _, c := range []*phone.Call{first.Call, second} {
		p := f.person(t, first.room, c.Identity())
		if p.GetKind() != livekit.ParticipantInfo_SIP || !strings.HasPrefix(p.GetIdentity(), "sip_") ||
			p.GetAttributes()["sip.callID"] != c.ID {
			t.Errorf("listed: %v, want sip.callID %s", p, c.ID)
		}
	}
	if first.Identity() == second.Identity() || first.ID == second.ID {
		t.Errorf("two numbers are %s, %s and %s, %s", first.Identity(), first.ID, second.Identity(), second.ID)
	}
}

func callSameNumber(t *testing.T, f *fixture) {
	for _, number := range []string{newNumber(), phone.Withheld} {
		first := f.dial(t, number, phone.Rule{HidesNumber: true})
		second := first.line.MustDial(number, first.line.number, pin)
		if first.Identity() != second.Identity() || first.ID == second.ID {
			t.Errorf("%s is %s, %s and %s, %s", number, first.Identity(), first.ID, second.Identity(), second.ID)
		}
		first.WaitGone()
		p := f.person(t, first.room, second.Identity())
		if got := p.GetAttributes()["sip.callID"]; got != second.ID {
			t.Errorf("who is there is the call %s, want %s", got, second.ID)
		}
	}
}

func callHidden(t *testing.T, f *fixture) {
	const number = "+33698765432"
	call := f.dial(t, number, phone.Rule{HidesNumber: true})
	p := f.person(t, call.room, call.Identity())
	if strings.Contains(p.String(), "98765") || !strings.HasSuffix(p.GetName(), "5432") {
		t.Errorf("listed: %v", p)
	}
	for _, d := range f.receiver.about(call.room) {
		if strings.Contains(string(d.body), "98765") {
			t.Errorf("told: %s", d.body)
		}
	}
}

func callAttributes(t *testing.T, f *fixture) {
	call := f.dial(t, newNumber(), phone.Rule{Attributes: map[string]string{"lobby": "waiting"}})
	if got := f.person(t, call.room, call.Identity()).GetAttributes()["lobby"]; got != "waiting" {
		t.Errorf("listed: %q", got)
	}
	joined := f.receiver.await(t, call.room, "participant_joined", 1)
	if got := joined.GetParticipant().GetAttributes()["lobby"]; got != "waiting" {
		t.Errorf("told: %q", got)
	}
}

func callHeld(t *testing.T, f *fixture) {
	call := f.dial(t, newNumber(), phone.Rule{})
	caller := call.Identity()
	grace := f.join(t, call.room, "grace")
	grace.Speak()
	grace.Hears(caller)
	call.Hears("grace")
	f.permit(t, call.room, caller, &livekit.ParticipantPermission{CanPublish: true, CanUpdateMetadata: true})
	track := f.track(t, call.room, caller).GetSid()
	if err := f.mute(t, call.room, caller, track, true); err != nil {
		t.Fatal(err)
	}
	hearsNothing(t, grace, caller)
	hearsNothing(t, call.Participant, "grace")
	f.permit(t, call.room, caller, &livekit.ParticipantPermission{
		CanPublish: true, CanUpdateMetadata: true, CanSubscribe: true, CanPublishData: true,
	})
	if err := f.mute(t, call.room, caller, track, false); err != nil {
		t.Fatal(err)
	}
	grace.Hears(caller)
	call.Listen() // as the bridge does, which subscribes by itself
	call.Hears("grace")
}

func callKeepsID(t *testing.T, f *fixture) {
	call := f.dial(t, newNumber(), phone.Rule{Attributes: map[string]string{"lobby": "waiting"}})
	changed, err := f.rooms.UpdateParticipant(t.Context(), &livekit.UpdateParticipantRequest{
		Room: call.room, Identity: call.Identity(), Attributes: map[string]string{"lobby": "admitted"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*livekit.ParticipantInfo{changed, f.person(t, call.room, call.Identity())} {
		if a := p.GetAttributes(); a["lobby"] != "admitted" || a["sip.callID"] != call.ID {
			t.Errorf("attributes: %v, want the call %s", a, call.ID)
		}
	}
}

func callStays(t *testing.T, f *fixture) {
	call := f.dial(t, newNumber(), phone.Rule{})
	grace := f.join(t, call.room, "grace")
	if err := call.line.update(t, call.rule, phone.Rule{Room: call.room, PIN: "987654321"}); err != nil {
		t.Fatal(err)
	}
	grace.Hears(call.Identity())
	if err := call.line.deleteRule(t, call.rule); err != nil {
		t.Fatal(err)
	}
	grace.Hears(call.Identity())
	if _, err := call.line.Dial(newNumber(), call.line.number, "987654321"); !errors.Is(err, phone.ErrNoAnswer) {
		t.Errorf("the next call: %v, want no answer", err)
	}
}
