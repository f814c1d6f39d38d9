// Package phone makes phone calls into meetings without a phone. It asks a real livekit-server what LiveKit's phone bridge
// would ask, and joins as the bridge would: with its kind of token, the identity and attributes that the dispatch rule
// gives, and a track that is published once.
//
// It is apart from testenv because LiveKit's packages take long to build.
package phone

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/redis"
	"github.com/livekit/protocol/rpc"
	"github.com/livekit/protocol/utils/guid"
	"github.com/livekit/psrpc"
	"github.com/livekit/psrpc/pkg/bus/redisbus"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
)

// How a call can end before anybody is called.
var (
	// ErrNoAnswer is a number at which nobody answers: no trunk has it, or no rule is there for it.
	ErrNoAnswer = errors.New("nobody answers")
	// ErrWrongPIN is a PIN that no rule has. The caller hears so, and the line drops.
	ErrWrongPIN = errors.New("wrong PIN")
)

// Withheld is the number that the bridge sees of a caller who withholds theirs.
const Withheld = "anonymous"

// timeout bounds one question to LiveKit.
const timeout = 10 * time.Second

// Bridge stands for LiveKit's phone bridge, beside one livekit-server that has Redis.
type Bridge struct {
	t   testing.TB
	lk  *testenv.LiveKitServer
	io  rpc.IOInfoClient
	sip livekit.SIP
}

