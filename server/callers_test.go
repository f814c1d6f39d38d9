package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/settings"
)

// faultyLiveKit stands between a server and LiveKit's API, and answers 500 to the calls that a test names.
type faultyLiveKit struct {
	URL string

	mu    sync.Mutex
	fails []string
	calls []apiCall
}

// apiCall is a call that was answered.
type apiCall struct {
	method string
	body   []byte
	done   time.Time
}

func newFaultyLiveKit(t *testing.T, lk *testenv.LiveKitServer) *faultyLiveKit {
	t.Helper()
	target, err := url.Parse(lk.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := &faultyLiveKit{}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller gave up
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.mu.Lock()
		fails := slices.Contains(f.fails, method)
		f.mu.Unlock()
		if fails {
			http.Error(w, "the test says no", http.StatusInternalServerError)
		} else {
			forward.ServeHTTP(w, r)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls = append(f.calls, apiCall{method: method, body: body, done: time.Now()})
	}))
	t.Cleanup(front.Close)
	f.URL = front.URL
	return f
}

// fail has calls of these methods fail from now on, and no others.
func (f *faultyLiveKit) fail(methods ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = methods
}

// count is how often a method was called.
func (f *faultyLiveKit) count(method string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c.method == method {
			n++
		}
	}
	return n
}

// last is when the last of the first calls of these methods was answered that were about an identity.
func (f *faultyLiveKit) last(identity string, methods ...string) (last time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, method := range methods {
		i := slices.IndexFunc(f.calls, func(c apiCall) bool {
			return c.method == method && bytes.Contains(c.body, []byte(identity))
		})
		if i >= 0 && f.calls[i].done.After(last) {
			last = f.calls[i].done
		}
	}
	return last
}

// relay takes LiveKit's events to a server, and can lose them.
type relay struct {
	URL string

	mu    sync.Mutex
	lost  bool
	since map[string]time.Time
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{since: map[string]time.Time{}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil || r.take(body) {
			return
		}
		forward, err := http.NewRequestWithContext(req.Context(), http.MethodPost, to, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		forward.Header = req.Header.Clone()
		res, err := http.DefaultClient.Do(forward)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = res.Body.Close() // only the status counts
		w.WriteHeader(res.StatusCode)
	}))
	t.Cleanup(front.Close)
	r.URL = front.URL
	return r
}

// take notes when an event came, and reports whether it is lost.
func (r *relay) take(body []byte) (lost bool) {
	var event struct {
		Event       string
		Participant struct{ Identity string }
	}
	_ = json.Unmarshal(body, &event) // what is none has no identity
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.since[event.Participant.Identity]; event.Event == "participant_joined" && !known {
		r.since[event.Participant.Identity] = time.Now()
	}
	return r.lost
}

// lose loses all events from now on, though LiveKit is told that they arrived.
func (r *relay) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = true
}

// joined is when the event came that somebody joined.
func (r *relay) joined(identity string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since[identity]
}

// A caller who cannot be held is removed, whichever half of a hold fails.
func TestHoldFailsClosed(t *testing.T) {
	t.Parallel()
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})
	faulty := newFaultyLiveKit(t, lk)
	p := startPhoneFixtureOn(t, lk, restrictedRoom, phonesWait, func(c *settings.Config) { c.LiveKit.URL = faulty.URL })
	p.open()
	for number, method := range map[string]string{"+4917000000001": "UpdateParticipant", "+4917000000002": "MutePublishedTrack"} {
		faulty.fail(method)
		before := faulty.count(method)
		began := time.Now()
		p.dialRefused(number)
		t.Logf("%s fails: removed after %v", method, time.Since(began).Round(time.Millisecond))
		// Five times, or as often as there is time for.
		if tries := faulty.count(method) - before; tries < 2 {
			t.Errorf("%s was tried %d times, want it tried again before the caller is removed", method, tries)
		}
	}
	// Nobody else is.
	faulty.fail()
	call := p.dial("+4917000000003", dialled, p.pin)
	p.untilHeld(call)
	p.web.Hears(p.second().Identity())
}

