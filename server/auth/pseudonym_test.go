package auth

import (
	"strings"
	"testing"
)

func TestKeys_Pseudonym(t *testing.T) {
	t.Parallel()
	const caller = "sip_bf97e33ee09d0e8d"
	old, other := []byte("test-secret-of-32-characters-or-more"), []byte("another-secret-of-32-characters-or-more")
	k := NewKeys(old, nil)
	hidden := k.Pseudonym(caller)
	if strings.Contains(hidden, "sip_") || strings.Contains(hidden, "bf97e33e") || len(hidden) != len(callerPseudonym)+32 {
		t.Errorf("the pseudonym of a caller is %q", hidden)
	}
	if again := NewKeys(old, other).Pseudonym(caller); again != hidden {
		t.Errorf("the same caller is %q and %q", hidden, again)
	}
	if under := NewKeys(other, nil).Pseudonym(caller); under == hidden {
		t.Error("another instance finds the same pseudonym")
	}
	if both := NewKeys(other, old).Pseudonyms(caller); len(both) != 2 || both[1] != hidden {
		t.Errorf("after the secret was changed: %q, want %q as the second", both, hidden)
	}
	for _, identity := range []string{"", "p_abc", "EG_abc", "agent-1"} {
		if got := k.Pseudonym(identity); got != identity {
			t.Errorf("the pseudonym of %q is %q", identity, got)
		}
	}
	for text, want := range map[string]string{
		"mute track: participant sip_bf97e33ee09d0e8d does not exist": "mute track: participant " + hidden + " does not exist",
		`identity="sip_bf97e33ee09d0e8d", again`:                      `identity="` + hidden + `", again`,
		"livekit_sip_calls_active":                                    "livekit_sip_calls_active",
		"nobody":                                                      "nobody",
	} {
		if got := k.HideCallers(text); got != want {
			t.Errorf("HideCallers(%q) = %q, want %q", text, got, want)
		}
	}
	if got := k.HideCallers("sip_+33611223344 left"); strings.Contains(got, "33611223344") {
		t.Errorf("a number stays: %q", got)
	}
}
