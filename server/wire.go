package server

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/adapter/mail"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/config"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/invitations"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/lobby"
	"github.com/usher-meet/usher/server/participants"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/rooms"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/telephony"
	"github.com/usher-meet/usher/server/telephony/callers"
	"github.com/usher-meet/usher/server/users"
)

// base holds the connections to the outside and everything else that the settings alone determine. The services use it.
type base struct {
	config   settings.Config
	log      *slog.Logger
	db       *dbtx.DB
	redis    rueidis.Client
	livekit  *livekit.Client
	mailer   *mail.Mailer
	files    storage // nil where nothing is recorded
	keys     *auth.Keys
	sessions *auth.Sessions
	limiter  *ratelimit.Limiter
	metrics  *prometheus.Registry
	health   *health
	// draining is closed when the server stops, before it waits for calls to end: streams would never.
	draining chan struct{}
	// closers close what was opened, the last one first.
	closers []func()
}

// open opens what the server stands on. The caller closes it.
func open(ctx context.Context, o Options) (_ *base, err error) {
	c := o.Config
	keys := auth.NewKeys([]byte(c.Secret), []byte(c.SecretPrevious))
	lines := newRepeats(o.Log.Handler())
	b := &base{
		config: c, log: slog.New(logHandler{lines, keys}), closers: []func(){lines.counts.stop}, redis: o.Redis, keys: keys,
		metrics: prometheus.NewRegistry(), draining: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	b.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if b.mailer, err = newMailer(c); err != nil {
		return nil, err
	}
	if b.files, err = openStorage(c); err != nil {
		return nil, err
	}
	if b.db, err = dbtx.Open(ctx, string(c.DatabaseURL)); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.db.Close)
	if b.redis == nil {
		if b.redis, err = OpenRedis(c.Redis); err != nil {
			return nil, err
		}
		b.closers = append(b.closers, b.redis.Close)
	}
	if b.livekit, err = newLiveKit(c); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.livekit.Close)
	b.sessions = &auth.Sessions{Redis: b.redis, IdleTimeout: c.Session.IdleTimeout, MaxAge: c.Session.MaxAge}
	b.limiter = &ratelimit.Limiter{Redis: b.redis}
	b.health = &health{db: b.db, redis: b.redis, livekit: b.livekit}
	return b, nil
}

func (b *base) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
}

func newLiveKit(c settings.Config) (*livekit.Client, error) {
	return livekit.New(livekit.Config{
		URL: c.LiveKit.URL, Key: c.LiveKit.Key, Secret: string(c.LiveKit.Secret), CAFile: c.LiveKit.CAFile,
		TokenLife: c.LiveKit.TokenLife, EmptyTimeout: c.LiveKit.EmptyTimeout, DepartureTimeout: c.LiveKit.DepartureTimeout,
		MaxParticipants: c.LiveKit.MaxParticipants, Egress: egressStorage(c),
	})
}

// services are the services of the contract, and what works for them in the background.
type services struct {
	rooms        *rooms.Service
	lobby        *lobby.Service
	participants *participants.Service
	recordings   *recordings.Service
	telephony    *telephony.Service
	invitations  *invitations.Service
	users        *users.Service
	config       *config.Service

	callers    *callers.Service
	wrongPINs  *telephony.Watch
	tasks      *livetasks.Queue
	taskWorker *livetasks.Worker
	inbox      *inbox.Inbox
	work       *jobs.Registry // the handlers of jobs, and the periodic work: see events.go and sweeps.go
	jobs       *jobs.Client
}

// newServices builds the services. Several know each other, so all have an address before any of them is filled.
func newServices(b *base) (*services, error) {
	s := &services{
		rooms: new(rooms.Service), lobby: new(lobby.Service), recordings: new(recordings.Service), callers: new(callers.Service),
		telephony: new(telephony.Service), invitations: new(invitations.Service),
		tasks: livetasks.NewQueue(b.config.LiveKit.TokenLife), work: jobs.NewRegistry(),
	}
	var err error
	s.jobs, err = jobs.New(b.db, s.work, jobs.Options{
		Log: b.log, Metrics: b.metrics, Keep: b.config.Keep.Jobs, StopTimeout: b.config.DrainTimeout,
	})
	if err != nil {
		return nil, err
	}
	s.fillRooms(b)
	s.fillLobby(b)
	s.fillTelephony(b)
	s.fillCallers(b)
	s.fillInvitations(b)
	if err := s.fillRecordings(b); err != nil {
		return nil, err
	}
	s.participants = newParticipants(b, s)
	s.users = newUsers(b)
	s.config = &config.Service{Config: clientConfig(b), Telephony: s.telephony.Trunks}
	s.wrongPINs = newWrongPINWatch(b)
	s.taskWorker = &livetasks.Worker{DB: b.db, Queue: s.tasks, Handlers: s.rooms, Timing: taskTiming, Log: b.log}
	s.inbox = &inbox.Inbox{DB: b.db, Jobs: s.jobs, Log: b.log, Handlers: s.eventHandlers()}
	s.registerJobs(b)
	s.registerSweeps(b)
	return s, nil
}
