//go:build conformance

package conformance

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"
	"google.golang.org/protobuf/proto"

	"github.com/usher-meet/usher/server/internal/testenv/phone"
)

var ruleFacts = []fact{
	{
		"The list of trunks has the numbers as they were written, the allowed addresses, and whether there is a user name and password",
		"shows the numbers, and warns of trunks that take calls from anybody", trunkListed,
	},
	{
		"A trunk that is deleted and made again with the same number has another id",
		"has PINs belong to numbers instead", trunkAgain,
	},
	{
		"Without Redis, lists of trunks fail with \"redis required\", and lists of recordings with \"egress not connected\"",
		"says that there is no telephony, and goes on", ruleWithoutRedis,
	},
	{
		"A rule is refused with invalid_argument while another one has its PIN on that trunk, of the same room, too",
		"takes that for a clash: it finds the rule of a lost answer, or gives the room another PIN", ruleClash,
	},
	{
		"The same PIN on another trunk does not clash",
		"PINs are unique on a line only", ruleElsewhere,
	},
	{
		"A rule for all trunks does not clash with one of a trunk that has its PIN, is listed with those of that trunk, and the " +
			"trunk's own is taken",
		"leaves such rules of other programs alone", ruleForAll,
	},
	{
		"Of rules that are made at the same moment with one PIN several come through. Then LiveKit refuses every other rule of that " +
			"trunk and every call to it until one is deleted, and other trunks work on",
		"gives the rule of a room to one server at a time, and deletes one of such a pair", rulePair,
	},
	{
		"An update keeps the id of a rule, makes it say just what was asked, and holds at once: the PIN of before opens nothing",
		"changes PINs in place", ruleUpdate,
	},
	{
		"An update to a PIN that is in use is refused with invalid_argument, and changing or deleting a rule that is gone is not_found",
		"tells a clash from a rule that somebody deleted", ruleUpdateRefused,
	},
	{
		"Rules may have the same name, and are listed with it, their trunks, room, PIN and attributes",
		"knows by the name whose a rule is, and compares the rest with what should be", ruleListed,
	},
}

