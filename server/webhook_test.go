package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tokens "github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent/meetinglife"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/settings"
)

// webhook is an event as LiveKit sent it.
type webhook struct {
	body, token string
	ID, Event   string
	Room        struct{ Name, Sid string }
}

// webhookRelay stands between LiveKit and the servers: it decides what becomes of events.
type webhookRelay struct {
	t      testing.TB
	URL    string
	mu     sync.Mutex
	seen   []webhook
	server *httptest.Server
	// handle answers LiveKit; deliver passes an event on.
	handle func(w webhook) (status int)
}

func newWebhookRelay(t testing.TB) *webhookRelay {
	t.Helper()
	r := &webhookRelay{t: t}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // LiveKit was killed
		}
		e := webhook{body: string(body), token: req.Header.Get("Authorization")}
		if err := json.Unmarshal(body, &e); err != nil {
			t.Errorf("LiveKit sent %q: %v", body, err)
		}
		r.mu.Lock()
		r.seen = append(r.seen, e)
		handle := r.handle
		r.mu.Unlock()
		status := http.StatusServiceUnavailable
		if handle != nil {
			status = handle(e)
		}
		if status == 0 { // the server was not there
			status = http.StatusBadGateway
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.server.Close)
	r.URL = r.server.URL
	return r
}

