package recordings

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
)

// ending is what becomes of a recorder, and what the recording must say then.
type ending struct {
	name string
	// apply changes the recorder. file: it leaves one in the storage.
	apply func(e *egress)
	file  bool
	// want are the final statuses that are true.
	want []usherv1.RecordingStatus
}

func endsAs(st meeting.EgressStatus) func(e *egress) {
	return func(e *egress) { e.Status, e.EndTime, e.Detail = st, now(), "test detail" }
}

var endings = []ending{
	{"complete", endsAs(meeting.EgressComplete), true, withFile},
	{"limit reached", endsAs(meeting.EgressLimitReached), true, withFile},
	{"aborted", endsAs(meeting.EgressAborted), false, []usherv1.RecordingStatus{aborted, failed}},
	{"failed", endsAs(meeting.EgressFailed), false, []usherv1.RecordingStatus{failed}},
	{"failed with part of a file", endsAs(meeting.EgressFailed), true, withFile},
	{"complete without a file", endsAs(meeting.EgressComplete), false, []usherv1.RecordingStatus{failed}},
	{"died", func(e *egress) { e.dead = true }, false, []usherv1.RecordingStatus{failed}},
	{"died with its file stored", func(e *egress) { e.dead = true }, true, withFile},
	{"forgotten by LiveKit", func(e *egress) { e.forgotten = true }, false, []usherv1.RecordingStatus{failed}},
	{"forgotten with its file stored", func(e *egress) { e.forgotten = true }, true, withFile},
}

// What can happen after the start of a recording.
const (
	finishes = 'F' // the recorder ends
	stops    = 'X' // a host stops it
	event    = 'E' // LiveKit tells what is so now
	stale    = 'e' // LiveKit tells what was so at the beginning
	stored   = 'S' // the storage tells of the file
	sweeps   = 'W'
	works    = 'J' // jobs are done
)

// crash is what a process that ends in the middle leaves behind: nothing runs on.
var errCrash = errors.New("test: crash")

// crashing runs fn, which ends at its n-th step beside the database, 0 for never. It reports whether there was such a step.
func (f *fixture) crashing(n int, fn func()) (crashed bool) {
	f.outside.step = func() {
		if n--; n == 0 {
			panic(errCrash)
		}
	}
	defer func() {
		f.outside.step = nil
		if v := recover(); v != nil {
			if err, ok := v.(error); !ok || !errors.Is(err, errCrash) {
				panic(v)
			}
			crashed = true
		}
	}()
	fn()
	return crashed
}

// story plays what happens to one recording. The process crashes at step crashAt of the whole story, and a new one goes on.
type story struct {
	*fixture
	ending  ending
	script  string
	crashAt int

	host *ent.User
	room *ent.Room
	rec  *ent.Recording
	was  meeting.Egress
	over bool
}

// recorder is the one that was ordered; nil when there is none.
func (s *story) recorder() *egress {
	for _, e := range s.outside.egresses {
		if isPathOf(e.Path, s.rec) {
			return e
		}
	}
	return nil
}

