//go:build conformance

package conformance

import (
	"fmt"
	"testing"

	"github.com/livekit/protocol/livekit"

	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

// pin is that of rules whose PIN does not matter. Each fact has trunks of its own, so it clashes with nobody's.
const pin = "123456789"

// line is a trunk with one number, and the phone bridge.
type line struct {
	*phone.Bridge
	fixture       *fixture
	trunk, number string
}

func (f *fixture) line(t *testing.T) *line {
	t.Helper()
	l := &line{Bridge: f.bridge(t), fixture: f, number: newNumber()}
	l.trunk = l.Trunk("test", l.number)
	return l
}

// dispatch is a rule in LiveKit's form, made as Usher makes them.
func dispatch(r phone.Rule) *livekit.SIPDispatchRuleInfo {
	return &livekit.SIPDispatchRuleInfo{
		Name: r.Name, TrunkIds: r.TrunkIDs, Attributes: r.Attributes, HidePhoneNumber: r.HidesNumber,
		Rule: &livekit.SIPDispatchRule{Rule: &livekit.SIPDispatchRule_DispatchRuleDirect{
			DispatchRuleDirect: &livekit.SIPDispatchRuleDirect{RoomName: r.Room, Pin: r.PIN},
		}},
	}
}

// tryRule makes a rule, on this line unless it names trunks.
func (l *line) tryRule(t *testing.T, r phone.Rule) (id string, err error) {
	t.Helper()
	if r.TrunkIDs == nil {
		r.TrunkIDs = []string{l.trunk}
	}
	made, err := l.fixture.sip.CreateSIPDispatchRule(t.Context(), &livekit.CreateSIPDispatchRuleRequest{
		DispatchRule: dispatch(r), TrunkIds: r.TrunkIDs, //nolint:staticcheck // as Usher does, to have clashes of this trunk only
	})
	return made.GetSipDispatchRuleId(), err
}

// rule makes a rule that LiveKit takes.
func (l *line) rule(t *testing.T, r phone.Rule) (id string) {
	t.Helper()
	id, err := l.tryRule(t, r)
	if err != nil {
		t.Fatalf("make a dispatch rule: %v", err)
	}
	return id
}

// update makes a rule say what r says.
func (l *line) update(t *testing.T, id string, r phone.Rule) error {
	t.Helper()
	r.TrunkIDs = []string{l.trunk}
	_, err := l.fixture.sip.UpdateSIPDispatchRule(t.Context(), &livekit.UpdateSIPDispatchRuleRequest{
		SipDispatchRuleId: id, Action: &livekit.UpdateSIPDispatchRuleRequest_Replace{Replace: dispatch(r)},
	})
	return err
}

// deleteRule deletes a rule, which may not be there.
func (l *line) deleteRule(t *testing.T, id string) error {
	t.Helper()
	_, err := l.fixture.sip.DeleteSIPDispatchRule(t.Context(), &livekit.DeleteSIPDispatchRuleRequest{SipDispatchRuleId: id})
	return err
}

// listed are the rules that LiveKit lists for this trunk, by id.
func (l *line) listed(t *testing.T) map[string]*livekit.SIPDispatchRuleInfo {
	t.Helper()
	res, err := l.fixture.sip.ListSIPDispatchRule(t.Context(), &livekit.ListSIPDispatchRuleRequest{TrunkIds: []string{l.trunk}})
	if err != nil {
		t.Fatalf("list dispatch rules: %v", err)
	}
	found := map[string]*livekit.SIPDispatchRuleInfo{}
	for _, r := range res.GetItems() {
		found[r.GetSipDispatchRuleId()] = r
	}
	return found
}

// reaches reports into which room a caller with that PIN comes, as a sentence.
func (l *line) reaches(pin string) string {
	room, _, err := l.Ask("+33100000001", l.number, pin)
	if err != nil {
		return fmt.Sprint(err)
	}
	return room
}

// call is a phone call in a meeting.
type call struct {
	*phone.Call
	line       *line
	room, rule string
}

// dial makes a line and a rule on it, and has a number call. Room and PIN of the rule may be left out.
func (f *fixture) dial(t *testing.T, from string, r phone.Rule) *call {
	t.Helper()
	if r.Room == "" {
		r.Room = newRoom()
	}
	r.PIN = pin
	l := f.line(t)
	id := l.rule(t, r)
	return &call{Call: l.MustDial(from, l.number, pin), line: l, room: r.Room, rule: id}
}
