package telephony

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/meeting"
)

// sweep sweeps once and returns what it did.
func (w *fixture) sweep() string {
	w.t.Helper()
	res, err := w.ReconcileDialIn(w.t.Context(), &usherv1.ReconcileDialInRequest{})
	if err != nil {
		w.t.Fatalf("sweep: %v", err)
	}
	return fmt.Sprintf("created %d, deleted %d, repaired %d", res.GetCreatedCount(), res.GetDeletedCount(), res.GetRepairedCount())
}

func (w *fixture) wantSweep(want string) {
	w.t.Helper()
	if got := w.sweep(); got != want {
		w.t.Errorf("the sweep %s, want %s", got, want)
	}
	if got := w.sweep(); got != "created 0, deleted 0, repaired 0" {
		w.t.Errorf("the next sweep %s, want nothing to do", got)
	}
}

// Whatever happens behind our back is found and repaired by one sweep, and the next one finds nothing.
func TestSweep(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		good, room := w.room(waiting), w.room(direct)
		w.join(good)
		goodID := w.mustOpen(good).GetDispatchRuleId()
		ada := w.join(room)
		w.mustOpen(room)
		foreign := w.bridge.AddRule(phone.Rule{Name: "front desk", Room: "front-desk", PIN: "424242", TrunkIDs: w.trunks})
		almost := w.bridge.AddRule(phone.Rule{Name: "SIP_front-desk", Room: "front-desk", PIN: "434343", TrunkIDs: w.trunks})
		everywhere := w.bridge.AddRule(phone.Rule{Name: ruleName(uuid.New()), Room: "x", PIN: "444444"})
		w.wantSweep("created 0, deleted 0, repaired 0")

		t.Run("somebody deleted the rule", func(t *testing.T) {
			defer w.in(t)()
			w.bridge.DeleteRule(w.rules(room)[0].ID)
			w.wantStates(room, "missing")
			w.wantSweep("created 1, deleted 0, repaired 0")
			w.wantOneRule(room)
		})
		t.Run("somebody made another one", func(t *testing.T) {
			defer w.in(t)()
			id := w.bridge.AddRule(phone.Rule{Name: ruleName(room), Room: room.String(), PIN: "999999", TrunkIDs: w.trunks})
			w.wantStates(room, "in_sync", "duplicate")
			w.wantSweep("created 0, deleted 1, repaired 0")
			if w.wantOneRule(room).ID == id {
				t.Error("the wrong one stayed")
			}
		})
		t.Run("a rule says something else", func(t *testing.T) {
			defer w.in(t)()
			w.setPolicy(room, waiting) // and nobody told anybody
			w.wantStates(room, "missing")
			w.wantSweep("created 0, deleted 0, repaired 1")
			w.wantOneRule(room)
		})
		t.Run("the event of the first who came was lost", func(t *testing.T) {
			defer w.in(t)()
			late := w.room(direct)
			bob := w.join(late)
			w.wantStates(late, "missing")
			w.wantSweep("created 1, deleted 0, repaired 0")
			w.wantOneRule(late)
			w.leave(late, bob)
			w.wantStates(late, "orphaned")
			w.wantSweep("created 0, deleted 1, repaired 0")
			w.wantNoRule(late)
		})
		t.Run("only callers are left", func(t *testing.T) {
			defer w.in(t)()
			w.bridge.MustDial("+33600000001", numbers[0], w.pinOf(room))
			w.leave(room, ada)
			w.wantSweep("created 0, deleted 1, repaired 0")
			w.wantNoRule(room)
		})
		t.Run("the room was deleted", func(t *testing.T) {
			defer w.in(t)()
			stale := uuid.New()
			w.bridge.AddRule(phone.Rule{Name: ruleName(stale), Room: stale.String(), PIN: "777777", TrunkIDs: w.trunks})
			w.wantStates(stale, "orphaned")
			w.wantSweep("created 0, deleted 1, repaired 0")
			w.wantNoRule(stale)
			if row, err := w.row(t.Context(), stale); row != nil || err != nil {
				t.Errorf("row %v, %v, want none", row, err)
			}
		})
		t.Run("our row says what is not so", func(t *testing.T) {
			defer w.in(t)()
			err := db.Run(t.Context(), func(tx *ent.Client) error {
				return tx.DispatchRule.Create().SetID(room).SetRuleID("SDR_gone").SetTrunkID(w.trunks[0]).
					OnConflictColumns("id").UpdateNewValues().Exec(t.Context())
			})
			if err != nil {
				t.Fatal(err)
			}
			w.wantSweep("created 0, deleted 0, repaired 0")
			w.wantNoRule(room)
		})
		t.Run("LiveKit lost all", func(t *testing.T) {
			defer w.in(t)()
			for _, r := range w.bridge.Rules() {
				if _, ours := ruleRoom(r.Name); ours && len(r.TrunkIDs) > 0 {
					w.bridge.DeleteRule(r.ID)
				}
			}
			w.wantSweep("created 1, deleted 0, repaired 0")
			if w.wantOneRule(good).ID == goodID {
				t.Error("the rule has the id of the one that was deleted")
			}
		})
		var left []string
		for _, r := range w.bridge.Rules() {
			left = append(left, r.ID)
		}
		for _, id := range []string{foreign, almost, everywhere} {
			if !slices.Contains(left, id) {
				t.Errorf("rule %s of another program was deleted", id)
			}
		}
		for state, want := range map[string]float64{"missing": 4, "orphaned": 3, "duplicate": 1} {
			if got := w.counted("usher_dial_in_findings_total", state); got != want {
				t.Errorf("%v findings are %s, want %v", got, state, want)
			}
		}
	})
}

