package telephony

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/meeting"
)

// Which trunk has which line. A trunk is written as its id and numbers, a line as its id, the trunk that it had, how many
// rooms it has, and its numbers.
func TestAssignLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		trunks []string
		lines  []string
		want   string
	}{
		{"nothing is known", []string{"ST_a 1 2"}, nil, "ST_a=ST_a"},
		{"as before", []string{"ST_a 1"}, []string{"ST_a ST_a 1 1"}, "ST_a=ST_a"},
		{"before lines had numbers", []string{"ST_a 1"}, []string{"ST_a - 1"}, "ST_a=ST_a"},
		{"made again", []string{"ST_b 1 2"}, []string{"ST_a ST_a 1 1 2"}, "ST_b=ST_a"},
		{"made again twice", []string{"ST_c 1"}, []string{"ST_a ST_b 1 1"}, "ST_c=ST_a"},
		{"made again, two of them", []string{"ST_c 2", "ST_d 1"}, []string{"ST_a ST_a 1 1", "ST_b ST_b 1 2"}, "ST_c=ST_b ST_d=ST_a"},
		{"numbers exchanged", []string{"ST_a 2", "ST_b 1"}, []string{"ST_a ST_a 1 1", "ST_b ST_b 1 2"}, "ST_a=ST_b ST_b=ST_a"},
		{
			"one trunk for two lines, one of them without rooms",
			[]string{"ST_c 1 2"},
			[]string{"ST_a ST_a 1 1", "ST_b ST_b 0 2"},
			"ST_c=ST_a",
		},
		{"another number", []string{"ST_a 2", "ST_b 3"}, []string{"ST_a ST_a 1 1", "ST_b ST_b 1 3"}, "ST_a=ST_a ST_b=ST_b"},
		{"made again with one number more", []string{"ST_c 1 2", "ST_b 3"}, []string{"ST_a ST_a 1 1", "ST_b ST_b 1 3"}, "ST_c=ST_a ST_b=ST_b"},
		{"the only trunk, for the only line", []string{"ST_b 2"}, []string{"ST_a ST_a 1 1"}, "ST_b=ST_a"},
		{"the only trunk, and a line without rooms", []string{"ST_b 2"}, []string{"ST_a ST_a 0 1"}, "ST_b=ST_b"},
		{"the only trunk, for two lines", []string{"ST_c 3"}, []string{"ST_a ST_a 1 1", "ST_b ST_b 1 2"}, "ST_c=ST_c"},
		{"one more trunk", []string{"ST_a 1", "ST_b 2"}, []string{"ST_a ST_a 1 1"}, "ST_a=ST_a ST_b=ST_b"},
		{"nothing in common", []string{"ST_b 2", "ST_c 3"}, []string{"ST_a ST_a 1 1"}, "ST_b=ST_b ST_c=ST_c"},
		{"two trunks for one line", []string{"ST_b 1", "ST_c 1"}, []string{"ST_a ST_a 1 1"}, "ST_b= ST_c="},
		{"one trunk for two lines", []string{"ST_c 1 2"}, []string{"ST_a ST_a 1 1", "ST_b ST_b 1 2"}, "ST_c="},
		{"the id of a line that is elsewhere", []string{"ST_a 2", "ST_b 1"}, []string{"ST_a ST_a 1 1"}, "ST_a=ST_a/2 ST_b=ST_a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var trunks []Trunk
			for _, text := range test.trunks {
				f := strings.Fields(text)
				trunks = append(trunks, Trunk{ID: f[0], knownAs: f[0], set: f[1:]})
			}
			var rows []*ent.Trunk
			for _, text := range test.lines {
				f := strings.Fields(text)
				row := &ent.Trunk{ID: f[0], LivekitID: strings.Trim(f[1], "-"), Numbers: strings.Join(f[3:], " ")}
				if _, err := fmt.Sscan(f[2], &row.RoomCount); err != nil {
					t.Fatal(err)
				}
				rows = append(rows, row)
			}
			assignLines(trunks, linesOf(rows))
			var got []string
			for _, trunk := range trunks {
				got = append(got, trunk.ID+"="+trunk.Line)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("lines %q, want %q", got, test.want)
			}
		})
	}
}

