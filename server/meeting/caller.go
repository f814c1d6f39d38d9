package meeting

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// Attributes of people on the phone.
const (
	// AttributeLobby tells clients whether somebody on the phone was let in. Dispatch rules of rooms that hold callers set
	// it to [LobbyWaiting], so that it is there from the first moment.
	AttributeLobby = "lobby"
	// LobbyWaiting is somebody who is held: they hear nothing, and nobody hears them.
	LobbyWaiting = "waiting"
	// LobbyAdmitted is somebody who was let in.
	LobbyAdmitted = "admitted"
	// attributeCall is LiveKit's name of the call. It outlives reconnecting, and each call has its own.
	attributeCall = "sip.callID"
)

// callerPrefix begins the identity of everybody on the phone, in LiveKit's dispatch rules. Ours begin otherwise.
const callerPrefix = "sip_"

// PhonePolicy returns the policy of a room of that access level for phone callers, never unspecified: who configured nothing
// has callers wait, but where everybody enters.
func PhonePolicy(access usherv1.AccessLevel, c *usherv1.RoomConfiguration) usherv1.PhonePolicy {
	switch policy := c.GetPhonePolicy(); {
	case policy != usherv1.PhonePolicy_PHONE_POLICY_UNSPECIFIED:
		return policy
	case access == usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC:
		return usherv1.PhonePolicy_PHONE_POLICY_DIRECT
	default:
		return usherv1.PhonePolicy_PHONE_POLICY_LOBBY
	}
}

// IsCallerIdentity reports whether an identity is that of somebody on the phone. Events about tracks say no more.
func IsCallerIdentity(identity string) bool { return strings.HasPrefix(identity, callerPrefix) }

// Call is one phone call into a meeting.
type Call struct {
	// ID is LiveKit's. Nothing else names a call: the same number calls again under the same identity, and the sid is
	// another one after reconnecting.
	ID string
	// Identity is a number, or a hash of it. All who withhold theirs share one.
	Identity string
	// Name shows no more of the number than its end.
	Name string
	// Withheld is true of a caller without a number, who cannot be told from others.
	Withheld bool
}

// Call is the phone call that a participant is. Without an id, which LiveKit gives to every call, it goes by the sid.
func (p Participant) Call() Call {
	c := Call{ID: p.Attributes[attributeCall], Identity: p.Identity}
	if c.ID == "" {
		c.ID = p.SID
	}
	c.Name, c.Withheld = maskedNumber(p.DisplayName)
	if noNumbers[c.Identity] {
		c.Name, c.Withheld = withheldName, true
	}
	return c
}

// withheldName is what somebody is called who withholds their number.
const withheldName = "Phone (withheld)"

// noNumbers are the identities of callers who have a number that nobody has. Where telephone networks want digits,
// exchanges and companies send words as they stand on the keys of a telephone, or zeros, for a number that is withheld or
// not known. LiveKit takes them for numbers: the identity has them as they are, or hashed where rules hide numbers.
var noNumbers = identitiesWithoutNumber()

func identitiesWithoutNumber() map[string]bool {
	words := []string{
		"266696687",   // ANONYMOUS
		"7378742833",  // RESTRICTED
		"86282452253", // UNAVAILABLE
		"2562533",     // BLOCKED
		"8656696",     // UNKNOWN
	}
	const longest = 20 // digits that a number may have, and some
	for n := range longest {
		words = append(words, strings.Repeat("0", n+1))
	}
	identities := map[string]bool{}
	for _, word := range words {
		for _, number := range []string{word, "+" + word, "0" + word, "00" + word} {
			hash := sha256.Sum256([]byte(number))
			identities[callerPrefix+number] = true
			identities[callerPrefix+hex.EncodeToString(hash[:8])] = true // as livekit/protocol/sip makes it
		}
	}
	return identities
}

// shown is how many digits of a number are shown.
const shown = 4

// maskedNumber makes a name of LiveKit's, "Phone " and a number or what was left of it, into one that shows the end only.
func maskedNumber(name string) (masked string, withheld bool) {
	digits := len(name)
	for digits > 0 && len(name)-digits < shown && name[digits-1] >= '0' && name[digits-1] <= '9' {
		digits--
	}
	// A single digit is what LiveKit leaves of short numbers; after a letter it is the end of a word.
	if end := name[digits:]; end != "" && (digits == 0 || strings.ContainsRune(" +0123456789", rune(name[digits-1]))) {
		return "Phone ··· " + end, false
	}
	return withheldName, true
}

// Standing is how a call stands in a room.
type Standing int

// How calls stand.
const (
	// CallUnknown: nobody can say now, so they are held.
	CallUnknown Standing = iota
	// CallWaiting: they are held until a host decides.
	CallWaiting
	// CallAdmitted: they were let in, and their hold is still to be lifted.
	CallAdmitted
	// CallLifted: they were let in, and the hold was lifted.
	CallLifted
	// CallRefused: they must not be there.
	CallRefused
)
