package server_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
)

// What the model is about.
const (
	modelRooms, modelGuests, modelHosts = 5, 1000, 20
	modelGuestOps, modelHostOps         = 50, 10 // a second
	modelTime                           = time.Minute
	modelWaiting, modelGrace            = 10 * time.Second, 3 * time.Second
	modelDenied                         = 4 * time.Second
	// modelAtOnce is how many calls are under way at the same time at most: a slow machine takes longer instead.
	modelAtOnce = 48
)

// lobbyModel is what must be true of lobbies, whatever guests and hosts do and through whichever server. An etag names one
// life of one entry under one name. What is under way at the same time may come in any order, so the model says only what
// holds in all of them: it looks at its own knowledge before and after each call, and at Redis' clock.
type lobbyModel struct {
	t       *testing.T
	first   *instance
	servers []usherv1connect.LobbyServiceClient
	hosts   []*modelHost
	guests  []*modelGuest
	byID    map[string]*modelGuest

	mu sync.Mutex
	// meant is how often each decision was asked for, made those that were confirmed, and givenUp what was cancelled, by
	// etag.
	meant   map[string]map[usherv1.EntryStatus]int
	made    map[string]usherv1.EntryStatus
	givenUp map[string]bool
	// meantAll are decisions about entries whatever their etag, and ever whether one was asked for at all, by id.
	meantAll map[string][]meantAll
	ever     map[string]map[usherv1.EntryStatus]bool
	unsure   int
	counts   map[string]int
}

type meantAll struct {
	status usherv1.EntryStatus
	ended  time.Time // zero while it is under way
}

type modelHost struct {
	room    string
	clients []usherv1connect.LobbyServiceClient
	mu      sync.Mutex
	seen    []*usherv1.Entry // the list of last time, which may be old
	shown   []*usherv1.Entry // on the stream
}

// modelGuest is one guest; what the model knows of them is under its lock.
type modelGuest struct {
	turn   sync.Mutex // one call of theirs at a time
	room   string
	ticket string
	id     string
	// last is the entry as it was answered last.
	last      *usherv1.Entry
	identity  string
	cancelled bool
	// version changes whenever something of theirs begins or ends.
	version      int
	busy, unsure bool
	stream       *modelStream
}

type modelStream struct {
	hangUp func()
	ended  chan struct{}
	// told is the decision that it ended with.
	told *usherv1.Entry
}

// over reports whether there is a stream that ended by itself.
func (s *modelStream) over() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// now is Redis' time.
func (m *lobbyModel) now() time.Time {
	v, err := m.first.Redis.Do(m.t.Context(), m.first.Redis.B().Time().Build()).AsStrSlice()
	if err != nil || len(v) != 2 {
		m.t.Errorf("TIME: %v, %v", v, err)
		return time.Time{}
	}
	s, _ := strconv.ParseInt(v[0], 10, 64)
	us, _ := strconv.ParseInt(v[1], 10, 64)
	return time.Unix(s, us*1000)
}

// passing reports whether a call failed without saying what it did: a loaded machine is no defect.
func passing(err error) bool {
	code := connect.CodeOf(err)
	return err != nil && (code == connect.CodeUnavailable || code == connect.CodeDeadlineExceeded)
}

// decidedAs reports whether somebody asked for that decision about this life of an entry. The lock must be held.
func (m *lobbyModel) decidedAs(id, etag string, status usherv1.EntryStatus) bool {
	return m.meant[etag][status] > 0 || slices.ContainsFunc(m.meantAll[id], func(a meantAll) bool { return a.status == status })
}

// perhapsDecided reports whether any decision may have been made about what the guest had. The lock must be held.
func (m *lobbyModel) perhapsDecided(g *modelGuest) bool {
	return len(m.meant[g.last.GetEtag()]) > 0 || len(m.meantAll[g.id]) > 0
}

// mean notes that a decision is about to be made. The lock must be held.
func (m *lobbyModel) mean(id, etag string, status usherv1.EntryStatus) {
	if m.ever[id] == nil {
		m.ever[id] = map[usherv1.EntryStatus]bool{}
	}
	m.ever[id][status] = true
	if etag == "" {
		m.meantAll[id] = append(m.meantAll[id], meantAll{status: status})
		return
	}
	if m.meant[etag] == nil {
		m.meant[etag] = map[usherv1.EntryStatus]int{}
	}
	m.meant[etag][status]++
}