// A hold that cannot be lifted stays, and the host is told why.
func TestHoldCannotBeLifted(t *testing.T) {
	t.Parallel()
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), NoRemoteUnmute: true})
	p := startPhoneFixtureOn(t, lk, restrictedRoom, phonesWait)
	p.open()
	call := p.dial("+4917012345678", dialled, p.pin)
	p.untilHeld(call)
	_, err := p.decide(allow)
	wantReason(t, err, "LIVEKIT_UNAVAILABLE")
	if !strings.Contains(err.Error(), "room.enable_remote_unmute") {
		t.Errorf("the host is told %q, want what the operator must switch on", err)
	}
	p.untilHeld(call)
	e := p.waitingCall()
	res := must[*usherv1.DecideAllEntriesResponse](t)(p.host.DecideAllEntries(t.Context(), &usherv1.DecideAllEntriesRequest{
		Room: p.room, Entries: shown(e), Decision: allow,
	}))
	if len(res.GetDecided()) != 0 || !slices.Equal(res.GetSkipped(), []string{e.GetId()}) {
		t.Errorf("decided %v, skipped %v; want it skipped", res.GetDecided(), res.GetSkipped())
	}
	p.untilHeld(call)
	p.waitingCall()
	p.silent(call)
}

// A room that refuses callers cannot be called; who is there all the same is removed, and its other people stay.
func TestPhonePolicyRefuse(t *testing.T) {
	t.Parallel()
	p := startPhoneFixture(t, restrictedRoom, phonesRefused)
	_, err := p.clients(bearer(phoneServiceToken)).OpenDialIn(t.Context(), &usherv1.OpenDialInRequest{RoomId: p.room})
	wantReason(t, err, "TELEPHONY_DISABLED")
	if rules := p.bridge.Rules(); len(rules) != 0 {
		t.Errorf("rules = %+v, want none", rules)
	}
	p.pin = "9999999999"
	p.bridge.AddRule(phone.Rule{Name: "somebody else's", Room: p.room, PIN: p.pin, HidesNumber: true})
	p.dialRefused("+4917012345678")
	if waiting := p.list(p.host, p.room); len(waiting) != 0 {
		t.Errorf("waiting = %v, want nobody", waiting)
	}
	p.second().Hears(p.web.Identity())
}

// Where callers enter directly they are heard at once, and stay when the room gets a lobby for others.
func TestPhonePolicyDirect(t *testing.T) {
	t.Parallel()
	p := startPhoneFixture(t, restrictedRoom, phonesDirect)
	p.open()
	call := p.dial("+4917012345678", dialled, p.pin)
	p.web.Hears(call.Identity())
	call.Hears(p.web.Identity())
	p.until("the caller is known", func() bool { x, _ := p.caller(call); return x.Attributes["lobby"] == "admitted" })
	p.setPolicy(restrictedRoom, usherv1.PhonePolicy_PHONE_POLICY_LOBBY)
	held := p.dial("+4917087654321", dialled, p.pin)
	p.untilHeld(held)
	p.web.Hears(call.Identity())
	call.Hears(p.web.Identity())
	// And who waits is let in when callers enter directly again.
	p.setPolicy(restrictedRoom, phonesDirect)
	p.web.Hears(held.Identity())
	held.Hears(p.web.Identity())
	if waiting := p.list(p.host, p.room); len(waiting) != 0 {
		t.Errorf("waiting = %v, want nobody", waiting)
	}
}

// A public room has no lobby, unless it is said to have one for callers.
func TestPhonePolicyPublic(t *testing.T) {
	t.Parallel()
	p := startPhoneFixture(t, publicRoom, phonesWait)
	p.open()
	call := p.dial("+4917012345678", dialled, p.pin)
	p.web.Hears(call.Identity())
	call.HangUp()
	p.setPolicy(publicRoom, usherv1.PhonePolicy_PHONE_POLICY_LOBBY)
	call = p.dial("+4917012345678", dialled, p.pin)
	p.untilHeld(call)
	list := watchWaiting(t, p.host, p.room)
	untilList(list, "Phone ··· 5678")
	if _, err := p.decide(allow); err != nil {
		t.Fatal(err)
	}
	untilList(list)
	p.web.Hears(call.Identity())
}

