package telephony

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/meeting"
)

const (
	// checkEvery is how often LiveKit is asked for its trunks, and checkAgain how soon after it did not answer.
	checkEvery, checkAgain = time.Minute, 5 * time.Second
)

// Trunks are the connections to the telephone network that rooms are reached over: those of the settings, or else the only
// one that LiveKit has. Telephony is off while there are none. Every field is required.
type Trunks struct {
	LiveKit interface {
		// InboundTrunks fails with meeting.ErrNoTelephony when LiveKit takes no calls.
		InboundTrunks(ctx context.Context) ([]meeting.Trunk, error)
	}
	// Enabled is false when the operator switched telephony off.
	Enabled bool
	// Configured are the trunks of the settings; none: the only one that LiveKit has.
	Configured []ConfiguredTrunk
	// National has numbers displayed as in their own country, not in international form.
	National bool
	// DB has the lines that trunks are given to. Nil: each trunk is a line of its own.
	DB *dbtx.DB
	// ReadOnly has nothing written down about them.
	ReadOnly bool
	Log      *slog.Logger

	current atomic.Pointer[trunkState]
	mu      sync.Mutex
	asked   time.Time
}

// ConfiguredTrunk is a trunk of the settings.
type ConfiguredTrunk struct {
	// ID is LiveKit's.
	ID string
	// Numbers in E.164 form that people call, in the order in which they are shown; none: those that LiveKit has.
	Numbers []string
}

// Trunk is a trunk in use.
type Trunk struct {
	// ID is LiveKit's.
	ID string
	// Line is what its PINs belong to: see lines.go.
	Line    string
	Numbers []*usherv1.DialInNumber

	// knownAs is the id that the settings have for it, or LiveKit's.
	knownAs string
	// set are its numbers in one form and order.
	set []string
}

// trunkState is the outcome of comparing LiveKit's trunks with the settings.
type trunkState struct {
	trunks   []Trunk
	problems []string
	// answered is false as long as LiveKit has said nothing.
	answered bool
	// orphans is true when rooms have PINs that open nothing, because no trunk has their line.
	orphans bool
}

// Known are the trunks in use as far as it is known. It asks nobody.
func (t *Trunks) Known() []Trunk {
	if state := t.current.Load(); state != nil {
		return state.trunks
	}
	return t.combine(nil, nil, nil).trunks
}

// Orphans reports whether rooms have PINs that open nothing, because no trunk in use has the numbers that they were given
// out with.
func (t *Trunks) Orphans() bool {
	state := t.current.Load()
	return state != nil && state.orphans
}

// inUse are the trunks in use. LiveKit is asked if it never answered and nobody asked a moment ago.
func (t *Trunks) inUse(ctx context.Context) []Trunk {
	if state := t.current.Load(); t.Enabled && (state == nil || !state.answered) {
		t.mu.Lock()
		state = t.current.Load()
		if (state == nil || !state.answered) && time.Since(t.asked) > checkAgain {
			_ = t.check(ctx) // told in the log, and what is known counts
		}
		t.mu.Unlock()
	}
	return t.Known()
}

// Check asks LiveKit for its trunks and returns what is wrong with those in use, as sentences for the operator. It fails
// when LiveKit does not answer.
func (t *Trunks) Check(ctx context.Context) (problems []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = t.check(ctx)
	if state := t.current.Load(); state != nil {
		problems = state.problems
	}
	return problems, err
}

// check is [Trunks.Check] for whoever holds the lock.
func (t *Trunks) check(ctx context.Context) error {
	if !t.Enabled {
		return nil
	}
	listed, err := t.LiveKit.InboundTrunks(ctx)
	// From the answer on: it may have taken as long as the pause, and whoever waited for it is not to ask in turn.
	t.asked = time.Now()
	unavailable := errors.Is(err, meeting.ErrUnavailable) || ctx.Err() != nil
	was := t.current.Load()
	if unavailable && was != nil {
		return err // what was known goes on counting
	}
	lines, linesErr := t.loadLines(ctx)
	if linesErr != nil {
		return errors.Join(err, linesErr)
	}
	if unavailable {
		if len(t.Configured) > 0 {
			t.current.Store(t.combine(nil, nil, lines))
		}
		return err
	}
	next := t.combine(listed, err, lines)
	next.answered = true
	if err == nil {
		next.judgeLines(lines)
		if err := t.storeLines(ctx, next.trunks, lines); err != nil {
			return err
		}
	}
	t.current.Store(next)
	if was == nil || !slices.Equal(was.problems, next.problems) {
		level := slog.LevelWarn
		if len(next.trunks) == 0 && !next.orphans {
			level = slog.LevelInfo // nobody asked for telephony
		}
		for _, problem := range next.problems {
			t.Log.Log(ctx, level, "telephony trunks", "problem", problem)
		}
	}
	return nil
}

