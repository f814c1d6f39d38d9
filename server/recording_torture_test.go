package server_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
)

// How the torture of recordings is done.
const (
	tortureRooms = 5
	// tortureTime is how long things go wrong, and twice that on a machine that is too busy for so many recordings. After
	// that all is to come to a true end.
	tortureTime       = 25 * time.Second
	tortureRecordings = 12
	// tortureCalm is how long that may take: what a server that was killed had begun is found when another one has become
	// the leader of its jobs.
	tortureCalm = 120 * time.Second
	// betweenKills is how long a server lives at least.
	betweenKills = 2500 * time.Millisecond
)

// torture is a LiveKit, a recorder, a store and a mail server, with servers of Usher's that are killed at any moment. All
// are real, but everything between them goes wrong.
type torture struct {
	*instance // as the outside sees it
	seed      uint64
	redis     *testenv.RedisServer
	s3        *testenv.S3Server
	mails     *testenv.SMTPServer
	servers   []*mortal
	rooms     []*tortureRoom
	// friend is an owner of all recordings, and never there.
	friend *ent.User
	// wild is over when all is to become calm.
	wild atomic.Bool
	// choices counts those about faults, each of which has its own random numbers.
	choices atomic.Uint64

	mu       sync.Mutex
	recorder *recorder.Recorder
	scripts  map[string]recorder.Script
	kills    []time.Time
	faults   map[string]int
}

// mortal is a server that is a process of its own, and is started again when it was killed.
type mortal struct {
	*instance
	process *testenv.Process
	mu      sync.Mutex
	born    time.Time
}

// tortureRoom is a room in which one recording follows another.
type tortureRoom struct {
	id    string
	owner *ent.User
	hosts []*clients // of each server
	in    *participant.Participant
}

// kill kills the server and starts it again, unless it was killed just before.
func (m *torture) kill(s *mortal) {
	if !m.wild.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.born) < betweenKills {
		return
	}
	s.process.Kill()
	m.mu.Lock()
	m.kills = append(m.kills, time.Now())
	m.mu.Unlock()
	s.process.Restart()
	s.born = time.Now()
}

// chance are the random numbers of the next choice about a fault.
func (m *torture) chance() *rand.Rand { return rand.New(rand.NewPCG(m.seed, 1<<40|m.choices.Add(1))) }

func (m *torture) count(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[what]++
}

// requestFaults chooses what goes wrong with requests between two parts. kill kills the server that sends them.
func (m *torture) requestFaults(what string, kill func()) func(*http.Request) proxyFault {
	return func(*http.Request) proxyFault {
		rng := m.chance()
		if !m.wild.Load() || rng.IntN(100) < 65 {
			return proxyFault{}
		}
		d, name := proxyFault{hold: time.Duration(rng.IntN(700)) * time.Millisecond}, "late"
		switch rng.IntN(6) {
		case 0:
			d, name = proxyFault{lose: true}, "lost"
		case 1:
			d, name = proxyFault{status: http.StatusInternalServerError}, "500"
		case 2:
			d.again, name = true, "repeated"
		case 3:
			d.loseAnswer, name = true, "answered in vain"
		case 4:
			if rng.IntN(3) == 0 {
				d, name = proxyFault{then: kill}, "killed before the answer"
			}
		}
		m.count(what + " " + name)
		return d
	}
}

// eventFaults is the same for events: they can be lost though they were accepted, and overtake each other.
func (m *torture) eventFaults(what string) func(*http.Request) proxyFault {
	return func(*http.Request) proxyFault {
		rng := m.chance()
		if !m.wild.Load() || rng.IntN(100) < 40 {
			return proxyFault{}
		}
		late := time.Duration(rng.IntN(3000)) * time.Millisecond
		d, name := proxyFault{ahead: true, hold: late}, "overtaken"
		switch rng.IntN(5) {
		case 0:
			d, name = proxyFault{status: http.StatusOK}, "lost"
		case 1:
			d, name = proxyFault{status: http.StatusInternalServerError}, "500"
		case 2:
			d.again, name = true, "overtaken and repeated"
		case 3:
			server := m.servers[rng.IntN(len(m.servers))]
			d, name = proxyFault{then: func() { m.kill(server) }}, "killed before the answer"
		}
		m.count(what + " " + name)
		return d
	}
}