// Who is turned away is gone, and so is the next call with that number; another number may ask, and so may everybody who
// withholds theirs.
func TestPhoneDenied(t *testing.T) {
	t.Parallel()
	p := startPhoneFixture(t, restrictedRoom, phonesWait)
	p.open()
	turnAway := func(number string) {
		t.Helper()
		call := p.dial(number, dialled, p.pin)
		p.untilHeld(call)
		e, err := p.decide(deny)
		if err != nil || e.GetStatus() != denied {
			t.Fatalf("decision = %v, %v", e, err)
		}
		call.WaitGone()
	}
	turnAway("+4917012345678")
	turnAway(phone.Withheld)

	p.dialRefused("+4917012345678")
	other := p.dial("+4917087654321", dialled, p.pin)
	p.untilHeld(other)
	withheld := p.dial(phone.Withheld, dialled, p.pin)
	p.untilHeld(withheld)
	want := []string{"Phone ··· 4321", "Phone (withheld)"}
	p.until("both wait", func() bool { return slices.Equal(p.list(p.host, p.room), want) })
	for _, e := range p.decisions() {
		if e.GetAction() != "entry.denied" || !strings.HasPrefix(e.GetDetail(), "call=SCL_") || strings.Contains(e.GetDetail(), "sip_") {
			t.Errorf("on record is %v, want a denial of a call, and nothing of its number", e)
		}
	}
	x, _ := p.caller(other)
	must[*usherv1.RemoveParticipantResponse](t)(p.host.RemoveParticipant(t.Context(), &usherv1.RemoveParticipantRequest{
		Room: p.room, ParticipantIdentity: x.Identity, BlockDuration: durationpb.New(time.Hour),
	}))
	other.WaitGone()
	p.until("who was removed does not wait", func() bool { return slices.Equal(p.list(p.host, p.room), want[1:]) })
	p.dialRefused("+4917087654321")
	p.noNumbers()
}

// noNumbers checks that nothing that is kept tells who called: LiveKit makes identities of numbers.
func (p *phoneFixture) noNumbers() {
	p.t.Helper()
	states, err := p.DB.Read.ParticipantState.Query().All(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	events, err := p.DB.Read.AuditEvent.Query().All(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if kept := fmt.Sprint(states, events); strings.Contains(kept, "sip_") {
		p.t.Errorf("what is kept tells who called: %s", kept)
	}
}

// decisions are those about entries that are on record.
func (p *phoneFixture) decisions() (found []*usherv1.AuditEvent) {
	p.t.Helper()
	for _, e := range must[*usherv1.ListAuditEventsResponse](p.t)(p.host.ListAuditEvents(
		p.t.Context(), &usherv1.ListAuditEventsRequest{Room: p.room})).GetEvents() {
		if strings.HasPrefix(e.GetTarget(), "entry:") {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		p.t.Error("no decision is on record")
	}
	return found
}

// A meeting in which only callers are left ends after the grace, and not when somebody comes back.
func TestPhoneGrace(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Second
	p := startPhoneFixture(t, restrictedRoom, phonesDirect, func(c *settings.Config) { c.Callers.Grace = grace })
	p.open()
	call := p.dial("+4917012345678", dialled, p.pin)
	p.web.Hears(call.Identity())
	p.web.Room.Disconnect()
	time.Sleep(grace / 2)
	back := p.second()
	time.Sleep(grace)
	call.Hears(back.Identity())
	back.Room.Disconnect()
	began := time.Now()
	call.WaitGone()
	if took := time.Since(began); took < grace {
		t.Errorf("the meeting ended after %v, want %v", took, grace)
	}
	p.until("no meeting", func() bool { return len(p.liveRooms(t)) == 0 })
}
