package auth

import (
	"net/http"
	"net/netip"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/ratelimit"
)

// LimitKey names who makes a request, for limits that are each person's own. People in meetings are their account, whichever
// of their devices calls, apart from what the account does elsewhere: whoever finds a session_token locks nobody out of the
// rest. Without an account they are the token's identity, and strangers are their network.
func (c *Caller) LimitKey() string {
	if c.Kind == Participant && c.Participant.UserID != uuid.Nil {
		return "participant:user:" + c.Participant.UserID.String()
	}
	return c.Key()
}

// limited are the calls of this caller under a limit of all that they do. Whoever has proved who they are counts by
// themselves, so that nobody else on their network keeps them out. Anybody may have as many session_tokens as they like of
// a public room, so people in meetings without an account count under their network, too, beside its strangers.
func (c *Caller) limited(call ratelimit.Call) []ratelimit.Call {
	call.Key = c.LimitKey()
	calls := []ratelimit.Call{call}
	if c.Kind == Participant && c.Participant.UserID == uuid.Nil {
		call.Key = "participants:" + c.AddressPrefix
		calls = append(calls, call)
	}
	return calls
}

// Visitors tells apart who opens pages that anybody may open.
type Visitors struct {
	Sessions *Sessions
	// TrustedProxies may be empty.
	TrustedProxies []netip.Prefix
	// Secure is whether people reach this server by https.
	Secure bool
}

// LimitKey names who opens a page, for limits only: whoever is signed in is their account, wherever they come from (a link
// in a mail is opened from the site of that mail), and anybody else is their network.
func (v *Visitors) LimitKey(r *http.Request) string {
	c := &Caller{AddressPrefix: AddressPrefix(ClientAddress(r, v.TrustedProxies))}
	if token, ok := SessionToken(r, v.Secure); ok {
		if session, err := v.Sessions.Peek(r.Context(), token); err == nil {
			return "user:" + session.UserID.String()
		}
	}
	return c.LimitKey()
}
