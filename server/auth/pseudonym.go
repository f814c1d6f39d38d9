package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"regexp"

	"github.com/usher-meet/usher/server/meeting"
)

// callerPseudonym begins what stands for the identity of somebody on the phone.
const callerPseudonym = "phone_"

// Pseudonym is a participant identity as logs, the audit log and decisions about people have it. LiveKit makes the identity
// of somebody on the phone from their number, by a hash without a key at best, which is undone by trying all numbers. So a
// keyed hash of the identity stands for it: the same number has the same one, and without the secret of this instance
// nobody finds out which number that is. Other identities are random, and stay as they are.
func (k *Keys) Pseudonym(identity string) string { return k.Pseudonyms(identity)[0] }

// Pseudonyms are [Keys.Pseudonym] as it is, and as it was under the secret before.
func (k *Keys) Pseudonyms(identity string) []string {
	if !meeting.IsCallerIdentity(identity) {
		return []string{identity}
	}
	var out []string
	for _, key := range k.Accepted(PurposeCaller) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(identity))
		out = append(out, callerPseudonym+hex.EncodeToString(mac.Sum(nil)[:16]))
	}
	return out
}

// callerIdentity matches what may be the identity of somebody on the phone, within a text.
var callerIdentity = regexp.MustCompile(`\bsip_[0-9A-Za-z+*#.~%_-]+`)

// HideCallers replaces the identities of people on the phone within a text, such as an error of LiveKit's.
func (k *Keys) HideCallers(text string) string {
	return callerIdentity.ReplaceAllStringFunc(text, k.Pseudonym)
}