// A trunk that is made again has another id in LiveKit. Rooms keep their PINs, and these open what they did.
func TestTrunkMadeAgain(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		w.Trunks.Configured = nil
		room := w.room(direct)
		w.join(room)
		before := w.mustOpen(room).GetDispatchRuleId()
		pin := w.pinOf(room)

		w.bridge.DeleteTrunk(w.trunks[0])
		if _, err := w.Trunks.Check(t.Context()); err != nil || !w.Trunks.Orphans() {
			t.Errorf("without a trunk: %v, orphans %v", err, w.Trunks.Orphans())
		}
		if !strings.Contains(w.log.String(), "level=WARN") || w.pinOf(room) != pin {
			t.Errorf("without a trunk the PIN is %q, want %q, and a warning: %s", w.pinOf(room), pin, w.log)
		}
		again := w.bridge.Trunk("test", numbers[0])
		for _, when := range []string{"seen", "started"} {
			if when == "started" {
				w.Service, w.client = w.replica(db)
				w.Trunks.Configured = nil
			}
			if problems, err := w.Trunks.Check(t.Context()); err != nil || w.Trunks.Orphans() {
				t.Errorf("%s: %v, %v", when, problems, err)
			}
			if d := w.mustDialIn(room); d.GetPin() != pin {
				t.Errorf("%s: the room has another PIN", when)
			}
			if err := w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if to, _, err := w.bridge.Ask("+4917012345678", numbers[0], pin); err != nil || to != room.String() {
				t.Errorf("%s: the PIN opens %q, %v, want %s", when, to, err, room)
			}
		}
		after := w.mustOpen(room).GetDispatchRuleId()
		i := slices.IndexFunc(w.bridge.Rules(), func(r phone.Rule) bool { return r.ID == after })
		if after == before || i < 0 || w.bridge.Rules()[i].TrunkIDs[0] != again {
			t.Errorf("rule %q, and %q before: %+v, want it on %s", after, before, w.bridge.Rules(), again)
		}
		res, err := w.ListTrunks(t.Context(), &usherv1.ListTrunksRequest{})
		if err != nil || len(res.GetTrunks()) != 1 || res.GetTrunks()[0].GetId() != again || res.GetTrunks()[0].GetRoomCount() != 1 {
			t.Errorf("trunks %v, %v, want %s with a room", res, err, again)
		}
	})
}

// The settings name a trunk that was made again since: the one with its numbers takes its place, as often as it is looked at.
func TestTrunkMadeAgain_namedBefore(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := quiet(t, db, "ST_a")
		w.Trunks.Configured[0].Numbers = nil
		w.Trunks.LiveKit = knownTrunks{{ID: "ST_a", Numbers: numbers[:1], Bounded: true}}
		room := w.room(direct)
		before := w.mustDialIn(room)
		for range 2 {
			w.Trunks.LiveKit = knownTrunks{
				{ID: "ST_b", Numbers: []string{"0033 123456789"}, Bounded: true},
				{ID: "ST_c", Numbers: []string{"+33 1 23 45 67 89"}, Bounded: true},
				{ID: "ST_d", Numbers: numbers[1:2], Bounded: true},
			}
			problems, err := w.Trunks.Check(t.Context())
			if err != nil || len(problems) != 1 || !strings.Contains(problems[0], "ST_c, which has its numbers, is used") {
				t.Errorf("problems %q, %v", problems, err)
			}
			if known := w.Trunks.Known(); len(known) != 1 || known[0].ID != "ST_c" || known[0].Line != "ST_a" {
				t.Errorf("in use: %+v", known)
			}
			if d := w.mustDialIn(room); d.GetPin() != before.GetPin() {
				t.Error("the room has another PIN")
			}
		}
		w.Trunks.LiveKit = knownTrunks([]meeting.Trunk{
			{ID: "ST_e", Numbers: numbers[:1], Bounded: true}, {ID: "ST_f", Numbers: numbers[:1], Bounded: true},
		})
		if _, err := w.Trunks.Check(t.Context()); err != nil || w.Trunks.Known()[0].ID != "ST_a" {
			t.Errorf("two trunks have its numbers: %+v, %v", w.Trunks.Known(), err)
		}
		if w.pinOf(room) != before.GetPin() {
			t.Error("the room has another PIN")
		}
	})
}
