package telephony

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/trunk"
	"github.com/usher-meet/usher/server/meeting"
)

// A line is a set of telephone numbers with an id of Usher's own, which never changes. PINs belong to lines. LiveKit draws
// another id for a trunk that is made again, so a PIN that belonged to LiveKit's trunk would be lost with it, in every mail
// and calendar that it stands in. The rows of lines are called trunks in the database, and the id of a line is LiveKit's id
// of the first trunk that it had.

// line is a row of the database, and the trunk in use that it was given to.
type line struct {
	*ent.Trunk
	numbers []string
	// taken is true once a trunk has it, and contested when it might belong to more than one trunk.
	taken, contested bool
}

// lastTrunk is LiveKit's id of the trunk that the line had last. Rows that an earlier release wrote have none.
func (l *line) lastTrunk() string {
	if l.LivekitID == "" {
		return l.ID
	}
	return l.LivekitID
}

// linesOf are rows as lines.
func linesOf(rows []*ent.Trunk) []*line {
	lines := make([]*line, len(rows))
	for i, row := range rows {
		lines[i] = &line{Trunk: row, numbers: strings.Fields(row.Numbers)}
	}
	return lines
}

// loadLines reads all lines. Without a database there are none, and each trunk becomes a line of its own.
func (t *Trunks) loadLines(ctx context.Context) ([]*line, error) {
	if t.DB == nil {
		return nil, nil
	}
	rows, err := t.DB.Read.Trunk.Query().Order(ent.Asc(trunk.FieldID)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("list telephone lines: %w", err)
	}
	return linesOf(rows), nil
}

// assignLines gives each trunk in use its line: the one with the same numbers, else the one that had that trunk before, else
// the one with some of its numbers, of those that have rooms first, else, if there is one trunk and one line with PINs, that
// line. What would fit twice is given to nobody: a PIN must not come to ring at somebody else's numbers. A trunk that fits
// no line gets a new one.
func assignLines(trunks []Trunk, lines []*line) {
	same := func(t *Trunk, l *line) bool { return len(t.set) > 0 && slices.Equal(t.set, l.numbers) }
	before := func(t *Trunk, l *line) bool { return t.knownAs == l.lastTrunk() }
	some := func(t *Trunk, l *line) bool {
		return slices.ContainsFunc(t.set, func(n string) bool { return slices.Contains(l.numbers, n) })
	}
	inUse := func(t *Trunk, l *line) bool { return l.RoomCount > 0 && some(t, l) }
	contested := make([]bool, len(trunks))
	for _, fits := range []func(*Trunk, *line) bool{
		func(t *Trunk, l *line) bool { return same(t, l) && before(t, l) }, same, before, inUse, some,
	} {
		assignWhere(trunks, lines, contested, fits)
	}
	if len(trunks) == 1 {
		was := contested[0]
		assignWhere(trunks, lines, contested, func(_ *Trunk, l *line) bool { return l.RoomCount > 0 })
		contested[0] = was // lines that have nothing in common with it do not keep new rooms from it
	}
	for i := range trunks {
		if trunks[i].Line == "" && !contested[i] {
			trunks[i].Line = newLine(trunks[i].knownAs, trunks, lines)
		}
	}
}

// assignWhere gives lines to trunks that fit each other and nothing else.
func assignWhere(trunks []Trunk, lines []*line, contested []bool, fits func(*Trunk, *line) bool) {
	byTrunk, byLine := make([][]int, len(trunks)), make([][]int, len(lines))
	for i := range trunks {
		for j, l := range lines {
			if trunks[i].Line == "" && !contested[i] && !l.taken && !l.contested && fits(&trunks[i], l) {
				byTrunk[i], byLine[j] = append(byTrunk[i], j), append(byLine[j], i)
			}
		}
	}
	for i, found := range byTrunk {
		if len(found) == 1 && len(byLine[found[0]]) == 1 {
			trunks[i].Line, lines[found[0]].taken = lines[found[0]].ID, true
			continue
		}
		for _, j := range found {
			contested[i], lines[j].contested = true, true
		}
	}
}

