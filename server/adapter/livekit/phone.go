package livekit

import (
	"context"
	"errors"
	"fmt"
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
			Bounded: len(t.GetAllowedAddresses()) > 0, Authenticated: t.GetAuthUsername() != "" && t.GetAuthPassword() != "",
		})
	}
	return list, nil
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