// set says what becomes of events from now on.
func (r *webhookRelay) set(handle func(w webhook) (status int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handle = handle
}

// events are those that LiveKit sent about a room.
func (r *webhookRelay) events(room string) (list []webhook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.seen {
		if e.Room.Name == room && !slices.ContainsFunc(list, func(x webhook) bool { return x.ID == e.ID }) {
			list = append(list, e)
		}
	}
	return list
}

// listenedTo counts the events that somebody here listens to.
func listenedTo(list []webhook) (n int) {
	kinds := []string{"room_started", "room_finished", "participant_joined", "participant_left", "participant_connection_aborted", "track_published"}
	for _, e := range list {
		if slices.Contains(kinds, e.Event) {
			n++
		}
	}
	return n
}

// deliver sends an event to a server as LiveKit does, and returns the status of the answer, 0 for none.
func deliver(url string, e webhook) (status int) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url+"/webhooks/livekit", strings.NewReader(e.body))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/webhook+json")
	if e.token != "" {
		req.Header.Set("Authorization", e.token)
	}
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// sign makes the Authorization header of a body.
func sign(t testing.TB, body, secret string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	token, err := tokens.NewWithClaims(tokens.SigningMethodHS256, tokens.MapClaims{
		"iss": testenv.LiveKitKey, "exp": time.Now().Add(5 * time.Minute).Unix(), "sha256": base64.StdEncoding.EncodeToString(sum[:]),
	}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// relayed is a server that gets LiveKit's events through a relay, which passes them on to begin with.
func relayed(t testing.TB, change ...func(*settings.Config)) (*instance, *webhookRelay) {
	t.Helper()
	r := newWebhookRelay(t)
	i := startOn(t, testenv.LiveKit(t, r.URL), change...)
	r.set(func(e webhook) int { return deliver(i.URL, e) })
	return i, r
}

// liveKit is a client of LiveKit's API.
func (i *instance) liveKit() *livekit.Client {
	i.t.Helper()
	lk, err := livekit.New(livekit.Config{URL: i.LiveKit.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret})
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(lk.Close)
	return lk
}

// endSession ends the session of a room in LiveKit, as when everybody leaves.
func (i *instance) endSession(room string) {
	i.t.Helper()
	if err := i.liveKit().CloseRoom(i.t.Context(), uuid.MustParse(room)); err != nil {
		i.t.Fatal(err)
	}
}

// number is that of a room's meeting.
func (i *instance) number(room string) int64 {
	i.t.Helper()
	r, err := i.DB.Read.Room.Get(context.WithoutCancel(i.t.Context()), uuid.MustParse(room))
	if err != nil {
		i.t.Fatal(err)
	}
	return r.Meeting
}

// untilNumber waits until a room's meeting has a number.
func (i *instance) untilNumber(room string, want int64) {
	i.t.Helper()
	i.eventually(fmt.Sprintf("the number of the meeting is %d", want), 60*time.Second, func() bool { return i.number(room) == want })
}

func (i *instance) eventually(what string, within time.Duration, ok func() bool) {
	i.t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			i.t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// jobsIn are the jobs of LiveKit's events in some states.
func (i *instance) jobsIn(states ...string) []jobs.Job {
	i.t.Helper()
	return i.jobsOf("livekit.event", states...)
}

// jobsOf are the jobs of a kind in some states, or in all.
func (i *instance) jobsOf(kind string, states ...string) []jobs.Job {
	i.t.Helper()
	client, err := jobs.New(i.DB, nil, jobs.Options{})
	if err != nil {
		i.t.Fatal(err)
	}
	list, err := client.List(context.WithoutCancel(i.t.Context()), jobs.Filter{States: states, Kind: kind, Limit: 10_000})
	if err != nil {
		i.t.Fatal(err)
	}
	return list
}

// untilHandled waits until no event is left to be handled, and none was given up.
func (i *instance) untilHandled(within time.Duration) {
	i.t.Helper()
	i.eventually("all events are handled", within, func() bool { return len(i.jobsIn("waiting", "retrying", "running")) == 0 })
	if dead := i.jobsIn("dead"); len(dead) != 0 {
		i.t.Errorf("given up: %+v", dead)
	}
}

// hosted is a restricted room with its owner in the meeting.
func (i *instance) hosted(name string) (room string, host *clients) {
	i.t.Helper()
	u := i.user(name)
	room = i.restricted(u).GetId()
	return room, i.clients(bearer(i.apiToken(u, "rooms")))
}

// joined joins somebody by their connection.
func joined(t testing.TB, c *usherv1.Connection) *participant.Participant {
	t.Helper()
	return participant.Join(t, c.GetServerUrl(), c.GetToken())
}

// enter has a host join and returns their connection.
func (i *instance) enter(host *clients, room string) *participant.Participant {
	i.t.Helper()
	return joined(i.t, must[*usherv1.JoinRoomResponse](i.t)(host.JoinRoom(i.t.Context(), &usherv1.JoinRoomRequest{Room: room})).GetConnection())
}

// wantOut checks that a guest of a meeting that is over has nothing left of it: not their session, not their place, and not
// their LiveKit token.
func (i *instance) wantOut(guest *clients, room string, e *usherv1.Entry) {
	i.t.Helper()
	_, err := i.clients(bearer(e.GetConnection().GetSessionToken())).RenewConnection(i.t.Context(), &usherv1.RenewConnectionRequest{})
	wantReason(i.t, err, "LOBBY_REQUIRED")
	if back, err := participant.TryJoin(i.t, e.GetConnection().GetServerUrl(), e.GetConnection().GetToken()); err == nil {
		back.WaitGone()
	}
	if again := i.knock(guest, room, "", e.GetTicket()); again.GetStatus() != waiting || again.GetConnection() != nil {
		i.t.Errorf("their entry is %v, want that they wait", again.GetStatus())
	}
}

// A guest who was let into one meeting gets into no later one: neither with the session, nor with the ticket, nor with the
// LiveKit token that is still good. Who was let into that one stays, and so do members.
func TestAdmissionEndsWithTheMeeting(t *testing.T) {
	t.Parallel()
	i := start(t)
	guest := i.clients()
	room, host := i.hosted("Ada Of Admissions")
	i.enter(host, room)
	first := i.admitted(host, guest, room, "First Guest")
	inside := joined(t, first.GetConnection())
	i.endSession(room)
	inside.WaitGone()
	i.untilNumber(room, 1)

	member := i.enter(host, room)
	second := i.admitted(host, guest, room, "Second Guest")
	stays := joined(t, second.GetConnection())
	i.wantOut(guest, room, first)
	renewed, err := i.clients(bearer(second.GetConnection().GetSessionToken())).RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
	if err != nil || renewed.GetConnection().GetToken() == "" {
		t.Errorf("a guest of this meeting renews: %v", err)
	}
	i.untilHandled(60 * time.Second)
	for who, p := range map[string]*participant.Participant{"the member": member, "the guest of this meeting": stays} {
		select {
		case <-p.Disconnected:
			t.Errorf("%s was removed", who)
		default:
		}
	}
	if n := i.number(room); n != 1 {
		t.Errorf("meeting %d, want 1", n)
	}
}

// What LiveKit did not sign, or signed otherwise, is refused and leaves nothing behind. What it did sign has one effect,
// however often somebody who overheard it sends it again.
func TestReplayAndForgery(t *testing.T) {
	t.Parallel()
	i, r := relayed(t)
	room, host := i.hosted("Ada Of Replays")
	i.enter(host, room)
	i.endSession(room)
	i.untilNumber(room, 1)
	i.enter(host, room)
	i.eventually("all is stored until somebody is in the second meeting", 60*time.Second, func() bool {
		list := r.events(room)
		return slices.ContainsFunc(list, func(e webhook) bool { return e.Event == "participant_joined" && e.Room.Sid != list[0].Room.Sid }) &&
			len(i.jobsIn()) == listenedTo(list)
	})
	i.untilHandled(60 * time.Second)
	before := len(i.jobsIn())

	var group sync.WaitGroup
	for _, e := range r.events(room) {
		for range 5 {
			group.Go(func() {
				if status := deliver(i.URL, e); status != http.StatusOK {
					t.Errorf("%s again: %d, want 200", e.Event, status)
				}
			})
		}
	}
	group.Wait()
	i.untilHandled(60 * time.Second)
	if after := len(i.jobsIn()); after != before || i.number(room) != 1 {
		t.Errorf("after the repeats %d events, and meeting %d; want %d, and 1", after, i.number(room), before)
	}

	finished := r.events(room)[slices.IndexFunc(r.events(room), func(e webhook) bool { return e.Event == "room_finished" })]
	other := strings.ReplaceAll(strings.ReplaceAll(finished.body, finished.ID, "EV_test_forged"), finished.Room.Sid, "RM_test_forged")
	old := `{"event":"room_finished","id":"EV_test_old","createdAt":"` + fmt.Sprint(time.Now().Add(-time.Hour).Unix()) +
		`","room":{"name":"` + room + `","sid":"RM_test_old"}}`
	for name, forged := range map[string]struct {
		webhook
		want int
	}{
		"unsigned":                      {webhook{body: finished.body}, 401},
		"another body":                  {webhook{body: other, token: finished.token}, 401},
		"another secret":                {webhook{body: other, token: sign(t, other, "test-another-secret-of-32-characters")}, 401},
		"no secret":                     {webhook{body: other, token: sign(t, other, "")}, 401},
		"this server's own secret":      {webhook{body: other, token: sign(t, other, testSecret)}, 401},
		"a session token of ours":       {webhook{body: other, token: i.session(i.user("Eve Of Forgery")).Value}, 401},
		"signed, and an hour old":       {webhook{body: old, token: sign(t, old, testenv.LiveKitSecret)}, 200},
		"signed, and no event":          {webhook{body: "[]", token: sign(t, "[]", testenv.LiveKitSecret)}, 400},
		"signed, of another program":    {webhook{body: strings.ReplaceAll(other, room, "a-room"), token: sign(t, strings.ReplaceAll(other, room, "a-room"), testenv.LiveKitSecret)}, 200},
		"signed, of a room of the past": {webhook{body: strings.ReplaceAll(other, room, uuid.NewString()), token: ""}, 401},
	} {
		if status := deliver(i.URL, forged.webhook); status != forged.want {
			t.Errorf("%s: %d, want %d", name, status, forged.want)
		}
	}
	i.untilHandled(60 * time.Second)
	if after := len(i.jobsIn()); after != before || i.number(room) != 1 {
		t.Errorf("after the forgeries %d events, and meeting %d; want %d, and 1", after, i.number(room), before)
	}
}

// The answer comes before anything is asked of LiveKit: it comes while LiveKit's API does not answer at all.
func TestWebhook_answersFirst(t *testing.T) {
	t.Parallel()
	r := newWebhookRelay(t)
	lk := testenv.LiveKit(t, r.URL)
	target, err := url.Parse(lk.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	gate, open := make(chan struct{}), false
	var mu sync.Mutex
	gaveUp := 0
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		closed := open
		mu.Unlock()
		if closed {
			// Only a request that was read whole ends with the connection of the client.
			body, _ := io.ReadAll(req.Body)
			req.Body = io.NopCloser(bytes.NewReader(body))
			select {
			case <-gate:
			case <-req.Context().Done():
				mu.Lock()
				gaveUp++
				mu.Unlock()
				return
			}
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(api.Close)
	i := startOn(t, lk, func(c *settings.Config) { c.LiveKit.URL = api.URL })
	r.set(func(e webhook) int { return deliver(i.URL, e) })
	room, host := i.hosted("Ada Of Answers")
	i.enter(host, room)
	i.untilHandled(60 * time.Second)
	mu.Lock()
	open = true // from now on LiveKit is asked and does not answer
	mu.Unlock()
	answered := make(chan time.Duration, 1)
	r.set(func(e webhook) int {
		begin := time.Now()
		status := deliver(i.URL, e)
		if e.Event == "room_finished" {
			if status != http.StatusOK {
				t.Errorf("answered %d, want 200", status)
			}
			answered <- time.Since(begin)
		}
		return status
	})
	i.endSession(room) // asks LiveKit directly
	select {
	case took := <-answered:
		t.Logf("answered after %v", took)
	case <-time.After(30 * time.Second):
		t.Fatal("no answer while LiveKit does not answer")
	}
	if n := i.number(room); n != 0 {
		t.Errorf("meeting %d before LiveKit could be asked, want 0", n)
	}
	close(gate)
	i.untilNumber(room, 1)
	// At the end, because a server notices a moment later that a client gave up.
	mu.Lock()
	defer mu.Unlock()
	if gaveUp != 0 {
		t.Errorf("the webhook was answered after LiveKit had not answered %d times, want before", gaveUp)
	}
}

// Everything that can be wrong with a delivery at once, at two servers: late, in any order, many times, and failing at
// first. Three rooms live twice meanwhile. What remains is as if each event had come once.
func TestWebhookTorture(t *testing.T) {
	t.Parallel()
	i, r := relayed(t)
	two := i.sibling()
	var late sync.WaitGroup
	failed := map[string]bool{}
	var mu sync.Mutex
	r.set(func(e webhook) int {
		mu.Lock()
		again := failed[e.ID]
		failed[e.ID] = true
		mu.Unlock()
		if !again && rand.IntN(5) == 0 {
			return http.StatusInternalServerError // LiveKit tries again
		}
		for n := range 6 {
			late.Go(func() {
				time.Sleep(rand.N(2 * time.Second)) // how long a delivery takes
				deliver([]string{i.URL, two.URL}[n%2], e)
			})
		}
		return http.StatusOK
	})
	const sessions = 2
	var rooms []string
	var group sync.WaitGroup
	for n := range 3 {
		room, host := i.hosted(fmt.Sprint("Ada Of Torture ", n))
		rooms = append(rooms, room)
		group.Go(func() {
			for range sessions {
				people := []*participant.Participant{i.enter(host, room), i.enter(host, room)}
				people[0].Room.Disconnect()
				i.endSession(room)
				people[1].WaitGone()
			}
		})
	}
	group.Wait()
	for _, room := range rooms {
		i.eventually("LiveKit has told everything", 60*time.Second, func() bool {
			finished := 0
			for _, e := range r.events(room) {
				if e.Event == "room_finished" {
					finished++
				}
			}
			return finished == sessions
		})
	}
	late.Wait()
	i.untilHandled(120 * time.Second)
	events := 0
	for _, room := range rooms {
		if n := i.number(room); n != sessions {
			t.Errorf("meeting %d, want %d", n, sessions)
		}
		events += listenedTo(r.events(room))
		r := i.DB.Read.Room.GetX(t.Context(), uuid.MustParse(room))
		if r.MeetingSid != nil {
			t.Errorf("session %s goes on", *r.MeetingSid)
		}
	}
	if done := i.jobsIn("done"); len(done) != events {
		t.Errorf("%d events were handled, want %d", len(done), events)
	}
}

// What LiveKit tells of one session of a room comes after the next one has begun, the last first; all of it, or all but its beginning.
// The second meeting is not harmed by it, and nobody of the first gets into it.
func TestOutOfOrderSessions(t *testing.T) {
	t.Parallel()
	for name, heard := range map[string]bool{"the first session was heard of": true, "the first session was not heard of": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, r := relayed(t)
			guest := i.clients()
			var mu sync.Mutex
			var held []webhook
			r.set(func(e webhook) int {
				if heard && e.Event == "room_started" {
					return deliver(i.URL, e)
				}
				mu.Lock()
				defer mu.Unlock()
				held = append(held, e)
				return http.StatusOK
			})
			room, host := i.hosted("Ada Of Disorder")
			i.enter(host, room)
			first := i.admitted(host, guest, room, "First Guest")
			inside := joined(t, first.GetConnection())
			i.endSession(room)
			inside.WaitGone()
			i.eventually("the end of the first session was told", 60*time.Second, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return slices.ContainsFunc(held, func(e webhook) bool { return e.Event == "room_finished" })
			})
			mu.Lock()
			ofFirst := held
			mu.Unlock()

			// The second session, whose events are delivered at once.
			r.set(func(e webhook) int { return deliver(i.URL, e) })
			owner := i.enter(host, room)
			i.eventually("the second session was heard of", 60*time.Second, func() bool {
				r := i.DB.Read.Room.GetX(t.Context(), uuid.MustParse(room))
				return r.MeetingSid != nil && *r.MeetingSid != ofFirst[0].Room.Sid
			})
			began := i.DB.Read.MeetingLife.Query().Where(meetinglife.IDNEQ(ofFirst[0].Room.Sid)).OnlyX(t.Context()).StartTime
			i.eventually("the second in which it began is over", 10*time.Second, func() bool {
				return time.Now().After(began.Truncate(time.Second).Add(time.Second))
			})
			second := i.admitted(host, guest, room, "Second Guest")
			stays := joined(t, second.GetConnection())
			for _, e := range slices.Backward(ofFirst) {
				if status := deliver(i.URL, e); status != http.StatusOK {
					t.Errorf("%s: %d", e.Event, status)
				}
			}
			i.untilNumber(room, 1)
			i.untilHandled(60 * time.Second)
			i.wantOut(guest, room, first)
			_, err := i.clients(bearer(second.GetConnection().GetSessionToken())).RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
			if err != nil {
				t.Errorf("the guest of this meeting renews: %v", err)
			}
			i.untilHandled(60 * time.Second)
			for who, p := range map[string]*participant.Participant{"the owner": owner, "the guest of this meeting": stays} {
				select {
				case <-p.Disconnected:
					t.Errorf("%s was removed", who)
				default:
				}
			}
			if n := i.number(room); n != 1 {
				t.Errorf("meeting %d, want 1", n)
			}
		})
	}
}

// No event arrives at all. The sweep finds what was missed: that a meeting ended, that another one began, and who is in it
// without having been let in; and that LiveKit was started anew.
func TestLostWebhooks(t *testing.T) {
	t.Parallel()
	i, r := relayed(t, func(c *settings.Config) { c.LiveKit.Sweep = time.Second })
	r.set(func(webhook) int { return http.StatusBadGateway })
	guest := i.clients()
	room, host := i.hosted("Ada Of Losses")
	i.enter(host, room)
	i.eventually("the meeting is found", 60*time.Second, func() bool {
		return i.DB.Read.Room.GetX(t.Context(), uuid.MustParse(room)).MeetingSid != nil
	})
	first := i.admitted(host, guest, room, "First Guest")
	inside := joined(t, first.GetConnection())
	i.endSession(room)
	inside.WaitGone()
	i.enter(host, room)
	i.untilNumber(room, 1)
	i.wantOut(guest, room, first)
	i.LiveKit.Kill()
	i.LiveKit.Restart()
	i.untilNumber(room, 2)
	if len(i.jobsIn()) != 0 {
		t.Errorf("events arrived: %v", i.jobsIn())
	}
}

// startChild runs a server as a process of its own.
func startChild(t testing.TB, s childSettings) *testenv.Process {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	p := testenv.StartWith(t, []string{childVariable + "=" + string(text)}, os.Args[0])
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get("http://" + s.Listen + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return p
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not begin: %v\n%s", err, p.Output())
		}
	}
}

// through returns an address with another host and port.
func through(t testing.TB, address string) (*testenv.Proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p := testenv.NewProxy(t, u.Host)
	u.Host = p.Address
	return p, u.String()
}

// A server is killed at each step between LiveKit's event and its last effect. Another one, or the same after a restart,
// brings everything to the same end.
func TestCrashBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"before the event is stored", "before LiveKit is asked", "before the lobby ends", "after everything"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			r := newWebhookRelay(t)
			lk, redis, database := testenv.LiveKit(t, r.URL), testenv.Redis(t), testenv.PostgresURL(t)
			listen, _ := listenForWebhooks(t)
			s := childSettings{Listen: listen, ClientURL: strings.Replace(lk.URL, "http", "ws", 1)}
			slowDatabase, databaseURL := through(t, database)
			slowLiveKit, liveKitURL := through(t, lk.URL)
			slowRedis := testenv.NewProxy(t, redis.Address)
			s.Places = places{Database: databaseURL, Redis: slowRedis.Address, LiveKit: liveKitURL}
			s.Sweep = time.Hour // what ends the meeting is the event
			crashing := startChild(t, s)
			i := outside(t, "http://"+listen, database, redis, lk)
			r.set(func(e webhook) int {
				if e.Event == "room_finished" && step == "before the event is stored" {
					slowDatabase.Silence()
				}
				return deliver(i.URL, e)
			})
			guest := i.clients()
			room, host := i.hosted("Ada Of Crashes")
			i.enter(host, room)
			e := i.admitted(host, guest, room, "Some Guest")
			inside := joined(t, e.GetConnection())
			i.untilHandled(60 * time.Second)
			handled := len(i.jobsIn())

			told := func() bool {
				return slices.ContainsFunc(r.events(room), func(e webhook) bool { return e.Event == "room_finished" })
			}
			stored := func() bool { return len(i.jobsIn("running", "waiting", "retrying")) > 0 }
			reached := map[string]func() bool{
				"before the event is stored": told,
				"before LiveKit is asked":    func() bool { return told() && stored() },
				"before the lobby ends":      func() bool { return i.number(room) == 1 },
				"after everything":           func() bool { return told() && len(i.jobsIn()) > handled && !stored() },
			}
			switch step {
			case "before LiveKit is asked":
				slowLiveKit.Silence()
			case "before the lobby ends":
				slowRedis.Silence()
			}
			i.endSession(room)
			inside.WaitGone()
			i.eventually("the step is reached", 60*time.Second, reached[step])
			crashing.Kill()

			s.Places = places{Database: database, Redis: redis.Address, LiveKit: lk.URL}
			s.Sweep = 2 * time.Second
			startChild(t, s)
			i.untilNumber(room, 1)
			i.enter(host, room)
			i.wantOut(guest, room, e)
			// What the dead server had begun is found after its timeout, half a minute, and the time of a leader.
			i.untilHandled(200 * time.Second)
			if n := i.number(room); n != 1 {
				t.Errorf("meeting %d, want 1", n)
			}
		})
	}
}

// outside is a server that is a process of its own, as its clients see it.
func outside(t testing.TB, address, database string, redis *testenv.RedisServer, lk *testenv.LiveKitServer) *instance {
	t.Helper()
	db, err := dbtx.Open(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return &instance{
		t: t, URL: address, Redis: redis.Client(t), LiveKit: lk, Keys: auth.NewKeys([]byte(testSecret), nil),
		log: &testenv.Log{}, secrets: &secrets{}, DB: db,
	}
}
