package lobby

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// model is what must be true of a lobby. An etag names one life of one entry under one name.
type model struct {
	t  *testing.T
	mu sync.Mutex
	// meant are decisions that were asked for, and made those that Redis confirmed, by etag.
	meant map[string]map[int]bool
	made  map[string]int
	began time.Time
}

// enough is how many decisions prove something.
const enough = 100

// goesOn reports whether to do more: for some seconds, and on a slow machine for as long as it takes.
func (m *model) goesOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	took := time.Since(m.began)
	return took < 6*time.Second || len(m.made) < enough && took < 2*time.Minute
}

// mean notes that a decision is about to be made.
func (m *model) mean(etag string, status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meant[etag] == nil {
		m.meant[etag] = map[int]bool{}
	}
	m.meant[etag][status] = true
}

func (m *model) confirm(etag string, status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was, ok := m.made[etag]; ok && was != status {
		m.t.Errorf("entry %s: two decisions, %d and %d", etag, was, status)
	}
	m.made[etag] = status
}

// before is the decision that was made already, 0 for none.
func (m *model) before(etag string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.made[etag]
}

// perhapsDenied reports whether a denial may have come and gone while the guest did not look.
func (m *model) perhapsDenied(etag string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meant[etag][statusDenied]
}

// check holds what a guest sees against the decisions: made is the one that was confirmed before they looked.
func (m *model) check(r *record, made int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case made != 0 && r.Status != made:
		m.t.Errorf("entry %s: status %d, want the decision %d that was made before", r.Etag, r.Status, made)
	case r.Status != statusWaiting && !m.meant[r.Etag][r.Status]:
		m.t.Errorf("entry %s: status %d without a decision", r.Etag, r.Status)
	}
}

// guest lives through one guest's time: signs of life, new names, giving up, asking again.
func (m *model) guest(room uuid.UUID, stores []*Store, random *rand.Rand) (*auth.LobbyTicket, *record) {
	t, ticket := m.t, guest(room, uuid.Nil)
	var last *record
	gone := true
	for m.goesOn() {
		s := stores[random.IntN(len(stores))]
		made := 0
		if last != nil {
			made = m.before(last.Etag)
		}
		var out outcome
		var err error
		switch n := random.IntN(20); {
		case last != nil && n == 0:
			out, err = s.finish(t.Context(), ticket, whyCancelled, "")
			if gone = err == nil && out.word == "ok" && out.entry.Status == statusEnded; gone {
				continue
			}
		case last == nil || n < 5:
			out, err = s.refresh(t.Context(), ticket, "Guest "+strconv.Itoa(random.IntN(3)), 1, last == nil)
		default:
			out, err = s.touch(t.Context(), ticket, 1)
		}
		if err != nil {
			t.Error(err)
			return ticket, nil
		}
		switch {
		case out.word == "new":
			if !gone && last.Status == statusWaiting && !m.perhapsDenied(last.Etag) {
				t.Errorf("entry %s was lost while it waited (%d decided)", last.Etag, m.before(last.Etag))
			}
			if !gone && last.Status == statusDenied && last.ends.After(out.now) {
				t.Errorf("entry %s: asked again %v before the denial ended", last.Etag, last.ends.Sub(out.now))
			}
			gone = false
		case out.word == "ended" && gone, out.word == "gone" && m.perhapsDenied(last.Etag):
			time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
			continue
		case out.word != "ok":
			t.Errorf("entry %s: %q", last.Etag, out.word)
			return ticket, nil
		case last != nil && out.entry.Etag == last.Etag:
			m.check(out.entry, made)
		default:
			m.check(out.entry, 0)
		}
		last = out.entry
		time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
	}
	if gone {
		return ticket, nil
	}
	return ticket, last
}

// host looks and decides, sometimes about what has changed since.
func (m *model) host(room uuid.UUID, stores []*Store, random *rand.Rand) {
	for m.goesOn() {
		s := stores[random.IntN(len(stores))]
		list, _, err := s.list(m.t.Context(), room)
		if err != nil {
			m.t.Error(err)
			return
		}
		if !slices.IsSortedFunc(list, func(a, b *record) int { return microseconds(a.Asked).Compare(microseconds(b.Asked)) }) {
			m.t.Errorf("the list is not oldest first")
		}
		time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
		if len(list) == 0 {
			continue
		}
		e, status := list[random.IntN(len(list))], statusDenied
		if random.IntN(2) == 0 {
			status = statusAccepted
		}
		m.mean(e.Etag, status)
		out, err := s.decide(m.t.Context(), room, e.ID, e.Etag, status == statusAccepted, 0, 1)
		if err != nil {
			m.t.Error(err)
			return
		}
		if out.word == "new" {
			m.confirm(e.Etag, status)
		}
	}
}

// Guests and hosts do what they like as fast as Redis lets them, through three clients: no entry is lost, no decision is
// undone or made twice, and nobody is admitted without one. USHER_TEST_SEED repeats the choices, if not their order.
func TestStore_model(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	redis := testenv.Redis(t)
	rules := testRules()
	rules.Denied = 40 * time.Millisecond
	rules.Waiting = 10 * time.Second
	var stores []*Store
	for range 3 {
		stores = append(stores, &Store{Redis: redis.Client(t), Rules: rules})
	}
	m := &model{t: t, meant: map[string]map[int]bool{}, made: map[string]int{}, began: time.Now()}
	room := uuid.New()
	var group sync.WaitGroup
	var mu sync.Mutex
	var waiting []string
	for i := range uint64(60) {
		group.Go(func() {
			ticket, last := m.guest(room, stores, rand.New(rand.NewPCG(seed, i)))
			if last == nil {
				return
			}
			// Nothing happens any more once all are done, so what is said now is what is listed.
			mu.Lock()
			defer mu.Unlock()
			waiting = append(waiting, ticket.EntryID.String())
		})
	}
	for i := range uint64(4) {
		group.Go(func() { m.host(room, stores, rand.New(rand.NewPCG(seed, 1000+i))) })
	}
	group.Wait()
	list, _, err := stores[0].list(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if !slices.Contains(waiting, e.ID) {
			t.Errorf("entry %s waits although its guest gave up", e.Etag)
		}
		if made := m.before(e.Etag); made != 0 {
			t.Errorf("entry %s is listed after the decision %d", e.Etag, made)
		}
	}
	t.Logf("%d decisions, %d wait at the end", len(m.made), len(list))
	if len(m.made) < enough {
		t.Errorf("only %d decisions: the test proves nothing", len(m.made))
	}
}