func trunkListed(t *testing.T, f *fixture) {
	open, bounded, locked := newNumber(), newNumber(), strings.TrimPrefix(newNumber(), "+")
	want := map[string]*livekit.SIPInboundTrunkInfo{
		open:    {Name: "open", Numbers: []string{open}},
		bounded: {Name: "bounded", Numbers: []string{bounded}, AllowedAddresses: []string{"192.0.2.0/24"}},
		locked:  {Name: "locked", Numbers: []string{locked}, AuthUsername: "test-user", AuthPassword: "test-password"},
	}
	for _, trunk := range want {
		if _, err := f.sip.CreateSIPInboundTrunk(
			t.Context(), &livekit.CreateSIPInboundTrunkRequest{Trunk: proto.CloneOf(trunk)},
		); err != nil {
			t.Fatal(err)
		}
	}
	res, err := f.sip.ListSIPInboundTrunk(t.Context(), &livekit.ListSIPInboundTrunkRequest{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, got := range res.GetItems() {
		w := want[slices.Concat(got.GetNumbers(), []string{""})[0]]
		if w == nil {
			continue // another fact's
		}
		found++
		if !slices.Equal(got.GetAllowedAddresses(), w.GetAllowedAddresses()) || got.GetSipTrunkId() == "" ||
			(got.GetAuthUsername() != "" && got.GetAuthPassword() != "") != (w.GetAuthUsername() != "") {
			t.Errorf("listed: %v, want %v", got, w)
		}
	}
	if found != len(want) {
		t.Errorf("%d of %d trunks are listed by their numbers", found, len(want))
	}
}

func trunkAgain(t *testing.T, f *fixture) {
	l := f.line(t)
	l.DeleteTrunk(l.trunk)
	if again := l.Trunk("test", l.number); again == l.trunk {
		t.Errorf("both have the id %s", again)
	}
}

func ruleWithoutRedis(t *testing.T, f *fixture) {
	alone := f.another(t, parts{noRedis: true})
	_, err := alone.sip.ListSIPInboundTrunk(t.Context(), &livekit.ListSIPInboundTrunkRequest{})
	wantText(t, "list trunks", err, "redis required")
	_, err = alone.egress.ListEgress(t.Context(), &livekit.ListEgressRequest{})
	wantText(t, "list recordings", err, "egress not connected")
}

// wantText fails the test unless LiveKit refused with these words.
func wantText(t *testing.T, what string, err error, words string) {
	t.Helper()
	if te, ok := errors.AsType[twirp.Error](err); !ok || !strings.Contains(te.Msg(), words) {
		t.Errorf("%s: %v, want an error with %q", what, err, words)
	}
}

func ruleClash(t *testing.T, f *fixture) {
	l := f.line(t)
	first := phone.Rule{Name: "first", Room: newRoom(), PIN: pin}
	l.rule(t, first)
	_, err := l.tryRule(t, phone.Rule{Name: "second", Room: newRoom(), PIN: pin})
	wantCode(t, "another room's", err, twirp.InvalidArgument)
	_, err = l.tryRule(t, first)
	wantCode(t, "the same again", err, twirp.InvalidArgument)
	l.rule(t, phone.Rule{Room: first.Room, PIN: "987654321"})
}

func ruleElsewhere(t *testing.T, f *fixture) {
	here, there := f.line(t), f.line(t)
	one, two := newRoom(), newRoom()
	here.rule(t, phone.Rule{Room: one, PIN: pin})
	there.rule(t, phone.Rule{Room: two, PIN: pin})
	if got := here.reaches(pin); got != one {
		t.Errorf("the PIN on the first trunk reaches %s, want %s", got, one)
	}
	if got := there.reaches(pin); got != two {
		t.Errorf("the PIN on the second trunk reaches %s, want %s", got, two)
	}
}

func ruleForAll(t *testing.T, f *fixture) {
	// A rule for all trunks is compared with those of all facts.
	l := f.another(t, parts{}).line(t)
	own := newRoom()
	ownID := l.rule(t, phone.Rule{Room: own, PIN: pin})
	forAll := l.rule(t, phone.Rule{Room: newRoom(), PIN: pin, TrunkIDs: []string{}})
	if got := l.reaches(pin); got != own {
		t.Errorf("the PIN reaches %s, want %s", got, own)
	}
	if got := slices.Sorted(maps.Keys(l.listed(t))); !slices.Equal(got, slices.Sorted(slices.Values([]string{ownID, forAll}))) {
		t.Errorf("listed for the trunk: %v, want both %s and %s", got, ownID, forAll)
	}
	other := &line{Bridge: l.Bridge, fixture: l.fixture, number: newNumber()}
	other.trunk = other.Trunk("other", other.number)
	other.rule(t, phone.Rule{Room: newRoom(), PIN: "987654321"})
	if got := slices.Sorted(maps.Keys(other.listed(t))); len(got) != 2 || slices.Contains(got, ownID) {
		t.Errorf("listed for another trunk: %v, want its own and %s", got, forAll)
	}
}

func rulePair(t *testing.T, f *fixture) {
	l, elsewhere := f.line(t), f.line(t)
	l.pair(t)
	_, err := l.tryRule(t, phone.Rule{Room: newRoom(), PIN: "987654321"})
	wantCode(t, "another rule beside the pair", err, twirp.InvalidArgument)
	if _, _, err := l.Ask("+33100000001", l.number, pin); err == nil || errors.Is(err, phone.ErrWrongPIN) ||
		errors.Is(err, phone.ErrNoAnswer) {
		t.Errorf("a call to that trunk: %v, want an error of LiveKit's", err)
	}
	room := newRoom()
	elsewhere.rule(t, phone.Rule{Room: room, PIN: pin})
	if got := elsewhere.reaches(pin); got != room {
		t.Errorf("another trunk's PIN reaches %s, want %s", got, room)
	}
	ids := slices.Collect(maps.Keys(l.listed(t)))
	for _, id := range ids[1:] {
		if err := l.deleteRule(t, id); err != nil {
			t.Fatal(err)
		}
	}
	l.rule(t, phone.Rule{Room: newRoom(), PIN: "987654321"})
	if got := l.reaches("987654321"); strings.Contains(got, " ") {
		t.Errorf("after one was deleted the call ends with %q", got)
	}
}

// pair makes rules that clash: several at the same moment, until more than one comes through.
func (l *line) pair(t *testing.T) {
	t.Helper()
	for range 200 {
		var making sync.WaitGroup
		for range 8 {
			making.Go(func() { _, _ = l.tryRule(t, phone.Rule{Room: newRoom(), PIN: pin}) }) // some are refused
		}
		making.Wait()
		rules := l.listed(t)
		if len(rules) > 1 {
			return
		}
		for id := range rules {
			if err := l.deleteRule(t, id); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("in 200 tries of eight at once LiveKit made one rule only")
}

func ruleUpdate(t *testing.T, f *fixture) {
	l := f.line(t)
	was := phone.Rule{Name: "was", Room: newRoom(), PIN: pin, Attributes: map[string]string{"lobby": "waiting"}, HidesNumber: true}
	id := l.rule(t, was)
	is := phone.Rule{Name: "is", Room: newRoom(), PIN: "987654321"}
	if err := l.update(t, id, is); err != nil {
		t.Fatal(err)
	}
	if got := l.reaches(pin); got != phone.ErrWrongPIN.Error() {
		t.Errorf("the PIN of before reaches %s", got)
	}
	if got := l.reaches(is.PIN); got != is.Room {
		t.Errorf("the PIN of now reaches %s, want %s", got, is.Room)
	}
	is.TrunkIDs = []string{l.trunk}
	wantRule(t, l, id, is)
}

// wantRule fails the test unless the only rule of a line is that one.
func wantRule(t *testing.T, l *line, id string, want phone.Rule) {
	t.Helper()
	rules := l.listed(t)
	got, direct := rules[id], rules[id].GetRule().GetDispatchRuleDirect()
	if len(rules) != 1 || got.GetName() != want.Name || !slices.Equal(got.GetTrunkIds(), want.TrunkIDs) ||
		!maps.Equal(got.GetAttributes(), want.Attributes) || got.GetHidePhoneNumber() != want.HidesNumber ||
		direct.GetRoomName() != want.Room || direct.GetPin() != want.PIN {
		t.Errorf("listed: %v, want one with the id %s like %+v", rules, id, want)
	}
}

func ruleUpdateRefused(t *testing.T, f *fixture) {
	l := f.line(t)
	l.rule(t, phone.Rule{Room: newRoom(), PIN: pin})
	mine := phone.Rule{Room: newRoom(), PIN: "987654321"}
	id := l.rule(t, mine)
	taken := mine
	taken.PIN = pin
	wantCode(t, "an update to the PIN of another", l.update(t, id, taken), twirp.InvalidArgument)
	if err := l.deleteRule(t, id); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "an update of what is gone", l.update(t, id, mine), twirp.NotFound)
	wantCode(t, "deleting it again", l.deleteRule(t, id), twirp.NotFound)
}

func ruleListed(t *testing.T, f *fixture) {
	l := f.line(t)
	r := phone.Rule{
		Name: "SIP_room", Room: newRoom(), PIN: "012345678", Attributes: map[string]string{"lobby": "waiting"}, HidesNumber: true,
	}
	id := l.rule(t, r)
	r.TrunkIDs = []string{l.trunk}
	wantRule(t, l, id, r)
	l.rule(t, phone.Rule{Name: r.Name, Room: r.Room, PIN: pin})
	if got := len(l.listed(t)); got != 2 {
		t.Errorf("%d rules are listed, want two of one name", got)
	}
}