// wantStates compares what ListDispatchRules says of a room.
func (w *fixture) wantStates(room uuid.UUID, want ...string) {
	w.t.Helper()
	var got []string
	for _, r := range w.list(100) {
		if r.GetRoomId() == room.String() {
			got = append(got, stateName(r.GetState()))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("states %v, want %v", got, want)
	}
}

// list reads all pages of a size.
func (w *fixture) list(size int32) []*usherv1.DispatchRule {
	w.t.Helper()
	var all []*usherv1.DispatchRule
	req := &usherv1.ListDispatchRulesRequest{PageSize: size}
	for {
		res, err := w.ListDispatchRules(w.t.Context(), req)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(res.GetRules()) > int(size) {
			w.t.Errorf("a page of %d, want %d at most", len(res.GetRules()), size)
		}
		all = append(all, res.GetRules()...)
		if res.GetNextPageToken() == "" {
			return all
		}
		req.PageToken = res.GetNextPageToken()
	}
}

func TestListDispatchRules_pages(t *testing.T) {
	t.Parallel()
	w := newFixture(t, testenv.SQLite(t), 1)
	for n := range 7 {
		id := uuid.New()
		for m := range n%3 + 1 {
			w.bridge.AddRule(phone.Rule{Name: ruleName(id), Room: id.String(), PIN: fmt.Sprintf("%d%d", 1000+n, m), TrunkIDs: w.trunks})
		}
	}
	all := w.list(100)
	if len(all) != 13 {
		t.Fatalf("%d rules, want 13", len(all))
	}
	for size := range int32(5) {
		got := w.list(size + 1)
		if len(got) != len(all) {
			t.Fatalf("in pages of %d: %d rules, want %d", size+1, len(got), len(all))
		}
		for i := range got {
			if got[i].GetDispatchRuleId() != all[i].GetDispatchRuleId() || got[i].GetState() != orphaned {
				t.Errorf("in pages of %d rule %d is %v, want %v", size+1, i, got[i], all[i])
			}
		}
	}
	first, err := w.ListDispatchRules(t.Context(), &usherv1.ListDispatchRulesRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	other := auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.Service, Name: "other"})
	_, err = w.ListDispatchRules(other, &usherv1.ListDispatchRulesRequest{PageToken: first.GetNextPageToken()})
	wantFault(t, err, page.ErrTokenInvalid)
}

// A LiveKit that fails during a sweep keeps the sweep from nothing that does not need it, and the next one does the rest.
func TestSweep_liveKitFails(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		for _, failing := range []string{
			"ListSIPDispatchRule", "ListRooms", "ListParticipants", "CreateSIPDispatchRule", "DeleteSIPDispatchRule", "UpdateSIPDispatchRule",
		} {
			w := newFixture(t, db, 1)
			absent, stale, changed := w.room(direct), uuid.New(), w.room(direct)
			w.join(absent)
			w.join(changed)
			w.mustOpen(changed)
			w.setPolicy(changed, waiting)
			w.bridge.AddRule(phone.Rule{Name: ruleName(stale), Room: stale.String(), PIN: "777777", TrunkIDs: w.trunks})
			deleted := w.room(direct)
			w.mustDialIn(deleted)
			w.deleteRoom(deleted)
			w.gate.set(func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
				if call == failing {
					return broken()
				}
				return forward()
			})
			_, err := w.ReconcileDialIn(t.Context(), &usherv1.ReconcileDialInRequest{})
			wantFault(t, err, fault.ErrLiveKit)
			if err := w.Sweep(t.Context()); err == nil {
				t.Errorf("%s fails: the sweep says that all is well", failing)
			}
			if left, err := db.Read.Pin.Query().Where().Count(t.Context()); err != nil || left == 0 {
				t.Errorf("%d PINs, %v", left, err)
			}
			for _, p := range w.resting() {
				if p.RestUntil == nil {
					t.Errorf("%s fails: the PIN of a deleted room does not rest", failing)
				}
			}
			w.gate.set(nil)
			if err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.wantOneRule(absent)
			w.wantOneRule(changed)
			w.wantNoRule(stale)
			for _, room := range []uuid.UUID{absent, changed} {
				w.deleteRoom(room)
			}
		}
	})
}