// surelyWaits reports whether a guest waits until a time, whatever happens. The lock must be held.
func (m *lobbyModel) surelyWaits(g *modelGuest, until time.Time) bool {
	return g.last != nil && !g.busy && !g.unsure && !g.cancelled && g.last.GetStatus() == waiting && !m.perhapsDecided(g) &&
		g.last.GetExpireTime().AsTime().After(until)
}

// begin notes that a guest does something, and what was known before.
func (m *lobbyModel) begin(g *modelGuest) (was modelGuest, made usherv1.EntryStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g.version++
	g.busy = true
	return modelGuest{last: g.last, cancelled: g.cancelled, unsure: g.unsure, identity: g.identity, stream: g.stream},
		m.made[g.last.GetEtag()]
}

// failed notes that nobody knows what a call did.
func (m *lobbyModel) failed(g *modelGuest, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g.busy = false
	g.version++
	g.unsure = true
	m.unsure++
	if !passing(err) {
		m.t.Errorf("a guest was refused: %v", err)
	}
}

// knock asks, or shows a sign of life, or renames.
func (m *lobbyModel) knock(g *modelGuest, s usherv1connect.LobbyServiceClient, name string) {
	g.turn.Lock()
	defer g.turn.Unlock()
	was, made := m.begin(g)
	began, before := time.Now(), m.now()
	res, err := s.RequestEntry(m.t.Context(), &usherv1.RequestEntryRequest{Room: g.room, Ticket: g.ticket, DisplayName: name})
	after := m.now()
	if err != nil {
		m.failed(g, err)
		return
	}
	e := res.GetEntry()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["knocks"]++
	m.checkKnock(g, &was, e, made, name, before, after)
	if e.GetEtag() != was.last.GetEtag() && e.GetStatus() == waiting {
		// Another life: what was decided about all shown before is over.
		m.meantAll[g.id] = slices.DeleteFunc(m.meantAll[g.id], func(a meantAll) bool { return !a.ended.IsZero() && a.ended.Before(began) })
	}
	g.ticket, g.id, g.last, g.cancelled, g.unsure, g.busy = e.GetTicket(), e.GetId(), e, false, false, false
	g.identity = cmp.Or(e.GetConnection().GetParticipantIdentity(), g.identity)
	g.version++
	m.byID[g.id] = g
}

// checkKnock holds an answer against what was known. The lock must be held.
func (m *lobbyModel) checkKnock(
	g *modelGuest, was *modelGuest, e *usherv1.Entry, made usherv1.EntryStatus, name string, before, after time.Time,
) {
	status, etag := e.GetStatus(), e.GetEtag()
	fail := func(what string) {
		m.t.Errorf("%s: %s; status %v, etag %s, before %v", g.id, what, status, etag, was.last)
	}
	if (e.GetConnection() != nil) != (status == accepted) {
		fail("a connection without an admission, or the other way round")
	}
	if status != waiting && !m.decidedAs(g.id, etag, status) {
		fail("a status without a decision")
	}
	if was.identity != "" && status == accepted && e.GetConnection().GetParticipantIdentity() != was.identity {
		fail("another identity")
	}
	if status == waiting && m.givenUp[etag] {
		fail("what was given up waits")
	}
	last := was.last
	if last == nil || was.unsure {
		return
	}
	ends := last.GetExpireTime().AsTime()
	sameLife := etag == last.GetEtag()
	renamed := name != "" && name != last.GetDisplayName()
	switch {
	case was.cancelled:
		if sameLife && status == accepted {
			fail("an admission that was given up")
		}
		return
	case made != 0 && sameLife && status != made:
		fail(fmt.Sprintf("the decision %v is undone", made))
	case last.GetStatus() == accepted && (status != accepted || !sameLife):
		fail("an admission is lost")
	case last.GetStatus() == denied && status != denied && after.Before(ends):
		fail("asked again before the denial ended")
	case last.GetStatus() != waiting || m.perhapsDecided(&modelGuest{last: last, id: g.id}):
		return
	}
	switch forgotten := ends.Add(modelGrace); {
	case !sameLife && !renamed && after.Before(forgotten):
		fail("an entry was lost while it waited")
	case sameLife && was.stream == nil && before.After(forgotten):
		fail("an entry waited on without a sign of life")
	case !m.ever[g.id][denied] && !e.GetRequestTime().AsTime().Equal(last.GetRequestTime().AsTime()):
		fail("a place was lost")
	}
}