// New connects to the Redis of lk, through which the parts of LiveKit talk to one another.
func New(t testing.TB, lk *testenv.LiveKitServer) *Bridge {
	t.Helper()
	if lk.Redis == nil {
		t.Fatal("livekit-server was started without Redis, and has no telephony")
	}
	client, err := redis.GetRedisClient(&redis.RedisConfig{Address: lk.Redis.Address})
	if err != nil {
		t.Fatal(err)
	}
	io, err := rpc.NewIOInfoClient(redisbus.New(client), psrpc.WithClientTimeout(timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { io.Close(); _ = client.Close() }) // nothing was written
	return &Bridge{t: t, lk: lk, io: io, sip: livekit.NewSIPProtobufClient(lk.URL, http.DefaultClient)}
}

// Run has a phone bridge wait for LiveKit's orders, until it is stopped. It makes no calls: it refuses those without codecs
// as the real one does (newMediaConfig of livekit-sip), and all others too.
func (b *Bridge) Run() (stop func()) {
	b.t.Helper()
	client, err := redis.GetRedisClient(&redis.RedisConfig{Address: b.lk.Redis.Address})
	if err != nil {
		b.t.Fatal(err)
	}
	server, err := rpc.NewSIPInternalServer(orders{}, redisbus.New(client))
	if err == nil {
		err = server.RegisterCreateSIPParticipantTopic("")
	}
	if err != nil {
		b.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { server.Kill(); _ = client.Close() })
	b.t.Cleanup(stop)
	return stop
}

// orders refuses LiveKit's orders.
type orders struct{}

func (orders) CreateSIPParticipant(
	_ context.Context, req *rpc.InternalCreateSIPParticipantRequest,
) (*rpc.InternalCreateSIPParticipantResponse, error) {
	if req.GetMedia().GetOnlyListedCodecs() && len(req.GetMedia().GetCodecs()) == 0 {
		return nil, errors.New("no codecs specified")
	}
	return nil, errors.New("no such thing in tests")
}

func (orders) TransferSIPParticipant(
	context.Context, *rpc.InternalTransferSIPParticipantRequest,
) (*rpc.InternalTransferSIPParticipantResponse, error) {
	return nil, errors.New("no such thing in tests")
}

// admin is a context for calls to LiveKit's telephony API.
func (b *Bridge) admin() (context.Context, context.CancelFunc) {
	b.t.Helper()
	token, err := auth.NewAccessToken(testenv.LiveKitKey, testenv.LiveKitSecret).
		SetSIPGrant(&auth.SIPGrant{Admin: true}).SetValidFor(time.Minute).ToJWT()
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	ctx, err = twirp.WithHTTPRequestHeaders(ctx, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		b.t.Fatal(err)
	}
	return ctx, cancel
}

// Trunk makes an inbound trunk that answers at the given numbers, and returns its id.
func (b *Bridge) Trunk(name string, numbers ...string) string {
	b.t.Helper()
	return b.TrunkWithAddresses(name, nil, numbers...)
}

// TrunkWithAddresses is [Bridge.Trunk] for one that takes calls from some addresses only.
func (b *Bridge) TrunkWithAddresses(name string, addresses []string, numbers ...string) string {
	b.t.Helper()
	ctx, cancel := b.admin()
	defer cancel()
	trunk, err := b.sip.CreateSIPInboundTrunk(ctx, &livekit.CreateSIPInboundTrunkRequest{
		Trunk: &livekit.SIPInboundTrunkInfo{Name: name, Numbers: numbers, AllowedAddresses: addresses},
	})
	if err != nil {
		b.t.Fatalf("make trunk: %v", err)
	}
	return trunk.GetSipTrunkId()
}

// DeleteTrunk deletes a trunk, as operators do before they make it again.
func (b *Bridge) DeleteTrunk(id string) {
	b.t.Helper()
	ctx, cancel := b.admin()
	defer cancel()
	if _, err := b.sip.DeleteSIPTrunk(ctx, &livekit.DeleteSIPTrunkRequest{SipTrunkId: id}); err != nil {
		b.t.Fatalf("delete trunk: %v", err)
	}
}

// Rule is a dispatch rule as LiveKit keeps it.
type Rule struct {
	// ID is set by LiveKit.
	ID, Name, Room, PIN string
	TrunkIDs            []string
	Attributes          map[string]string
	HidesNumber         bool
}

// AddRule makes a dispatch rule and returns its id, as Usher's would be or not.
func (b *Bridge) AddRule(r Rule) string {
	b.t.Helper()
	id, err := b.TryAddRule(r)
	if err != nil {
		b.t.Fatalf("make dispatch rule: %v", err)
	}
	return id
}

// TryAddRule is [Bridge.AddRule] for a rule that LiveKit may refuse.
func (b *Bridge) TryAddRule(r Rule) (string, error) {
	b.t.Helper()
	ctx, cancel := b.admin()
	defer cancel()
	rule, err := b.sip.CreateSIPDispatchRule(
		ctx,
		&livekit.CreateSIPDispatchRuleRequest{DispatchRule: &livekit.SIPDispatchRuleInfo{
			Name: r.Name, TrunkIds: r.TrunkIDs, Attributes: r.Attributes, HidePhoneNumber: r.HidesNumber,
			Rule: &livekit.SIPDispatchRule{Rule: &livekit.SIPDispatchRule_DispatchRuleDirect{
				DispatchRuleDirect: &livekit.SIPDispatchRuleDirect{RoomName: r.Room, Pin: r.PIN},
			}},
		}},
	)
	return rule.GetSipDispatchRuleId(), err
}

// DeleteRule deletes a dispatch rule behind everybody's back.
func (b *Bridge) DeleteRule(id string) {
	b.t.Helper()
	ctx, cancel := b.admin()
	defer cancel()
	if _, err := b.sip.DeleteSIPDispatchRule(ctx, &livekit.DeleteSIPDispatchRuleRequest{SipDispatchRuleId: id}); err != nil {
		b.t.Fatalf("delete dispatch rule: %v", err)
	}
}

// Rules are all dispatch rules, by id.
func (b *Bridge) Rules() []Rule {
	b.t.Helper()
	ctx, cancel := b.admin()
	defer cancel()
	res, err := b.sip.ListSIPDispatchRule(ctx, &livekit.ListSIPDispatchRuleRequest{})
	if err != nil {
		b.t.Fatalf("list dispatch rules: %v", err)
	}
	rules := make([]Rule, 0, len(res.GetItems()))
	for _, r := range res.GetItems() {
		direct := r.GetRule().GetDispatchRuleDirect()
		rules = append(rules, Rule{
			ID: r.GetSipDispatchRuleId(), Name: r.GetName(), Room: direct.GetRoomName(), PIN: direct.GetPin(),
			TrunkIDs: r.GetTrunkIds(), Attributes: r.GetAttributes(), HidesNumber: r.GetHidePhoneNumber(),
		})
	}
	slices.SortFunc(rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	return rules
}

// evaluate asks livekit-server what becomes of a call.
func (b *Bridge) evaluate(id, from, to, pin string) (*rpc.EvaluateSIPDispatchRulesResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	called := &livekit.SIPUri{User: to, Host: "phone.example"}
	req := &rpc.EvaluateSIPDispatchRulesRequest{
		Pin: pin, Call: &rpc.SIPCall{
			LkCallId: id, SourceIp: "192.0.2.1", Address: called, To: called,
			From: &livekit.SIPUri{User: from, Host: "phone.example"},
		},
	}
	res, err := b.io.EvaluateSIPDispatchRules(ctx, req)
	// LiveKit's bridge asks three times at most: the first question over a new connection can get lost.
	for range 2 {
		if !errors.Is(err, psrpc.ErrNoResponse) {
			break
		}
		res, err = b.io.EvaluateSIPDispatchRules(ctx, req)
	}
	if err != nil {
		return nil, fmt.Errorf("ask LiveKit about a call: %w", err)
	}
	return res, nil
}

// Ask goes as far as the door: it returns the room into which a caller with that PIN would be let, and what they would be
// called there.
func (b *Bridge) Ask(from, to, pin string) (room, identity string, err error) {
	res, err := b.ring(guid.New("SCL_"), from, to, pin)
	return res.GetRoomName(), res.GetParticipantIdentity(), err
}

// ring is the dialogue of a call with the bridge: first without a PIN, and with it when there is a rule that wants one.
func (b *Bridge) ring(id, from, to, pin string) (*rpc.EvaluateSIPDispatchRulesResponse, error) {
	res, err := b.evaluate(id, from, to, "")
	if err != nil {
		return nil, err
	}
	switch res.GetResult() {
	case rpc.SIPDispatchResult_ACCEPT:
		return res, nil
	case rpc.SIPDispatchResult_REQUEST_PIN:
	default:
		return nil, ErrNoAnswer
	}
	if res, err = b.evaluate(id, from, to, pin); err != nil {
		return nil, err
	}
	if res.GetResult() != rpc.SIPDispatchResult_ACCEPT {
		return nil, ErrWrongPIN
	}
	return res, nil
}

// Call is a call in a meeting, until the end of the test.
type Call struct {
	*participant.Participant
	// ID is LiveKit's id of the call.
	ID string
}

// Dial calls a number, types a PIN and speaks. It returns when the caller is in the meeting, and publishes, held or not.
func (b *Bridge) Dial(from, to, pin string) (*Call, error) {
	id := guid.New("SCL_")
	res, err := b.ring(id, from, to, pin)
	if err != nil {
		return nil, err
	}
	token, err := token(res)
	if err != nil {
		return nil, err
	}
	// The order of the bridge: connect without subscribing, publish, then subscribe.
	p, err := participant.TryJoin(b.t, b.lk.URL, token, lksdk.WithAutoSubscribe(false))
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if err := p.TrySpeak(); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	p.Listen()
	return &Call{Participant: p, ID: id}, nil
}

// token signs a LiveKit token for a caller as the bridge does: all rights, for a day.
func token(res *rpc.EvaluateSIPDispatchRulesResponse) (string, error) {
	grant := &auth.VideoGrant{RoomJoin: true, Room: res.GetRoomName()}
	grant.SetCanSubscribe(true)
	grant.SetCanPublish(true)
	grant.SetCanPublishData(true)
	grant.SetCanUpdateOwnMetadata(true)
	return auth.NewAccessToken(testenv.LiveKitKey, testenv.LiveKitSecret).
		SetIdentity(res.GetParticipantIdentity()).
		SetName(res.GetParticipantName()).SetMetadata(res.GetParticipantMetadata()).
		SetAttributes(res.GetParticipantAttributes()).SetVideoGrant(grant).SetRoomConfig(res.GetRoomConfig()).
		SetKind(livekit.ParticipantInfo_SIP).SetValidFor(24 * time.Hour).ToJWT()
}

// MustDial is [Bridge.Dial] of a call that gets through.
func (b *Bridge) MustDial(from, to, pin string) *Call {
	b.t.Helper()
	call, err := b.Dial(from, to, pin)
	if err != nil {
		b.t.Fatalf("dial: %v", err)
	}
	return call
}

// HangUp ends the call.
func (c *Call) HangUp() { c.Room.Disconnect() }