// What is changed while a sweep looks is no finding: a rule that is made after LiveKit was asked for its rules is not
// missing.
func TestSweep_changedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newFixture(t, testenv.SQLite(t), 1)
	room := w.room(direct)
	w.join(room)
	var once sync.Once
	w.gate.set(func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		answer := forward()
		if call == "ListSIPDispatchRule" {
			once.Do(func() { w.mustOpen(room) })
		}
		return answer
	})
	w.wantSweep("created 0, deleted 0, repaired 0")
	if got := w.counted("usher_dial_in_findings_total", "missing"); got != 0 {
		t.Errorf("%v findings, want none", got)
	}
	w.wantOneRule(room)
}

// Telephony is switched off: what rules there are go.
func TestSweep_telephonyOff(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		w.join(room)
		w.mustOpen(room)
		off, _ := w.replica(db)
		off.Trunks.Enabled = false
		w.Service = off
		w.wantSweep("created 0, deleted 1, repaired 0")
		w.wantNoRule(room)
		_, err := w.GetDialIn(as(t, nil), &usherv1.GetDialInRequest{Room: room.String()})
		wantFault(t, err, ErrDisabled)
		_, err = w.OpenDialIn(t.Context(), &usherv1.OpenDialInRequest{RoomId: room.String()})
		wantFault(t, err, ErrDisabled)
		_, err = w.ListDispatchRules(t.Context(), &usherv1.ListDispatchRulesRequest{})
		wantFault(t, err, ErrDisabled)
		if d, err := w.DialIn(t.Context(), room); d != nil || err != nil {
			t.Errorf("dial-in %v, %v, want none", d, err)
		}
		res, err := w.ListTrunks(t.Context(), &usherv1.ListTrunksRequest{})
		if err != nil || len(res.GetTrunks()) != 0 || w.Trunks.Config().GetEnabled() {
			t.Errorf("trunks %v, %v, want none", res, err)
		}
	})
}

// What the settings and LiveKit's list make together.
func TestTrunks(t *testing.T) {
	t.Parallel()
	good := meeting.Trunk{ID: "ST_a", Numbers: []string{"+33123456789"}, Bounded: true}
	tests := []struct {
		name       string
		configured []ConfiguredTrunk
		listed     []meeting.Trunk
		err        error
		want       string // trunk=number/number, …
		problems   []string
	}{
		{"the only one", nil, []meeting.Trunk{good}, nil, "ST_a=+33123456789", nil},
		{"none", nil, nil, nil, "", []string{"no inbound trunk"}},
		{"several", nil, []meeting.Trunk{good, {ID: "ST_b"}}, nil, "", []string{"2 inbound trunks"}},
		{"no Redis", nil, nil, meeting.ErrNoTelephony, "", []string{"no Redis"}},
		{"named, no Redis", []ConfiguredTrunk{{ID: "ST_a"}}, nil, meeting.ErrNoTelephony, "ST_a=", []string{"ST_a is of no use"}},
		{
			"one of several",
			[]ConfiguredTrunk{{ID: "ST_b"}},
			[]meeting.Trunk{good, {ID: "ST_b", Numbers: []string{"+3222222222"}, Authenticated: true}},
			nil, "ST_b=+3222222222",
			nil,
		},
		{
			"in the order of the settings",
			[]ConfiguredTrunk{{ID: "ST_b"}, {ID: "ST_a"}},
			[]meeting.Trunk{good, {ID: "ST_b", Numbers: []string{"+3222222222"}, Authenticated: true}},
			nil, "ST_b=+3222222222, ST_a=+33123456789",
			nil,
		},
		{
			"with numbers of the settings",
			[]ConfiguredTrunk{{ID: "ST_a", Numbers: []string{"+4930123456", "+3222222222"}}},
			[]meeting.Trunk{good},
			nil, "ST_a=+4930123456/+3222222222", nil,
		},
		{
			"unknown to LiveKit",
			[]ConfiguredTrunk{{ID: "ST_c", Numbers: []string{"+4930123456"}}},
			[]meeting.Trunk{good},
			nil,
			"ST_c=+4930123456",
			[]string{"LiveKit does not have it"},
		},
		{
			"open to everybody, for every number", nil,
			[]meeting.Trunk{{ID: "ST_a"}},
			nil, "ST_a=",
			[]string{"anybody on the internet", "every number", "no number to show"},
		},
		{
			"with numbers that are none", nil,
			[]meeting.Trunk{{ID: "ST_a", Numbers: []string{"0033", "1000"}, Bounded: true}},
			nil, "ST_a=",
			[]string{"no number to show"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := quiet(t, nil)
			w.Trunks.Configured, w.Trunks.LiveKit = test.configured, answer{test.listed, test.err}
			problems, err := w.Trunks.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, trunk := range w.Trunks.Known() {
				var shown []string
				for _, n := range trunk.Numbers {
					shown = append(shown, n.GetE164())
				}
				got = append(got, trunk.ID+"="+strings.Join(shown, "/"))
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("trunks %q, want %q", got, test.want)
			}
			if len(problems) != len(test.problems) {
				t.Fatalf("problems %q, want %q", problems, test.problems)
			}
			for i, want := range test.problems {
				if !strings.Contains(problems[i], want) {
					t.Errorf("problem %q, want one with %q", problems[i], want)
				}
			}
			if got := w.Trunks.Config().GetEnabled(); got != (test.want != "") {
				t.Errorf("enabled %t for clients", got)
			}
		})
	}
}