// cancel gives up.
func (m *lobbyModel) cancel(g *modelGuest, s usherv1connect.LobbyServiceClient) {
	g.turn.Lock()
	defer g.turn.Unlock()
	if g.ticket == "" {
		return
	}
	was, _ := m.begin(g)
	_, err := s.CancelEntry(m.t.Context(), &usherv1.CancelEntryRequest{Room: g.room, Ticket: g.ticket})
	if err != nil {
		m.failed(g, err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["cancels"]++
	g.busy, g.cancelled = false, true
	g.version++
	if was.unsure {
		return // of what, is not known
	}
	m.givenUp[was.last.GetEtag()] = true
}

// watch opens a stream, which is a sign of life until it ends.
func (m *lobbyModel) watch(g *modelGuest, s usherv1connect.LobbyServiceClient) {
	g.turn.Lock()
	defer g.turn.Unlock()
	m.mu.Lock()
	if g.stream.over() {
		g.stream = nil
	}
	busy := g.ticket == "" || g.cancelled || g.unsure || g.stream != nil
	m.mu.Unlock()
	if busy {
		return
	}
	ctx, hangUp := context.WithCancel(m.t.Context())
	stream := &modelStream{hangUp: hangUp, ended: make(chan struct{})}
	m.mu.Lock()
	g.stream = stream
	g.version++
	m.counts["streams"]++
	m.mu.Unlock()
	room, ticket := g.room, g.ticket
	go func() {
		defer close(stream.ended)
		for again := true; again && ctx.Err() == nil; {
			again = m.follow(ctx, g, stream, s, room, ticket)
		}
	}()
}

// follow reads a stream to its end, and reports whether to connect again.
func (m *lobbyModel) follow(
	ctx context.Context, g *modelGuest, stream *modelStream, s usherv1connect.LobbyServiceClient, room, ticket string,
) (again bool) {
	w, err := s.WatchEntry(ctx, &usherv1.WatchEntryRequest{Room: room, Ticket: ticket})
	if err != nil {
		return true
	}
	defer func() { _ = w.Close() }()
	for w.Receive() {
		if w.Msg().GetClosing().GetReason() == usherv1.ClosingReason_CLOSING_REASON_MAX_AGE {
			again = true
		}
		e := w.Msg().GetEntry()
		if e == nil {
			continue
		}
		m.mu.Lock()
		if e.GetStatus() != waiting {
			m.counts["told"]++
			stream.told = e
			if !m.decidedAs(e.GetId(), e.GetEtag(), e.GetStatus()) {
				m.t.Errorf("%s was told %v without a decision", e.GetId(), e.GetStatus())
			}
		}
		m.mu.Unlock()
	}
	if err := w.Err(); err != nil && ctx.Err() == nil {
		if !passing(err) {
			m.t.Errorf("the stream of %s ended with %v", g.id, err)
		}
		return passing(err)
	}
	return again
}

func (m *lobbyModel) hangUp(g *modelGuest) {
	g.turn.Lock()
	defer g.turn.Unlock()
	m.mu.Lock()
	stream := g.stream
	m.mu.Unlock()
	if stream == nil {
		return
	}
	stream.hangUp()
	<-stream.ended
	m.mu.Lock()
	defer m.mu.Unlock()
	// The server may notice later, and its last sign of life have come before this.
	g.stream, g.unsure = nil, true
	g.version++
}

// list looks who waits: all who surely do, nobody who surely does not, in their order.
func (m *lobbyModel) list(h *modelHost, s usherv1connect.LobbyServiceClient) []*usherv1.Entry {
	type known struct {
		g       *modelGuest
		version int
	}
	var surely []known
	before := m.now()
	m.mu.Lock()
	for _, g := range m.guests {
		if g.room == h.room && m.surelyWaits(g, before) {
			surely = append(surely, known{g, g.version})
		}
	}
	decided := make(map[string]bool, len(m.made)+len(m.givenUp))
	for etag := range m.made {
		decided[etag] = true
	}
	for etag := range m.givenUp {
		decided[etag] = true
	}
	m.mu.Unlock()
	res, err := s.ListWaiting(m.t.Context(), &usherv1.ListWaitingRequest{Room: h.room})
	after := m.now()
	if err != nil {
		if !passing(err) {
			m.t.Errorf("a host cannot list: %v", err)
		}
		return nil
	}
	listed := make(map[string]*usherv1.Entry, len(res.GetEntries()))
	for _, e := range res.GetEntries() {
		listed[e.GetId()] = e
		if decided[e.GetEtag()] {
			m.t.Errorf("%s is listed after a decision, or after they gave up", e.GetId())
		}
		if e.GetExpireTime().AsTime().Before(before) {
			m.t.Errorf("%s is listed %v after they lapsed", e.GetId(), before.Sub(e.GetExpireTime().AsTime()))
		}
	}
	if !slices.IsSortedFunc(res.GetEntries(), func(a, b *usherv1.Entry) int {
		return a.GetRequestTime().AsTime().Compare(b.GetRequestTime().AsTime())
	}) {
		m.t.Error("the list is not oldest first")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["lists"]++
	for _, k := range surely {
		if k.g.version != k.version || !m.surelyWaits(k.g, after) {
			continue
		}
		m.counts["surely listed"]++
		if e := listed[k.g.id]; e.GetEtag() != k.g.last.GetEtag() || e.GetDisplayName() != k.g.last.GetDisplayName() {
			m.t.Errorf("%s waits and is listed as %v, want %v", k.g.id, e, k.g.last)
		}
	}
	return res.GetEntries()
}

// modelDecision is a decision that is under way, and what was known when it began.
type modelDecision struct {
	entry         *usherv1.Entry
	status, other usherv1.EntryStatus
	guest         *modelGuest
	version       int
	// waits and forgotten say what the entry surely did, if nothing else happens, and givenUp that its guest cancelled
	// before.
	waits, forgotten, givenUp bool
}

// decide decides about one entry of a list, which may be old by now.
func (m *lobbyModel) decide(h *modelHost, s usherv1connect.LobbyServiceClient, e *usherv1.Entry, d usherv1.Decision) {
	decision := m.beginDecision(e, d)
	res, err := s.DecideEntry(m.t.Context(), &usherv1.DecideEntryRequest{Room: h.room, EntryId: e.GetId(), Etag: e.GetEtag(), Decision: d})
	after := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["decisions"]++
	switch why := reason(err); {
	case passing(err):
		m.unsure++
	case err == nil:
		m.checkDecision(decision, res.GetEntry())
	case why == "ENTRY_ALREADY_DECIDED":
		if !m.ever[e.GetId()][decision.other] {
			m.t.Errorf("%s was decided about by nobody: %v", e.GetId(), err)
		}
	case why == "CONFLICT", why == "ENTRY_NOT_FOUND":
		g, mine := decision.guest, m.meant[e.GetEtag()]
		alone := mine[decision.status]+mine[decision.other] == 1 && len(m.meantAll[e.GetId()]) == 0
		if decision.waits && alone && g.version == decision.version && g.last.GetExpireTime().AsTime().After(after) {
			m.t.Errorf("%s waits and cannot be decided about: %v", e.GetId(), err)
		}
		m.counts[why]++
	default:
		m.t.Errorf("a host cannot decide: %v", err)
	}
}

func (m *lobbyModel) beginDecision(e *usherv1.Entry, d usherv1.Decision) modelDecision {
	before := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	decision := modelDecision{entry: e, status: accepted, other: denied, guest: m.byID[e.GetId()], givenUp: m.givenUp[e.GetEtag()]}
	if d == deny {
		decision.status, decision.other = denied, accepted
	}
	if g := decision.guest; g != nil {
		decision.version = g.version
		decision.waits = g.last.GetEtag() == e.GetEtag() && m.surelyWaits(g, before)
		decision.forgotten = !g.busy && !g.unsure && !g.cancelled && g.stream == nil && g.last.GetStatus() == waiting &&
			!m.perhapsDecided(g) && before.After(g.last.GetExpireTime().AsTime().Add(modelGrace))
	}
	m.mean(e.GetId(), e.GetEtag(), decision.status)
	return decision
}

// checkDecision holds a decision that was confirmed against what was known. The lock must be held.
func (m *lobbyModel) checkDecision(d modelDecision, is *usherv1.Entry) {
	id := d.entry.GetId()
	if is.GetStatus() != d.status {
		m.t.Errorf("%s: decided %v, answered %v", id, d.status, is.GetStatus())
	}
	if was, ok := m.made[is.GetEtag()]; ok && was != d.status {
		m.t.Errorf("%s: two decisions, %v and %v", id, was, d.status)
	}
	if is.GetEtag() == d.entry.GetEtag() && d.givenUp && d.status == accepted {
		m.t.Errorf("%s was let in after giving up", id)
	}
	if d.forgotten && d.guest.version == d.version {
		m.t.Errorf("%s was decided about after they were forgotten", id)
	}
	m.made[is.GetEtag()] = d.status
	m.counts["made"]++
}

// decideAll decides about some of a list.
func (m *lobbyModel) decideAll(h *modelHost, s usherv1connect.LobbyServiceClient, some []*usherv1.Entry, d usherv1.Decision) {
	status := accepted
	if d == deny {
		status = denied
	}
	var ids []string
	m.mu.Lock()
	for _, e := range some {
		ids = append(ids, e.GetId())
		m.mean(e.GetId(), "", status)
	}
	m.mu.Unlock()
	res, err := s.DecideAllEntries(m.t.Context(), &usherv1.DecideAllEntriesRequest{Room: h.room, Entries: shown(some...), Decision: d})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts["decisions about several"]++
	for _, id := range ids {
		for i, a := range m.meantAll[id] {
			if a.status == status && a.ended.IsZero() {
				m.meantAll[id][i].ended = time.Now()
				break
			}
		}
	}
	switch {
	case passing(err):
		m.unsure++
	case err != nil:
		m.t.Errorf("a host cannot decide about several: %v", err)
	case len(res.GetDecided())+len(res.GetSkipped()) != len(ids):
		m.t.Errorf("of %d entries %d are decided and %d skipped", len(ids), len(res.GetDecided()), len(res.GetSkipped()))
	}
}

// guestOp is what one guest does, by chance.
func (m *lobbyModel) guestOp(random *rand.Rand) {
	g, s := m.guests[random.IntN(len(m.guests))], m.servers[random.IntN(len(m.servers))]
	switch n := random.IntN(100); {
	case n < 55:
		m.knock(g, s, "")
	case n < 67:
		m.knock(g, s, "Guest "+strconv.Itoa(random.IntN(3)))
	case n < 75:
		m.cancel(g, s)
	case n < 95:
		m.watch(g, s)
	default:
		m.hangUp(g)
	}
}

// hostOp is what one host does, by chance.
func (m *lobbyModel) hostOp(random *rand.Rand) {
	h := m.hosts[random.IntN(len(m.hosts))]
	s := h.clients[random.IntN(len(h.clients))]
	h.mu.Lock()
	seen := h.seen
	h.mu.Unlock()
	if n := random.IntN(10); n < 6 || len(seen) == 0 {
		seen = m.list(h, s)
		h.mu.Lock()
		h.seen = seen
		h.mu.Unlock()
	}
	if len(seen) == 0 {
		return
	}
	d := allow
	if random.IntN(2) == 0 {
		d = deny
	}
	if random.IntN(8) == 0 {
		from := random.IntN(len(seen))
		m.decideAll(h, s, seen[from:min(len(seen), from+5)], d)
		return
	}
	m.decide(h, s, seen[random.IntN(len(seen))], d)
}

// show follows a host's stream until ctx is done.
func (m *lobbyModel) show(ctx context.Context, h *modelHost, s usherv1connect.LobbyServiceClient) {
	for ctx.Err() == nil {
		w, err := s.WatchWaiting(ctx, &usherv1.WatchWaitingRequest{Room: h.room})
		if err != nil {
			continue
		}
		for w.Receive() {
			if snapshot := w.Msg().GetSnapshot(); snapshot != nil {
				h.mu.Lock()
				h.shown = snapshot.GetEntries()
				h.mu.Unlock()
			}
		}
		if err := w.Err(); err != nil && ctx.Err() == nil && !passing(err) {
			m.t.Errorf("a host's stream ended with %v", err)
		}
		_ = w.Close()
	}
}

// atRate begins n operations, so many a second, and waits for them. Each has its own choices, which the seed says.
func atRate(perSecond int, seed, kind uint64, slots chan struct{}, op func(*rand.Rand)) {
	var group sync.WaitGroup
	defer group.Wait()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for n := range uint64(perSecond) * uint64(modelTime/time.Second) {
		<-tick.C
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			op(rand.New(rand.NewPCG(seed, kind<<32|n)))
		})
	}
}

// A thousand guests and twenty hosts do what they like for a minute, through three servers: no entry is lost, no decision is
// undone or made twice, nobody is admitted without one, and who lapses does so by Redis' clock. USHER_TEST_SEED repeats what
// everybody chooses, if not the order in which it arrives.
func TestLobbyModel(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	m := newLobbyModel(t)
	ctx, hangUp := context.WithCancel(t.Context())
	var shows sync.WaitGroup
	for n, h := range m.hosts {
		shows.Go(func() { m.show(ctx, h, h.clients[n%len(h.clients)]) })
	}
	slots := make(chan struct{}, modelAtOnce)
	var ops sync.WaitGroup
	ops.Go(func() { atRate(modelGuestOps, seed, 1, slots, m.guestOp) })
	ops.Go(func() { atRate(modelHostOps, seed, 2, slots, m.hostOp) })
	ops.Wait()
	m.settle()
	hangUp()
	shows.Wait()
	for _, g := range m.guests {
		if g.stream != nil {
			g.stream.hangUp()
			<-g.stream.ended
		}
	}
	t.Logf("%v, %d of unknown outcome", m.counts, m.unsure)
	for what, least := range map[string]int{"made": 50, "told": 10, "surely listed": 1000, "knocks": 1000, "cancels": 50, "decisions about several": 10} {
		if m.counts[what] < least {
			t.Errorf("%s: %d, want %d at least: the test proves nothing", what, m.counts[what], least)
		}
	}
}

// newLobbyModel starts three servers, and puts hosts and guests in front of them.
func newLobbyModel(t *testing.T) *lobbyModel {
	t.Helper()
	m := &lobbyModel{
		t: t, byID: map[string]*modelGuest{}, meant: map[string]map[usherv1.EntryStatus]int{}, made: map[string]usherv1.EntryStatus{},
		givenUp: map[string]bool{}, meantAll: map[string][]meantAll{}, ever: map[string]map[usherv1.EntryStatus]bool{}, counts: map[string]int{},
	}
	m.first = start(t, func(c *settings.Config) {
		c.Lobby.MaxWaiting = modelGuests
		c.Lobby.Waiting, c.Lobby.Grace, c.Lobby.Denied = modelWaiting, modelGrace, modelDenied
		c.Streams = settings.StreamsConfig{Heartbeat: 2 * time.Second, MaxAge: 15 * time.Second}
	})
	instances := []*instance{m.first, m.first.sibling(), m.first.sibling()}
	var transports []*http.Client
	for _, i := range instances {
		c := h2c(t)
		transports = append(transports, c)
		m.servers = append(m.servers, usherv1connect.NewLobbyServiceClient(c, i.URL))
	}
	var rooms []string
	for n := range modelRooms {
		rooms = append(rooms, m.first.restricted(m.first.user("Ada Of Models "+strconv.Itoa(n))).GetId())
	}
	for n := range modelHosts {
		u := m.first.user("Host Of Models " + strconv.Itoa(n))
		h := &modelHost{room: rooms[n%modelRooms]}
		m.first.member(u, h.room, administrator)
		token := bearer(m.first.apiToken(u, "rooms"))
		for k, i := range instances {
			h.clients = append(h.clients, usherv1connect.NewLobbyServiceClient(transports[k], i.URL, token))
		}
		m.hosts = append(m.hosts, h)
	}
	for n := range modelGuests {
		m.guests = append(m.guests, &modelGuest{room: rooms[n%modelRooms]})
	}
	return m
}

// settle waits until nothing is under way: every stream of a host shows what is listed, and every guest who watches has been
// told what was decided.
func (m *lobbyModel) settle() {
	for _, h := range m.hosts {
		eventually(m.t, "a host's stream shows what is listed", func() bool {
			listed := m.list(h, h.clients[0])
			h.mu.Lock()
			defer h.mu.Unlock()
			return slices.EqualFunc(listed, h.shown, func(a, b *usherv1.Entry) bool {
				return a.GetId() == b.GetId() && a.GetEtag() == b.GetEtag()
			})
		})
	}
	for _, g := range m.guests {
		if g.stream == nil || g.ticket == "" {
			continue
		}
		eventually(m.t, "a guest who watches is told the decision", func() bool {
			m.knock(g, m.servers[0], "")
			return g.stream.over() || g.last.GetStatus() == waiting && !g.unsure
		})
	}
	// Everybody once more, those who lapsed and those who were let in.
	for n, g := range m.guests {
		if g.ticket != "" {
			m.knock(g, m.servers[n%len(m.servers)], "")
		}
	}
}