// newLine is the id of a line that is new: LiveKit's of its first trunk, unless that is taken. All servers find the same.
func newLine(id string, trunks []Trunk, lines []*line) string {
	next := id
	for n := 2; ; n++ {
		taken := slices.ContainsFunc(lines, func(l *line) bool { return l.ID == next }) ||
			slices.ContainsFunc(trunks, func(t Trunk) bool { return t.Line == next })
		if !taken {
			return next
		}
		next = fmt.Sprintf("%s/%d", id, n)
	}
}

// judgeLines says which rooms cannot be dialled because their line has no trunk.
func (s *trunkState) judgeLines(lines []*line) {
	for _, l := range lines {
		if l.taken || l.RoomCount == 0 {
			continue
		}
		s.orphans = true
		s.problem(
			"the PINs of %d rooms open nothing: they were given out with the numbers %s (trunk %s), and LiveKit has not exactly one "+
				"trunk in use for those. The PINs are kept: give one trunk these numbers", l.RoomCount,
			strings.Join(l.numbers, " "), l.lastTrunk(),
		)
	}
}

// replacement is the trunk of LiveKit's that has the numbers of a trunk of the settings that LiveKit does not have any more:
// exactly one, and none that the settings name too.
func (t *Trunks) replacement(c ConfiguredTrunk, listed []meeting.Trunk, lines []*line) (found meeting.Trunk, ok bool) {
	wanted := numberSet(c.Numbers)
	for _, l := range lines {
		if l.lastTrunk() == c.ID {
			wanted = l.numbers
		}
	}
	if len(wanted) == 0 {
		return found, false
	}
	for _, l := range listed {
		named := slices.ContainsFunc(t.Configured, func(other ConfiguredTrunk) bool { return other.ID == l.ID })
		if named || !slices.Equal(numberSet(l.Numbers), wanted) {
			continue
		}
		if ok {
			return meeting.Trunk{}, false
		}
		found, ok = l, true
	}
	return found, ok
}

// numberSet are numbers in one form and order, whoever wrote them.
func numberSet(numbers []string) []string {
	set := make([]string, 0, len(numbers))
	for _, n := range numbers {
		if e164, err := ParseNumber(n); err == nil {
			n = e164
		}
		set = append(set, strings.ReplaceAll(n, " ", ""))
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// storeLines writes down which numbers and which trunk lines have, for the time when LiveKit has other ids.
func (t *Trunks) storeLines(ctx context.Context, trunks []Trunk, lines []*line) error {
	if t.DB == nil || t.ReadOnly {
		return nil
	}
	for _, now := range trunks {
		i := slices.IndexFunc(lines, func(l *line) bool { return l.ID == now.Line })
		numbers := strings.Join(now.set, " ")
		if now.Line == "" || i >= 0 && lines[i].Numbers == numbers && lines[i].LivekitID == now.knownAs {
			continue
		}
		if err := t.DB.Run(ctx, func(tx *ent.Client) error { return storeLine(ctx, tx, now, numbers) }); err != nil {
			return fmt.Errorf("store telephone line: %w", err)
		}
		if i >= 0 && lines[i].lastTrunk() != now.knownAs {
			t.Log.WarnContext(ctx, "a telephone line has another trunk",
				"line", now.Line, "was", lines[i].lastTrunk(), "is", now.knownAs)
		}
	}
	return nil
}

// storeLine makes the row of a line, or changes one that is there, without touching how many rooms it has.
func storeLine(ctx context.Context, tx *ent.Client, now Trunk, numbers string) error {
	return tx.Trunk.Create().SetID(now.Line).SetNumbers(numbers).SetLivekitID(now.knownAs).
		OnConflictColumns(trunk.FieldID).
		Update(func(u *ent.TrunkUpsert) { u.UpdateNumbers().UpdateLivekitID() }).
		Exec(ctx)
}
