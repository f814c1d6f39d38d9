package phone

import (
	"errors"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
)

// The rules of a real livekit-server decide who gets where, and somebody who got there is heard and hears.
func TestBridge(t *testing.T) {
	t.Parallel()
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})
	b := New(t, lk)
	trunk, other := b.Trunk("one", "+4930100"), b.Trunk("other", "+4930200")
	if _, _, err := b.Ask("+4917012345678", "+4930100", "1234567890"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("without a rule: %v, want no answer", err)
	}
	rule := b.AddRule(Rule{
		Name: "test", Room: "board", PIN: "1234567890", TrunkIDs: []string{trunk}, HidesNumber: true,
		Attributes: map[string]string{"lobby": "waiting"},
	})
	if rules := b.Rules(); len(rules) != 1 || rules[0].ID != rule || rules[0].PIN != "1234567890" || rules[0].TrunkIDs[0] != trunk {
		t.Errorf("rules = %+v", rules)
	}
	if _, _, err := b.Ask("+4917012345678", "+4930100", "1234567891"); !errors.Is(err, ErrWrongPIN) {
		t.Errorf("another PIN: %v, want a wrong PIN", err)
	}
	if _, _, err := b.Ask("+4917012345678", "+4930200", "1234567890"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("on trunk %s: %v, want no answer", other, err)
	}

	web := join(t, lk.URL, "board")
	web.Speak()
	call := b.MustDial("+4917012345678", "+4930100", "1234567890")
	web.Hears(call.Identity())
	call.Hears(web.Identity())
	callers := web.Room.GetRemoteParticipants()
	if len(callers) != 1 || callers[0].Name() != "Phone 5678" || callers[0].Attributes()["sip.callID"] != call.ID ||
		callers[0].Attributes()["lobby"] != "waiting" || callers[0].Attributes()["sip.phoneNumber"] != "" {
		t.Errorf("the caller is %+v", callers)
	}
	call.HangUp()
	b.DeleteRule(rule)
	if _, _, err := b.Ask("+4917012345678", "+4930100", "1234567890"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("after the rule was deleted: %v, want no answer", err)
	}
}

// join takes part as a browser does.
func join(t *testing.T, url, room string) *participant.Participant {
	t.Helper()
	token, err := auth.NewAccessToken(testenv.LiveKitKey, testenv.LiveKitSecret).SetIdentity("web").
		SetVideoGrant(&auth.VideoGrant{RoomJoin: true, Room: room}).SetValidFor(time.Minute).ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	return participant.Join(t, url, token)
}