// mailFaults refuses mails, and kills servers after the mail server has accepted a mail and before the database says so.
func (m *torture) mailFaults(stage mailcatcher.Stage, _ string) error {
	rng := m.chance()
	if !m.wild.Load() || stage != mailcatcher.Data {
		return nil
	}
	switch rng.IntN(6) {
	case 0:
		m.count("mail refused for now")
		return mailcatcher.Refuse(451, [3]int{4, 3, 0})
	case 1:
		m.count("mail killed while it is taken")
		for _, s := range m.servers {
			m.kill(s)
		}
	}
	return nil
}

// newTorture starts all parts, with n servers on one database.
func newTorture(t *testing.T, seed uint64, database string, n int) *torture {
	t.Helper()
	m := &torture{seed: seed, scripts: map[string]recorder.Script{}, faults: map[string]int{}}
	m.redis = testenv.Redis(t)
	first, _ := listenForWebhooks(t)
	listen := []string{first}
	for len(listen) < n {
		address, _ := listenForWebhooks(t)
		listen = append(listen, address)
	}
	// LiveKit tells the first server; the store tells the last one.
	webhooks := newFaultyProxy(t, "http://"+first)
	hook := newFaultyProxy(t, "http://"+listen[n-1])
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: m.redis, Webhooks: []string{webhooks.URL + "/webhooks/livekit"}})
	m.s3 = testenv.S3(t, storageHook(hook.URL))
	m.mails = testenv.SMTP(t, mailcatcher.Options{Answer: m.mailFaults})
	m.hire(t)
	redis := testenv.Redis(t)
	for _, address := range listen {
		s := &mortal{instance: outside(t, "http://"+address, database, redis, lk)}
		m.servers = append(m.servers, s)
		s.secrets.add(testenv.S3Secret, storageSecret, proxySecret)
		api, store := newFaultyProxy(t, lk.URL), newFaultyProxy(t, m.s3.URL)
		api.set(m.requestFaults("LiveKit", func() { m.kill(s) }))
		store.set(m.requestFaults("store", func() { m.kill(s) }))
		s.process = startChild(t, childSettings{
			Listen: address, Sweep: 2 * time.Second, ClientURL: strings.Replace(lk.URL, "http", "ws", 1),
			Places:    places{Database: database, Redis: redis.Address, LiveKit: api.URL},
			Recording: recordingParts{S3: store.URL, Egress: m.s3.URL}, MailPort: m.mails.Port,
		})
		s.born = time.Now()
	}
	m.instance = m.servers[0].instance
	m.friend = m.user("Fred Told Of All")
	webhooks.set(m.eventFaults("webhook"))
	hook.set(m.eventFaults("storage event"))
	for n := range tortureRooms {
		m.rooms = append(m.rooms, m.newRoom(n))
	}
	t.Cleanup(func() {
		for _, s := range m.servers {
			s.secrets.check(t, s.process.Output())
		}
	})
	return m
}

