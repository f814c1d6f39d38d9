package telephony

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/pin"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// numbers are those of the trunks of the tests, in order.
var numbers = []string{"+33123456789", "+3222222222", "+4930123456"}

// fixture is a service with a real livekit-server, a gate in front of it, and trunks.
type fixture struct {
	*Service
	t      *testing.T
	gate   *gate
	bridge *phone.Bridge
	server *testenv.LiveKitServer
	client *livekit.Client
	// trunks are LiveKit's ids; the numbers are those of numbers.
	trunks []string
	log    *testenv.Log
	// registry has the metrics of the fixture's own service.
	registry *prometheus.Registry
}

// newFixture makes a service with so many trunks, all of which are in the settings.
func newFixture(t *testing.T, db *dbtx.DB, trunks int) *fixture {
	t.Helper()
	w := &fixture{t: t, log: &testenv.Log{}, server: testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})}
	w.bridge = phone.New(t, w.server)
	w.gate = newGate(t, w.server.URL)
	for _, number := range numbers[:trunks] {
		w.trunks = append(w.trunks, w.bridge.Trunk("test", number))
	}
	w.Service, w.client = w.replica(db)
	return w
}

// replica makes one more server of the same instance.
func (w *fixture) replica(db *dbtx.DB) (*Service, *livekit.Client) {
	w.t.Helper()
	c, err := livekit.New(livekit.Config{URL: w.gate.url, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.registry = prometheus.NewRegistry()
	s := &Service{
		Survey: Survey{DB: db, LiveKit: c, Trunks: &Trunks{LiveKit: c, Enabled: true, DB: db, Log: log}},
		Keys:   auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil), Limiter: &ratelimit.Limiter{},
		Invitations: noInvitations{}, Log: log, Metrics: NewMetrics(w.registry),
		Random: rand.Reader, PINLength: 10, Rest: 365 * 24 * time.Hour, Lease: 30 * time.Second,
	}
	for _, id := range w.trunks {
		s.Trunks.Configured = append(s.Trunks.Configured, ConfiguredTrunk{ID: id})
	}
	return s, c
}

// in has failures reported as those of a part of the test, until the returned function is called.
func (w *fixture) in(t *testing.T) func() {
	was := w.t
	w.t = t
	return func() { w.t = was }
}

type noInvitations struct{}

func (noInvitations) PINChanged(context.Context, *ent.Client, uuid.UUID, bool) (int, error) {
	return 0, nil
}

// room makes a room with a policy.
func (w *fixture) room(policy usherv1.PhonePolicy) uuid.UUID {
	w.t.Helper()
	var id uuid.UUID
	err := w.DB.Run(w.t.Context(), func(tx *ent.Client) error {
		r, err := tx.Room.Create().SetName("Room").SetNameKey("room").SetSlug("r-" + uuid.NewString() + "-x").
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC).
			SetConfiguration(&usherv1.RoomConfiguration{PhonePolicy: policy}).Save(w.t.Context())
		if err == nil {
			id = r.ID
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

const (
	waiting = usherv1.PhonePolicy_PHONE_POLICY_LOBBY
	direct  = usherv1.PhonePolicy_PHONE_POLICY_DIRECT
	refused = usherv1.PhonePolicy_PHONE_POLICY_REFUSE
)

// setPolicy changes what a room does with people on the phone.
func (w *fixture) setPolicy(room uuid.UUID, policy usherv1.PhonePolicy) {
	w.t.Helper()
	err := w.DB.Run(w.t.Context(), func(tx *ent.Client) error {
		return tx.Room.UpdateOneID(room).SetConfiguration(&usherv1.RoomConfiguration{PhonePolicy: policy}).Exec(w.t.Context())
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// deleteRoom deletes a room as rooms does.
func (w *fixture) deleteRoom(room uuid.UUID) {
	w.t.Helper()
	err := w.DB.Run(w.t.Context(), func(tx *ent.Client) error { return tx.Room.DeleteOneID(room).Exec(w.t.Context()) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// join brings somebody by browser into the meeting of a room.
func (w *fixture) join(room uuid.UUID) *participant.Participant {
	w.t.Helper()
	token, _, err := w.client.Token(meeting.Grant{
		Room: room, Identity: "p_test-" + uuid.NewString(), DisplayName: "Web",
		Sources: []usherv1.TrackSource{usherv1.TrackSource_TRACK_SOURCE_MICROPHONE},
	}, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return participant.Join(w.t, w.server.URL, token)
}

// leave ends somebody's participation and waits until LiveKit knows.
func (w *fixture) leave(room uuid.UUID, p *participant.Participant) {
	w.t.Helper()
	p.Room.Disconnect()
	w.eventually("nobody is in the meeting", func() bool {
		ok, err := w.isLive(w.t.Context(), room)
		return err == nil && !ok
	})
}

// mustOpen opens the dial-in of a room and returns the answer.
func (w *fixture) mustOpen(room uuid.UUID) *usherv1.OpenDialInResponse {
	w.t.Helper()
	res, err := w.OpenDialIn(w.t.Context(), &usherv1.OpenDialInRequest{RoomId: room.String()})
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	return res
}

// mustClose closes the dial-in of a room and returns how many rules that deleted.
func (w *fixture) mustClose(room uuid.UUID) int32 {
	w.t.Helper()
	res, err := w.CloseDialIn(w.t.Context(), &usherv1.CloseDialInRequest{RoomId: room.String()})
	if err != nil {
		w.t.Fatalf("close: %v", err)
	}
	return res.GetDeletedCount()
}

// mustEnd closes the dial-in of a room as the end of its meeting does, without a look at LiveKit's list unless there is doubt
// about the room, and returns how many rules that deleted.
func (w *fixture) mustEnd(room uuid.UUID) int {
	w.t.Helper()
	done, err := w.close(w.t.Context(), room)
	if err != nil {
		w.t.Fatalf("close: %v", err)
	}
	return done.deleted
}

// pinOf is the PIN of a room; "" for none.
func (w *fixture) pinOf(room uuid.UUID) string {
	w.t.Helper()
	p, err := currentPIN(w.t.Context(), w.DB.Read, room)
	if err != nil {
		w.t.Fatal(err)
	}
	if p == nil {
		return ""
	}
	return p.Pin
}

// rulesOf are the rules that LiveKit has of a room.
func (w *fixture) rules(room uuid.UUID) []phone.Rule {
	w.t.Helper()
	var out []phone.Rule
	for _, r := range w.bridge.Rules() {
		if r.Room == room.String() {
			out = append(out, r)
		}
	}
	return out
}

// wantOneRule checks that LiveKit has the one rule of a room, just as it should be, and that the row says so.
func (w *fixture) wantOneRule(room uuid.UUID) phone.Rule {
	w.t.Helper()
	rules := w.rules(room)
	if len(rules) != 1 {
		w.t.Fatalf("%d rules of the room, want one: %+v", len(rules), rules)
	}
	p, err := currentPIN(w.t.Context(), w.DB.Read, room)
	if err != nil || p == nil {
		w.t.Fatalf("PIN of the room: %v, %v", p, err)
	}
	r, err := w.DB.Read.Room.Get(w.t.Context(), room)
	if err != nil {
		w.t.Fatal(err)
	}
	got, waits := rules[0], rules[0].Attributes[meeting.AttributeLobby] == meeting.LobbyWaiting
	on, _ := find(w.Trunks.Known(), p.TrunkID)
	if got.Name != "SIP_"+room.String() || got.PIN != p.Pin || len(got.TrunkIDs) != 1 || got.TrunkIDs[0] != on.ID || !got.HidesNumber ||
		waits != held(r) {
		w.t.Errorf("rule %+v, want that of %s with PIN %s on %s, held %t", got, room, p.Pin, on.ID, held(r))
	}
	row, err := w.row(w.t.Context(), room)
	want := ruleState{ruleID: got.ID, trunkID: on.ID, pinID: p.ID, held: held(r)}
	if err != nil || stateOf(row) != want || row.Lease != nil {
		w.t.Errorf("row %+v, %v, want %+v and no lease", row, err, want)
	}
	return got
}

// wantNoRule checks that LiveKit has no rule of a room, and that the row says so.
func (w *fixture) wantNoRule(room uuid.UUID) {
	w.t.Helper()
	if rules := w.rules(room); len(rules) != 0 {
		w.t.Errorf("rules of the room: %+v, want none", rules)
	}
	row, err := w.row(w.t.Context(), room)
	if err != nil || row != nil && (stateOf(row) != ruleState{} || row.Lease != nil) {
		w.t.Errorf("row %+v, %v, want nothing in it", row, err)
	}
}

// wantAccepted checks who gets into a room by a number and a PIN.
func (w *fixture) wantAccepted(room uuid.UUID, number, pin string) {
	w.t.Helper()
	got, _, err := w.bridge.Ask("+33600000000", number, pin)
	if err != nil || got != room.String() {
		w.t.Errorf("a call to %s: room %q, %v, want %s", number, got, err, room)
	}
}

// wantRefused checks that a PIN opens nothing.
func (w *fixture) wantRefused(number, pin string, want error) {
	w.t.Helper()
	if got, _, err := w.bridge.Ask("+33600000000", number, pin); !errors.Is(err, want) {
		w.t.Errorf("a call to %s: room %q, %v, want %v", number, got, err, want)
	}
}

// eventually waits for something that LiveKit does in its own time.
func (w *fixture) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// resting are the PINs that nobody gets now.
func (w *fixture) resting() []*ent.Pin {
	w.t.Helper()
	all, err := w.DB.Read.Pin.Query().Where(pin.RoomIDIsNil()).All(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// roomCount is how many rooms a trunk has.
func (w *fixture) roomCount(trunk string) int64 {
	w.t.Helper()
	row, err := w.DB.Read.Trunk.Get(w.t.Context(), trunk)
	if ent.IsNotFound(err) {
		return 0
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return row.RoomCount
}

// counted is the value of a counter or gauge with a label of that value.
func (w *fixture) counted(name, label string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// as is a context in which u calls; nil is a stranger.
func as(t *testing.T, u *ent.User) context.Context {
	t.Helper()
	if u == nil {
		return auth.WithCaller(t.Context(), &auth.Caller{AddressPrefix: "192.0.2.0/24"})
	}
	return auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.User, User: u, AllScopes: true})
}

// owner makes a user who owns a room.
func (w *fixture) owner(room uuid.UUID) *ent.User {
	w.t.Helper()
	var u *ent.User
	err := w.DB.Run(w.t.Context(), func(tx *ent.Client) (err error) {
		if u, err = tx.User.Create().SetSub("test-" + uuid.NewString()).SetFullName("Olga").Save(w.t.Context()); err != nil {
			return err
		}
		return tx.Member.Create().SetRoomID(room).SetUserID(u.ID).SetRole(usherv1.Role_ROLE_OWNER).Exec(w.t.Context())
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func wantFault(t *testing.T, err error, want *fault.Error) {
	t.Helper()
	if got, ok := errors.AsType[*fault.Error](err); !ok || !errors.Is(err, want) || got.Code != want.Code {
		t.Errorf("got %v, want %s", err, want.Name())
	}
}

// gate stands in front of LiveKit's API. It counts calls, and makes them fail on purpose.
type gate struct {
	url   string
	mu    sync.Mutex
	calls map[string]int
	// hook decides about a call. It may forward it and answer something else.
	hook func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{calls: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // callers give up on purpose
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := path.Base(r.URL.Path)
		g.mu.Lock()
		g.calls[call]++
		hook := g.hook
		g.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		ctx := r.Context()
		forward := func() *httptest.ResponseRecorder {
			answer := httptest.NewRecorder()
			again := r.Clone(ctx)
			again.Body = io.NopCloser(bytes.NewReader(body))
			proxy.ServeHTTP(answer, again)
			return answer
		}
		if hook == nil {
			hook = func(_ string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder { return forward() }
		}
		answer := hook(call, forward)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// set makes calls fail on purpose; nil mends it.
func (g *gate) set(hook func(call string, forward func() *httptest.ResponseRecorder) *httptest.ResponseRecorder) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = hook
}

// took returns how often calls were made since it was last asked.
func (g *gate) took() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.calls
	g.calls = map[string]int{}
	return was
}

// broken is the answer of a LiveKit that fails.
func broken() *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(http.StatusInternalServerError)
	_, _ = answer.Body.WriteString(`{"code":"internal","msg":"broken on purpose"}`)
	return answer
}

// digits is a source of PINs: those that were written down, and then random ones.
type digits struct {
	mu   sync.Mutex
	pins []string
}

// Read implements io.Reader. Each read is for one PIN: see randomPIN.
func (d *digits) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pins) == 0 {
		return rand.Read(p)
	}
	text := d.pins[0]
	d.pins = d.pins[1:]
	clear(p)
	for i := range text {
		p[i] = text[i] - '0'
	}
	return len(p), nil
}
