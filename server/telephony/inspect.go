package telephony

import (
	"context"
	"fmt"
	"slices"

	"github.com/usher-meet/usher/server/dbtx"
)

// Survey compares the dispatch rules that LiveKit has with those that it should have. It draws no PIN and changes no rule.
// Every field is required.
type Survey struct {
	DB      *dbtx.DB
	LiveKit liveKit
	Trunks  *Trunks
}

// Inspect says what is wrong with LiveKit's dispatch rules, as sentences for the operator. It draws no PIN and changes
// no rule.
func (s *Survey) Inspect(ctx context.Context) (problems []string, err error) {
	trunks := s.Trunks.inUse(ctx)
	if len(trunks) == 0 {
		return nil, nil
	}
	rooms, err := s.survey(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range rooms {
		leased, err := s.isLeased(ctx, x.row)
		if err != nil {
			return nil, err
		}
		if leased {
			continue // somebody is changing it
		}
		for _, f := range x.findings() {
			if f.state != inSync {
				problems = append(problems, fmt.Sprintf(
					"rule %q of room %s on trunk %s is %s: a running server repairs that with its next sweep",
					f.ruleID, f.room, f.trunkID, stateName(f.state)))
			}
		}
	}
	clashes, err := s.clashes(ctx, trunks)
	return append(problems, clashes...), err
}

// clashes are rules, of whoever, that keep others from being used.
func (s *Survey) clashes(ctx context.Context, trunks []Trunk) (problems []string, err error) {
	rules, err := s.LiveKit.ListRules(ctx, ids(trunks)...)
	if err != nil {
		return nil, err
	}
	seen := map[string]string{}
	for _, r := range rules {
		if len(r.Trunks) > 0 && r.PIN == "" {
			problems = append(problems, fmt.Sprintf(
				"rule %s (%q) lets callers of trunk %v in without a PIN, and hides every PIN on it: delete it or give it a trunk of its own",
				r.ID, r.Name, r.Trunks,
			))
		}
		on := r.Trunks
		if len(on) == 0 {
			on = []string{""} // such rules clash among themselves
		}
		for _, trunk := range slices.Compact(slices.Sorted(slices.Values(on))) {
			key := trunk + " " + r.PIN
			if first, clash := seen[key]; clash {
				problems = append(problems, fmt.Sprintf(
					"rules %s and %s clash: LiveKit takes no calls and no other rules beside them until one is deleted", first, r.ID,
				))
				continue
			}
			seen[key] = r.ID
		}
	}
	return problems, nil
}