// hire starts a recorder, which does what the scripts say.
func (m *torture) hire(t testing.TB) {
	t.Helper()
	r := startRecorder(t, m.redis)
	r.BehaveIn(func(room string) recorder.Script {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.scripts[room]
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recorder = r
}

func (m *torture) newRoom(n int) *tortureRoom {
	m.t.Helper()
	r := &tortureRoom{owner: m.user("Olga Tortured " + strconv.Itoa(n))}
	token := m.apiToken(r.owner, "rooms", "recordings")
	for _, s := range m.servers {
		r.hosts = append(r.hosts, s.clients(bearer(token)))
	}
	r.id = must[*usherv1.CreateRoomResponse](m.t)(r.hosts[0].CreateRoom(m.t.Context(), &usherv1.CreateRoomRequest{
		Name: "Tortured", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC,
	})).GetRoom().GetId()
	m.enterRoom(r)
	return r
}

// enterRoom brings the owner into the meeting, again if it has ended.
func (m *torture) enterRoom(r *tortureRoom) {
	if r.in != nil {
		select {
		case <-r.in.Disconnected:
		default:
			return
		}
	}
	_ = m.call(r, rand.New(rand.NewPCG(m.seed, 2)), "join", func(c *clients) error {
		res, err := c.JoinRoom(m.t.Context(), &usherv1.JoinRoomRequest{Room: r.id})
		if err != nil {
			return err
		}
		r.in, err = participant.TryJoin(m.t, res.GetConnection().GetServerUrl(), res.GetConnection().GetToken())
		return err
	})
}

// call calls one of the servers, again and again while that cannot be answered. It returns the refusal, if that is one.
func (m *torture) call(r *tortureRoom, rng *rand.Rand, what string, fn func(c *clients) error) error {
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = fn(r.hosts[rng.IntN(len(r.hosts))]); err == nil {
			return nil
		}
		why, code := reason(err), connect.CodeOf(err)
		if !strings.HasPrefix(why, "?") && code != connect.CodeUnavailable && code != connect.CodeDeadlineExceeded {
			if code == connect.CodeInternal {
				m.t.Errorf("%s: %v", what, err)
			}
			return err
		}
	}
	m.t.Errorf("%s: no answer in a minute: %v", what, err)
	return err
}

// script is how the next recorder of a room behaves.
func script(rng *rand.Rand) recorder.Script {
	soon := time.Duration(50+rng.IntN(1500)) * time.Millisecond
	switch rng.IntN(16) {
	case 0:
		return recorder.Script{Ending: recorder.LimitReached, EndAfter: soon}
	case 1:
		return recorder.Script{Ending: recorder.Aborted, EndAfter: soon}
	case 2:
		return recorder.Script{Ending: recorder.Failed, EndAfter: soon}
	case 3:
		return recorder.Script{Ending: recorder.FailedPartial, EndAfter: soon}
	case 4:
		return recorder.Script{Ending: recorder.FileLost, EndAfter: soon}
	case 5:
		return recorder.Script{Ending: recorder.Died, EndAfter: soon}
	case 6:
		return recorder.Script{Ending: recorder.DiedStored, EndAfter: soon}
	case 7:
		return recorder.Script{Refuse: true}
	case 8:
		return recorder.Script{AnswerAfter: 2 * soon}
	case 9:
		return recorder.Script{NeverActive: true, Ending: recorder.Aborted}
	case 10:
		return recorder.Script{DeafToStop: true, EndAfter: 3 * soon}
	case 11:
		return recorder.Script{SilentEnd: true, EndAfter: soon}
	case 12:
		return recorder.Script{EndAfter: soon}
	}
	return recorder.Script{} // until it is stopped
}

// record starts a recording and has it end in some way.
func (m *torture) record(r *tortureRoom, rng *rand.Rand) {
	m.enterRoom(r)
	m.mu.Lock()
	m.scripts[r.id] = script(rng)
	m.mu.Unlock()
	order := &usherv1.StartRecordingRequest{Room: r.id, Mode: screenRecording, RequestId: uuid.NewString()}
	if rng.IntN(6) == 0 {
		order.Mode = usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT
	}
	start := func(order *usherv1.StartRecordingRequest, rng *rand.Rand) {
		id := ""
		err := m.call(r, rng, "start", func(c *clients) error {
			res, err := c.StartRecording(m.t.Context(), order)
			id = res.GetRecording().GetId()
			return err
		})
		if why := reason(err); err != nil && why != "RECORDING_IN_PROGRESS" && why != "ROOM_NOT_LIVE" {
			m.t.Errorf("start: %v", err)
		}
		if err == nil {
			m.share(r, rng, id)
		}
	}
	var callers sync.WaitGroup
	if rng.IntN(3) == 0 { // somebody else does so at the same time, with another request
		other := rand.New(rand.NewPCG(rng.Uint64(), 3))
		callers.Go(func() { start(&usherv1.StartRecordingRequest{Room: r.id, Mode: order.GetMode()}, other) })
	}
	start(order, rng)
	callers.Wait()
	time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
	if rng.IntN(8) == 0 {
		err := m.call(r, rng, "end the meeting", func(c *clients) error {
			_, err := c.EndMeeting(m.t.Context(), &usherv1.EndMeetingRequest{Room: r.id})
			return err
		})
		if err != nil {
			m.t.Errorf("end the meeting: %v", err)
		}
	}
	m.stopRecording(r, rng)
}

// share makes the friend another owner of a recording, who is to be told of it too.
func (m *torture) share(r *tortureRoom, rng *rand.Rand, id string) {
	err := m.call(r, rng, "share", func(c *clients) error {
		_, err := c.GrantRecordingAccess(m.t.Context(), &usherv1.GrantRecordingAccessRequest{
			RecordingId: id, Role: usherv1.Role_ROLE_OWNER,
			Identifier: &usherv1.GrantRecordingAccessRequest_UserId{UserId: m.friend.ID.String()},
		})
		return err
	})
	if err != nil {
		m.t.Errorf("share: %v", err)
	}
}

// stopRecording has a host stop what is recorded in a room until nothing is.
func (m *torture) stopRecording(r *tortureRoom, rng *rand.Rand) {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		err := m.call(r, rng, "stop", func(c *clients) error {
			_, err := c.StopRecording(m.t.Context(), &usherv1.StopRecordingRequest{Room: r.id})
			return err
		})
		if why := reason(err); why == "RECORDING_NOT_ACTIVE" {
			return
		} else if err != nil {
			m.t.Errorf("stop: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	m.t.Errorf("room %s is recorded a minute after it was to stop", r.id)
}

// rage has everything go wrong for a time.
func (m *torture) rage() {
	m.wild.Store(true)
	var group sync.WaitGroup
	for n, r := range m.rooms {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(m.seed, 1<<32|uint64(n)))
			for m.wild.Load() {
				m.record(r, rng)
			}
		})
	}
	rng := rand.New(rand.NewPCG(m.seed, 4))
	slow := func() bool { return len(m.rows(m.t.Context())) < tortureRecordings }
	for begin := time.Now(); time.Since(begin) < tortureTime || slow() && time.Since(begin) < 2*tortureTime; {
		time.Sleep(time.Duration(1000+rng.IntN(4000)) * time.Millisecond)
		switch rng.IntN(6) {
		case 0: // the machine with all recorders
			m.mu.Lock()
			gone := m.recorder
			m.mu.Unlock()
			gone.Close()
			m.count("recorder's machine died")
			m.hire(m.t)
		default:
			m.count("server killed at random")
			m.kill(m.servers[rng.IntN(len(m.servers))])
		}
	}
	m.wild.Store(false)
	m.powerCut()
	group.Wait()
}

