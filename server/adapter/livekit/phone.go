package livekit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/meeting"
)

// InboundTrunks are the trunks over which LiveKit takes calls. It fails with meeting.ErrNoTelephony when it takes none.
func (c *Client) InboundTrunks(ctx context.Context) ([]meeting.Trunk, error) {
	var res *livekit.ListSIPInboundTrunkResponse
	err := c.callSIP(ctx, "list trunks", func(ctx context.Context) (err error) {
		res, err = c.sip.ListSIPInboundTrunk(ctx, &livekit.ListSIPInboundTrunkRequest{})
		return err
	})
	if err != nil {
		return nil, err
	}
	list := make([]meeting.Trunk, 0, len(res.GetItems()))
	for _, t := range res.GetItems() {
		list = append(list, meeting.Trunk{
			ID: t.GetSipTrunkId(), Numbers: t.GetNumbers(),
			Bounded: bounded(t.GetAllowedAddresses()), Authenticated: t.GetAuthUsername() != "" && t.GetAuthPassword() != "",
		})
	}
	return list, nil
}

// Networks with shorter prefixes are no telephone company's: 0.0.0.0/0 is everybody, and so are its two halves.
const shortestIPv4, shortestIPv6 = 8, 16

// bounded reports whether a list of allowed addresses keeps anybody out. Names and single addresses do.
func bounded(addresses []string) bool {
	for _, a := range addresses {
		p, err := netip.ParsePrefix(strings.TrimSpace(a))
		if err != nil {
			continue
		}
		if p.Addr().Is4() && p.Bits() < shortestIPv4 || p.Addr().Is6() && p.Bits() < shortestIPv6 {
			return false
		}
	}
	return len(addresses) > 0
}

// noBridge is how LiveKit says that no phone bridge has taken an order.
const noBridge = "no response"

// BridgeRuns reports whether a phone bridge takes LiveKit's orders. LiveKit has no question for that, so a bridge is ordered
// to make a call that it refuses before it does anything: with no codec to speak with. Bridges that are too old to know
// of codecs find no host of that name. It fails with meeting.ErrUnavailable when the answer could mean either.
func (c *Client) BridgeRuns(ctx context.Context) (bool, error) {
	const host = "usher-doctor.invalid" // of no network: RFC 2606
	token := auth.NewAccessToken(c.config.Key, c.config.Secret).SetSIPGrant(&auth.SIPGrant{Call: true})
	var answer twirp.Error
	err := c.callWith(ctx, "ask for a phone bridge", token, func(ctx context.Context) error {
		_, err := c.sip.CreateSIPParticipant(ctx, &livekit.CreateSIPParticipantRequest{
			Trunk:     &livekit.SIPOutboundConfig{Hostname: host},
			SipNumber: "usher-doctor", SipCallTo: "nobody", RoomName: "usher-doctor", ParticipantIdentity: "usher-doctor",
			Media: &livekit.SIPMediaConfig{OnlyListedCodecs: true},
		})
		answer, _ = errors.AsType[twirp.Error](err)
		return err
	})
	switch {
	case err == nil || ctx.Err() != nil:
		return err == nil, err
	case answer != nil && strings.Contains(answer.Msg(), noBridge):
		return false, nil
	case answer != nil && (strings.Contains(answer.Msg(), "codec") || strings.Contains(answer.Msg(), host)):
		return true, nil
	}
	return false, err
}

// CreateRule makes a dispatch rule and returns LiveKit's id of it. It fails with meeting.ErrClash. After
// meeting.ErrUnavailable it may have been made all the same: LiveKit has no way to ask for it once only.
func (c *Client) CreateRule(ctx context.Context, r meeting.DispatchRule) (id string, err error) {
	err = c.callSIP(ctx, "create dispatch rule", func(ctx context.Context) error {
		res, err := c.sip.CreateSIPDispatchRule(ctx, &livekit.CreateSIPDispatchRuleRequest{
			DispatchRule: dispatchRule(r),
			// LiveKit looks for clashes among the trunks of this field only. Without it, two rules that clash on any trunk
			// would keep all others from being made.
			TrunkIds: r.Trunks, //nolint:staticcheck // see above
		})
		id = res.GetSipDispatchRuleId()
		return err
	})
	return id, err
}

