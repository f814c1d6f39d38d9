package meeting

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

func TestParticipantCall(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Call{
		"Phone 3344":         {Name: "Phone ··· 3344"},
		"Phone +33611223344": {Name: "Phone ··· 3344"},
		"Phone 0611223344":   {Name: "Phone ··· 3344"},
		"Phone 1":            {Name: "Phone ··· 1"},
		"Phone mous":         {Name: "Phone (withheld)", Withheld: true},
		"Phone anonymous":    {Name: "Phone (withheld)", Withheld: true},
		"Phone ice7":         {Name: "Phone (withheld)", Withheld: true},
		"Phone ":             {Name: "Phone (withheld)", Withheld: true},
		"":                   {Name: "Phone (withheld)", Withheld: true},
	} {
		want.ID, want.Identity = "SCL_1", "sip_1"
		p := Participant{Identity: "sip_1", SID: "PA_1", DisplayName: name, Attributes: map[string]string{"sip.callID": "SCL_1"}}
		if got := p.Call(); got != want {
			t.Errorf("Call of %q = %+v, want %+v", name, got, want)
		}
	}
	if got := (Participant{SID: "PA_1"}).Call().ID; got != "PA_1" {
		t.Errorf("without an id: %q, want that of the session", got)
	}
}

// Numbers that nobody has stand for a number that is withheld, in whichever form they come.
func TestParticipantCall_noNumber(t *testing.T) {
	t.Parallel()
	call := func(number string, hidden bool) Call {
		p := Participant{Identity: "sip_" + number, DisplayName: "Phone " + number}
		if hidden { // as LiveKit does for rules that hide numbers
			hash := sha256.Sum256([]byte(number))
			p.Identity = "sip_" + hex.EncodeToString(hash[:8])
			shown := 4
			if len(number) <= 4 {
				shown = 1
			}
			p.DisplayName = "Phone " + number[len(number)-shown:]
		}
		return p.Call()
	}
	for _, hidden := range []bool{false, true} {
		for _, number := range []string{
			"+266696687", "266696687", "00266696687", "+7378742833", "+86282452253", "+2562533", "2562533", "+8656696",
			"0", "00", "0000", "+0000000000", "000000000000000",
		} {
			if c := call(number, hidden); !c.Withheld || c.Name != "Phone (withheld)" {
				t.Errorf("%s, hidden %t: %+v, want one who withholds their number", number, hidden, c)
			}
		}
		for _, number := range []string{"+33611223344", "+26669668", "+2666966871", "+73787428", "100", "+4930000000"} {
			if c := call(number, hidden); c.Withheld {
				t.Errorf("%s, hidden %t: %+v, want one with a number", number, hidden, c)
			}
		}
	}
}

func TestPhonePolicy(t *testing.T) {
	t.Parallel()
	const (
		public     = usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC
		trusted    = usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED
		restricted = usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED
		unset      = usherv1.PhonePolicy_PHONE_POLICY_UNSPECIFIED
		wait       = usherv1.PhonePolicy_PHONE_POLICY_LOBBY
		direct     = usherv1.PhonePolicy_PHONE_POLICY_DIRECT
		refuse     = usherv1.PhonePolicy_PHONE_POLICY_REFUSE
	)
	for _, c := range []struct {
		access     usherv1.AccessLevel
		says, want usherv1.PhonePolicy
	}{
		{public, unset, direct},
		{public, wait, wait},
		{public, refuse, refuse},
		{trusted, unset, wait},
		{trusted, direct, direct},
		{restricted, unset, wait},
		{restricted, refuse, refuse},
	} {
		if got := PhonePolicy(c.access, &usherv1.RoomConfiguration{PhonePolicy: c.says}); got != c.want {
			t.Errorf("PhonePolicy(%v, %v) = %v, want %v", c.access, c.says, got, c.want)
		}
	}
	if got := PhonePolicy(restricted, nil); got != wait {
		t.Errorf("without a configuration: %v", got)
	}
}