// powerCut kills all servers at once, and starts them again when what they had begun has been in dead hands for an hour.
func (m *torture) powerCut() {
	m.t.Helper()
	for _, s := range m.servers {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.process.Kill()
	}
	m.mu.Lock()
	m.kills = append(m.kills, time.Now())
	m.mu.Unlock()
	err := m.DB.Run(m.t.Context(), func(tx *ent.Client) error {
		var before any = time.Now().Add(-time.Hour)
		if m.DB.Dialect == dialect.SQLite {
			before = time.Now().Add(-time.Hour).UTC().Format("2006-01-02 15:04:05.999")
		}
		_, err := tx.SQL.Tx.ExecContext(m.t.Context(), "UPDATE river_job SET attempted_at = $1 WHERE state = 'running'", before)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, s := range m.servers {
		s.process.Restart()
	}
}

// Recorders that end in every way, in meetings that go on; what LiveKit, the store and the mail server are asked and tell is
// lost, late, repeated, overtaken or answered with 500; recorders die, and servers are killed at any moment, most of all
// between two steps. In the end every recording says what the store has, and can be downloaded if that is a file; no
// recorder goes on, every room is free, and people were told once. All parts are real but for the recorder, which speaks
// LiveKit's protocol. USHER_TEST_SEED repeats what is chosen, if not when it happens.
func TestRecordingTorture(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	for name, setup := range map[string]struct {
		database func(testing.TB) string
		servers  int
	}{"postgres": {testenv.PostgresURL, 2}, "sqlite": {testenv.SQLiteURL, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTorture(t, seed, setup.database(t), setup.servers)
			ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
			var watcher sync.WaitGroup
			watcher.Go(func() { m.watch(ctx) })
			t.Cleanup(func() { stop(); watcher.Wait() })
			m.rage()
			rows := len(m.rows(m.t.Context()))
			m.untilTrue()
			m.recordWell()
			m.untilTrue()
			stop()
			watcher.Wait()
			saved, twice := m.checkFiles(), m.checkMails()
			m.checkJobs()
			ends := map[string]int{}
			for _, r := range m.rows(m.t.Context()) {
				ends[strings.TrimPrefix(r.Status.String(), "RECORDING_STATUS_")]++
			}
			text := must[[]byte](t)(json.Marshal(m.faults))
			t.Logf("%d recordings in trouble: %v; %d kills, told twice %d times; faults %s", rows, ends, len(m.kills), twice, text)
			if rows < 10 || len(m.kills) < 4 || saved < len(m.rooms)+rows/8 || len(m.faults) < 15 {
				t.Errorf("%d recordings, %d kills, %d saved: the test proves nothing", rows, len(m.kills), saved)
			}
		})
	}
}