// Run keeps up with LiveKit's trunks until ctx is done.
func (t *Trunks) Run(ctx context.Context) {
	for t.Enabled && ctx.Err() == nil {
		wait := checkEvery
		if _, err := t.Check(ctx); err != nil {
			wait = checkAgain
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// combine compares the settings with LiveKit's answer and the lines; err is the reason if there is no answer.
func (t *Trunks) combine(listed []meeting.Trunk, err error, lines []*line) *trunkState {
	state := &trunkState{}
	configured := t.Configured
	switch {
	case !t.Enabled:
		return state
	case len(configured) > 0:
	case err != nil:
		state.problem("telephony is off: LiveKit takes no calls, because it has no Redis")
	case len(listed) == 1:
		configured = []ConfiguredTrunk{{ID: listed[0].ID}}
	case len(listed) == 0:
		state.problem("telephony is off: LiveKit has no inbound trunk")
	default:
		state.problem("telephony is off: LiveKit has %d inbound trunks; name those to use in USHER_TELEPHONY_TRUNKS", len(listed))
	}
	for _, c := range configured {
		state.trunks = append(state.trunks, t.use(c, listed, err, lines, state))
	}
	assignLines(state.trunks, lines)
	// A trunk whose line is in doubt is not used: its PINs might be another trunk's.
	state.trunks = slices.DeleteFunc(state.trunks, func(t Trunk) bool {
		if t.Line == "" {
			state.problem("trunk %s is not used: its numbers are those of the PINs of several trunks, or several trunks have "+
				"them. Give each trunk the numbers that it had", t.ID)
		}
		return t.Line == ""
	})
	return state
}

// use is a trunk of the settings as LiveKit has it.
func (t *Trunks) use(c ConfiguredTrunk, listed []meeting.Trunk, err error, lines []*line, state *trunkState) Trunk {
	trunk := Trunk{ID: c.ID, knownAs: c.ID}
	i := slices.IndexFunc(listed, func(l meeting.Trunk) bool { return l.ID == c.ID })
	numbers := c.Numbers
	var is meeting.Trunk
	if i >= 0 {
		is = listed[i]
	} else if other, ok := t.replacement(c, listed, lines); ok {
		state.problem("trunk %s is in USHER_TELEPHONY_TRUNKS and LiveKit does not have it: %s, which has its numbers, is used in its "+
			"place. Name that one in the settings", c.ID, other.ID)
		is, trunk.ID = other, other.ID
	}
	switch {
	case err != nil:
		state.problem("trunk %s is of no use: LiveKit takes no calls, because it has no Redis", c.ID)
	case is.ID == "":
		state.problem("trunk %s is in USHER_TELEPHONY_TRUNKS and LiveKit does not have it", c.ID)
	default:
		numbers = state.judge(is, numbers)
	}
	trunk.set = numberSet(numbers)
	if len(trunk.set) == 0 {
		trunk.set = numberSet(is.Numbers)
	}
	for _, n := range numbers {
		trunk.Numbers = append(trunk.Numbers, numberView(n, t.National))
	}
	return trunk
}

// judge writes down what is wrong with a trunk of LiveKit's, and returns the numbers that people call to reach it.
func (s *trunkState) judge(l meeting.Trunk, numbers []string) []string {
	if !l.Bounded && !l.Authenticated {
		s.problem("trunk %s takes calls from anybody on the internet: give it the addresses of your telephone company (not 0.0.0.0/0, "+
			"which is everybody) or a user name and password", l.ID)
	}
	if len(l.Numbers) == 0 {
		s.problem("trunk %s answers at every number: give it its numbers in LiveKit", l.ID)
	}
	if len(numbers) > 0 {
		return numbers
	}
	for _, n := range l.Numbers {
		if e164, err := ParseNumber(n); err == nil {
			numbers = append(numbers, e164)
		}
	}
	if len(numbers) == 0 {
		s.problem("trunk %s has no number to show to people: put it as %s=+33123456789 in USHER_TELEPHONY_TRUNKS", l.ID, l.ID)
	}
	return numbers
}

func (s *trunkState) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// Config returns the part of the configuration that clients may see.
func (t *Trunks) Config() *usherv1.TelephonyConfig {
	trunks := t.Known()
	c := &usherv1.TelephonyConfig{Enabled: len(trunks) > 0}
	for _, trunk := range trunks {
		for _, n := range trunk.Numbers {
			if n.GetCountry() != "" && !slices.Contains(c.GetCountries(), n.GetCountry()) {
				c.Countries = append(c.Countries, n.GetCountry())
			}
		}
	}
	return c
}

// ids are LiveKit's ids of trunks.
func ids(trunks []Trunk) []string {
	out := make([]string, len(trunks))
	for i, t := range trunks {
		out[i] = t.ID
	}
	return out
}

// lineIDs are the ids of the lines that trunks have.
func lineIDs(trunks []Trunk) []string {
	out := make([]string, len(trunks))
	for i, t := range trunks {
		out[i] = t.Line
	}
	return out
}

// find is the trunk that has a line.
func find(trunks []Trunk, line string) (Trunk, bool) {
	i := slices.IndexFunc(trunks, func(t Trunk) bool { return t.Line == line })
	if i < 0 {
		return Trunk{}, false
	}
	return trunks[i], true
}