func (s *story) play() (crashed bool) {
	steps := s.crashAt
	left := func(fn func()) {
		before := steps
		counted := 0
		c := s.crashing(before, func() {
			inner := s.outside.step
			s.outside.step = func() { counted++; inner() }
			fn()
		})
		if steps -= counted; steps <= 0 {
			steps = 0
		}
		crashed = crashed || c
	}
	left(func() {
		_, _ = s.StartRecording(s.as(s.host), &usherv1.StartRecordingRequest{Room: s.room.ID.String(), Mode: screen})
	})
	rows, err := s.DB.Read.Recording.Query().Where(recording.RoomID(s.room.ID)).All(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if len(rows) == 0 {
		return crashed // it crashed before anything was decided
	}
	s.rec = rows[0]
	if e := s.recorder(); e != nil {
		s.was = e.Egress
	}
	for _, happens := range s.script {
		left(func() { s.happen(happens) })
	}
	s.happen(finishes)
	return crashed
}

func (s *story) happen(what rune) {
	ctx := s.t.Context()
	e := s.recorder()
	switch {
	case what == finishes && e != nil && !s.over:
		s.over = true
		if s.ending.file {
			s.outside.files[s.rec.ObjectKey] = 4711
		}
		s.ending.apply(e)
	case what == stops:
		_, _ = s.StopRecording(s.as(s.host), &usherv1.StopRecordingRequest{Room: s.room.ID.String()})
	case what == event && e != nil && !e.forgotten:
		_ = s.EgressChanged(ctx, e.Egress)
	case what == stale && e != nil:
		_ = s.EgressChanged(ctx, s.was)
	case what == stored:
		_, _ = s.filesStored(ctx, []storedObject{{bucket: "bucket", keys: []string{s.rec.ObjectKey}}})
	case what == sweeps:
		// What a sweep does with each recording; its goroutines cannot crash one by one.
		_ = s.Settle(ctx, s.rec.ID, nil)
	case what == works:
		s.workOff()
	}
}

// workOff does the jobs that wait, and reports whether there were any. One that fails or crashes waits on.
func (s *story) workOff() bool {
	list, err := s.jobs.List(s.t.Context(), jobs.Filter{States: []string{"waiting"}, Limit: 1000})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, j := range list {
		if err := s.do(s.t.Context(), j); err == nil {
			_ = s.jobs.Delete(s.t.Context(), j.ID)
		}
	}
	return len(list) > 0
}

// check plays a story to its end and says what is not true then.
func (s *story) check() (crashed bool, problem string) {
	crashed = s.play()
	if s.rec == nil {
		return crashed, ""
	}
	s.Timing.GiveUpStop, s.Timing.UploadWithin = 0, 0 // an hour later
	r := s.rec
	for range 8 { // the next process sweeps, again and again
		if err := s.Settle(s.t.Context(), s.rec.ID, nil); err != nil {
			return crashed, err.Error()
		}
		waiting := s.workOff()
		if r = s.row(s.rec.ID.String()); !waiting && slices.Contains(final, r.Status) && r.PurgeTime == nil {
			break
		}
	}
	want := s.ending.want
	if !s.over || r.Status == failedToStart {
		// Nobody was ordered, or was given up before LiveKit was heard: no file may be left.
		want = []usherv1.RecordingStatus{failedToStart}
	}
	if !slices.Contains(want, r.Status) {
		return crashed, fmt.Sprintf("it is %s", statusName(r.Status))
	}
	if e := s.recorder(); r.Status == failedToStart && (s.outside.files[r.ObjectKey] != 0 || e != nil && !e.forgotten) {
		return crashed, "it is FAILED_TO_START, with a recorder or a file"
	}
	if n, err := s.DB.Read.Recording.Query().Where(recording.RoomID(s.room.ID), recording.StatusIn(occupying...)).Count(s.t.Context()); n != 0 || err != nil {
		return crashed, fmt.Sprintf("the room is not free: %v", err)
	}
	return crashed, s.checkTold(r, crashed)
}

// checkTold: everybody who is to know was told once, and nobody else. A crash between a mail and writing it down is the one
// moment after which it is sent again, under the same id.
func (s *story) checkTold(r *ent.Recording, crashed bool) string {
	a, err := s.DB.Read.Recording.QueryAccesses(r).Only(s.t.Context())
	if err != nil {
		return err.Error()
	}
	n := s.outside.told[a.ID]
	if len(s.outside.told) > 1 {
		return fmt.Sprintf("somebody else was told: %v", s.outside.told)
	}
	switch {
	case r.Status == saved:
		return "nobody was told that it is saved"
	case r.Status == notified && (n == 1 || n == 2 && crashed):
	case r.Status != notified && n == 0:
	default:
		return fmt.Sprintf("%s, and told %d times", statusName(r.Status), n)
	}
	return ""
}

// orders are the signals that are tried: every order of every choice of them, repetitions, and what comes too late.
func orders() []string {
	scripts := []string{""}
	var grow func(prefix string)
	grow = func(prefix string) {
		for _, signal := range "ESW" {
			if strings.ContainsRune(prefix, signal) {
				continue
			}
			scripts = append(scripts, prefix+string(signal))
			grow(prefix + string(signal))
		}
	}
	grow("")
	var all []string
	for i, s := range scripts {
		// With and without a host who stops it, and by turns with events that are stale, repeated or too early.
		all = append(all, "F"+s, "XF"+s, []string{"FX" + s + "e", "X" + s + "F" + s + s}[i%2])
	}
	return all
}

// Every ending, in every order, repetition and loss of the three signals; and again with a crash at any step of any of it.
// LiveKit, the storage and the mail are played in memory, and a crash is a panic: that is quick enough for all of them. The
// test of the same name in server does what it can with real ones, at random.
func TestRecordingTorture_inMemory(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		base := newFixture(t, db)
		host := base.user("Ada")
		told, played, crashes := 0, 0, 0
		tell := func(e ending, script string, crashAt int) bool {
			// The rules are the same on both: PostgreSQL, where a story takes longer, is told a part of them.
			if told++; db.Dialect == dialect.Postgres && crashAt == 0 && told%4 != 0 {
				return false
			}
			f := newFixture(t, db)
			f.jobs = base.jobs
			s := &story{fixture: f, ending: e, script: script, crashAt: crashAt, host: host}
			s.room = s.fixture.room(map[any]usherv1.Role{host: owner})
			crashed, problem := s.check()
			if problem != "" {
				t.Errorf("%s, script %q, crash at step %d: %s", e.name, script, crashAt, problem)
			}
			played++
			if crashed {
				crashes++
			}
			return crashed
		}
		rng := rand.New(rand.NewPCG(1, 2)) // a choice that is the same every time
		all := orders()
		for _, e := range endings {
			for _, script := range all {
				tell(e, script, 0)
			}
			// Each step of some stories, until a story has no such step.
			for at := 1; tell(e, "XFEJ", at); at++ {
			}
			// And at random in stories at random.
			for range 10 {
				script := make([]byte, 4+rng.IntN(6))
				for i := range script {
					script[i] = "FXEeSWJ"[rng.IntN(7)]
				}
				tell(e, string(script), 1+rng.IntN(25))
			}
		}
		if crashes < 100 {
			t.Errorf("%d crashes in %d stories: the steps are not where they should be", crashes, played)
		}
		t.Logf("%d stories, %d crashes", played, crashes)
	})
}