// answer is what LiveKit says when it is asked for its trunks.
type answer struct {
	listed []meeting.Trunk
	err    error
}

func (a answer) InboundTrunks(context.Context) ([]meeting.Trunk, error) { return a.listed, a.err }

// LiveKit does not answer: what was known goes on counting, and before that the settings do.
func TestTrunks_liveKitDown(t *testing.T) {
	t.Parallel()
	w := quiet(t, nil, "ST_a")
	down := answer{err: fmt.Errorf("test: %w", meeting.ErrUnavailable)}
	w.Trunks.LiveKit = down
	if _, err := w.Trunks.Check(t.Context()); !errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("got %v, want meeting.ErrUnavailable", err)
	}
	if known := w.Trunks.inUse(t.Context()); len(known) != 1 || known[0].Numbers[0].GetE164() != numbers[0] {
		t.Errorf("with settings: %v", known)
	}
	w.Trunks = &Trunks{LiveKit: down, Enabled: true, Log: w.Log}
	if known := w.Trunks.inUse(t.Context()); len(known) != 0 {
		t.Errorf("without settings: %v, want none", known)
	}
	w.Trunks.LiveKit = answer{listed: []meeting.Trunk{{ID: "ST_b", Numbers: numbers[:1]}}}
	if _, err := w.Trunks.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Trunks.LiveKit = down
	if _, err := w.Trunks.Check(t.Context()); err == nil || len(w.Trunks.Known()) != 1 {
		t.Errorf("after an answer: %v, %v, want what was known", w.Trunks.Known(), err)
	}
}

// Whoever waited for a LiveKit that takes long to say nothing does not ask in turn.
func TestTrunks_liveKitHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		trunks := &Trunks{LiveKit: hanging{&asked}, Enabled: true, Log: slog.New(slog.DiscardHandler)}
		trunks.inUse(t.Context())
		trunks.inUse(t.Context())
		if asked != 1 {
			t.Errorf("asked %d times, want once", asked)
		}
		time.Sleep(checkAgain + time.Second)
		trunks.inUse(t.Context())
		if asked != 2 {
			t.Errorf("asked %d times a while later, want twice", asked)
		}
	})
}

// hanging is a LiveKit that takes calls and never answers.
type hanging struct{ asked *int }

func (h hanging) InboundTrunks(context.Context) ([]meeting.Trunk, error) {
	*h.asked++
	time.Sleep(checkAgain + time.Second)
	return nil, meeting.ErrUnavailable
}

func TestListTrunks(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := quiet(t, db, "ST_b", "ST_a", "ST_c")
		for range 4 {
			w.mustDialIn(w.room(direct))
		}
		res, err := w.ListTrunks(t.Context(), &usherv1.ListTrunksRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, trunk := range res.GetTrunks() {
			got = append(got, fmt.Sprintf("%s %s %v %d", trunk.GetId(), trunk.GetCountry(), trunk.GetNumbers(), trunk.GetRoomCount()))
		}
		want := "ST_b FR [+33123456789] 1, ST_a BE [+3222222222] 2, ST_c DE [+4930123456] 1"
		if strings.Join(got, ", ") != want {
			t.Errorf("trunks %q, want %s", got, want)
		}
	})
}