// UpdateRule makes an existing rule say what r says. Callers who are in the meeting stay. It fails with meeting.ErrNotFound
// when there is no such rule, and with meeting.ErrClash. The trunk must be the one that it has: LiveKit looks for clashes on
// the new one, but among rules that it does not count this one to.
func (c *Client) UpdateRule(ctx context.Context, r meeting.DispatchRule) error {
	return c.callSIP(ctx, "update dispatch rule", func(ctx context.Context) error {
		_, err := c.sip.UpdateSIPDispatchRule(ctx, &livekit.UpdateSIPDispatchRuleRequest{
			SipDispatchRuleId: r.ID, Action: &livekit.UpdateSIPDispatchRuleRequest_Replace{Replace: dispatchRule(r)},
		})
		return err
	})
}

// DeleteRule deletes a dispatch rule. It fails with meeting.ErrNotFound when there is none.
func (c *Client) DeleteRule(ctx context.Context, id string) error {
	return c.callSIP(ctx, "delete dispatch rule", func(ctx context.Context) error {
		_, err := c.sip.DeleteSIPDispatchRule(ctx, &livekit.DeleteSIPDispatchRuleRequest{SipDispatchRuleId: id})
		return err
	})
}

// ListRules are the rules for some trunks, among them those for all trunks. LiveKit reads all that it has.
func (c *Client) ListRules(ctx context.Context, trunks ...string) ([]meeting.DispatchRule, error) {
	var res *livekit.ListSIPDispatchRuleResponse
	err := c.callSIP(ctx, "list dispatch rules", func(ctx context.Context) (err error) {
		res, err = c.sip.ListSIPDispatchRule(ctx, &livekit.ListSIPDispatchRuleRequest{TrunkIds: trunks})
		return err
	})
	if err != nil {
		return nil, err
	}
	list := make([]meeting.DispatchRule, 0, len(res.GetItems()))
	for _, r := range res.GetItems() {
		direct := r.GetRule().GetDispatchRuleDirect()
		rule := meeting.DispatchRule{
			ID: r.GetSipDispatchRuleId(), Name: r.GetName(), Trunks: r.GetTrunkIds(),
			Room: direct.GetRoomName(), PIN: direct.GetPin(),
			Held: r.GetAttributes()[meeting.AttributeLobby] == meeting.LobbyWaiting, HidesNumbers: r.GetHidePhoneNumber(),
		}
		if direct == nil { // of a kind that is not ours; its PIN clashes all the same
			rule.PIN = r.GetRule().GetDispatchRuleIndividual().GetPin() + r.GetRule().GetDispatchRuleCallee().GetPin()
		}
		list = append(list, rule)
	}
	return list, nil
}

func dispatchRule(r meeting.DispatchRule) *livekit.SIPDispatchRuleInfo {
	info := &livekit.SIPDispatchRuleInfo{
		Name: r.Name, TrunkIds: slices.Clone(r.Trunks), HidePhoneNumber: r.HidesNumbers,
		Rule: &livekit.SIPDispatchRule{Rule: &livekit.SIPDispatchRule_DispatchRuleDirect{
			DispatchRuleDirect: &livekit.SIPDispatchRuleDirect{RoomName: r.Room, Pin: r.PIN},
		}},
	}
	if r.Held {
		info.Attributes = map[string]string{meeting.AttributeLobby: meeting.LobbyWaiting}
	}
	return info
}

// noRedis is how LiveKit says that it has none. There is no code of its own for it.
const noRedis = "redis required"

// callSIP runs one call of LiveKit's telephony API.
func (c *Client) callSIP(ctx context.Context, what string, fn func(context.Context) error) error {
	token := auth.NewAccessToken(c.config.Key, c.config.Secret).SetSIPGrant(&auth.SIPGrant{Admin: true})
	var refused error
	err := c.callWith(ctx, what, token, func(ctx context.Context) error {
		err := fn(ctx)
		if te, ok := errors.AsType[twirp.Error](err); ok {
			refused = refusal(te)
		}
		return err
	})
	if err != nil && refused != nil && ctx.Err() == nil {
		// What LiveKit said is left out: it names rules, and a later version may name PINs.
		return fmt.Errorf("%s: %w", what, refused)
	}
	return err
}

// refusal translates errors of the telephony API that have another meaning elsewhere; nil for all others.
func refusal(err twirp.Error) error {
	switch {
	case strings.Contains(err.Msg(), noRedis):
		return meeting.ErrNoTelephony
	case err.Code() == twirp.InvalidArgument:
		return meeting.ErrClash
	}
	return nil
}
