// Package server assembles Usher: it builds each part once and mounts it. It is the only package that knows every other
// one.
package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/adapter/mail"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/config"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/invitations"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/lobby"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/rooms"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/telephony"
	"github.com/usher-meet/usher/server/telephony/callers"
)

// Services are the fully qualified names of the services that the server mounts.
var Services = []string{
	usherv1connect.RoomsServiceName,
	usherv1connect.LobbyServiceName,
	usherv1connect.ParticipantsServiceName,
	usherv1connect.RecordingsServiceName,
	usherv1connect.TelephonyServiceName,
	usherv1connect.InvitationsServiceName,
	usherv1connect.UsersServiceName,
	usherv1connect.ConfigServiceName,
}

// Options are the settings, and what `usher dev` and tests put in the place of parts.
type Options struct {
	Config settings.Config
	Log    *slog.Logger
	// Ready is called once, when both listeners are open. It may be nil.
	Ready func(Addresses)
	// Redis replaces the client that is opened from Config.
	Redis rueidis.Client
	// SignIn replaces the handlers below /auth/.
	SignIn func(SignInParts) http.Handler
	// WebApp is the built web app. Nil: there is none, and / says so.
	WebApp fs.FS
	// Development serves what is below /-/development/. It is nil but for `usher dev`.
	Development http.Handler
	// Front is the page of `usher dev`, at /-/development and, without a web app, at /.
	Front http.Handler
}

// Addresses are where the server listens.
type Addresses struct {
	API, Internal net.Addr
}

// SignInParts are what a replacement of the sign-in handlers works with.
type SignInParts struct {
	DB       *dbtx.DB
	Sessions *auth.Sessions
	Keys     *auth.Keys
	Log      *slog.Logger
}

// parts are everything that lives as long as the server.
type parts struct {
	config      settings.Config
	log         *slog.Logger
	db          *dbtx.DB
	redis       rueidis.Client
	livekit     *livekit.Client
	keys        *auth.Keys
	sessions    *auth.Sessions
	limiter     *ratelimit.Limiter
	metrics     *prometheus.Registry
	health      *health
	post        *mail.Mailer
	tasks       *livetasks.Queue
	rooms       *rooms.Service
	lobby       *lobby.Service
	callers     *callers.Service
	invitations *invitations.Service
	// telephony also tells clients and rooms who can be reached by phone.
	telephony *telephony.Service
	// files are nil where nothing is recorded.
	files      storage
	recordings *recordings.Service
	// media is made with the handler, which knows who calls.
	media     *recordings.Media
	wrongPINs *telephony.Watch
	// work is what jobs does: see work.go.
	work  *jobs.Registry
	jobs  *jobs.Client
	inbox *inbox.Inbox
	// draining is closed when the server stops, before it waits for calls to end: streams would never.
	draining chan struct{}
}

// ErrNoDatabase means that the database does not answer, or not to us.
var ErrNoDatabase = errors.New("the database cannot be used")

// Run serves until ctx is done, then drains and returns. It refuses to start on a database that does not fit.
func Run(ctx context.Context, o Options) error {
	log := slog.New(logHandler{o.Log.Handler()})
	p, closeParts, err := build(ctx, o, log)
	if err != nil {
		return err
	}
	defer closeParts()
	if err := p.checkSchema(ctx); err != nil {
		return err
	}

	handler, err := p.handler(o)
	if err != nil {
		return err
	}
	api, err := listen(ctx, o.Config.Listen)
	if err != nil {
		return err
	}
	internal, err := listen(ctx, o.Config.ListenInternal)
	if err != nil {
		return errors.Join(err, api.Close())
	}
	apiServer, internalServer := p.newHTTPServer(handler), p.newHTTPServer(p.internalHandler())

	failed := make(chan error, 3)
	// The workers end before the parts that they use are closed.
	workCtx, stopWork := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { p.taskWorker().Run(workCtx) })
	work.Go(func() {
		if err := p.jobs.Run(workCtx); err != nil && workCtx.Err() == nil {
			failed <- err
		}
	})
	work.Go(func() { p.lobby.RunNews(workCtx) })
	work.Go(func() { p.callers.Run(workCtx) })
	work.Go(func() { p.lobby.RunStreams(workCtx) })
	work.Go(func() { p.telephony.Trunks.Run(workCtx) })
	work.Go(func() { p.wrongPINs.Run(workCtx) })
	defer work.Wait()
	defer p.inbox.Wait()
	defer stopWork()

	for server, listener := range map[*http.Server]net.Listener{apiServer: api, internalServer: internal} {
		go func() { failed <- server.Serve(listener) }()
	}
	if o.Ready != nil {
		o.Ready(Addresses{API: api.Addr(), Internal: internal.Addr()})
	}
	log.InfoContext(ctx, "serving", "version", settings.Version)

	select {
	case err := <-failed:
		return errors.Join(err, apiServer.Close(), internalServer.Close())
	case <-ctx.Done():
	}
	return p.drain(ctx, apiServer, internalServer)
}

// checkSchema says whether this version may run on the database.
func (p *parts) checkSchema(ctx context.Context) error {
	err := migrations.Check(ctx, p.db.SQL(), p.db.Dialect, settings.Version)
	if err == nil || errors.Is(err, migrations.ErrOld) || errors.Is(err, migrations.ErrBreaking) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoDatabase, err)
}

// drain lets calls in flight end. New connections are refused from now on, and the internal port says that it is not ready
// until the end.
func (p *parts) drain(ctx context.Context, apiServer, internalServer *http.Server) error {
	p.health.stopping.Store(true)
	close(p.draining)
	p.log.InfoContext(ctx, "stopping")
	// ctx is done; draining needs one that is not.
	drainCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.config.DrainTimeout)
	defer cancel()
	if err := apiServer.Shutdown(drainCtx); err != nil {
		p.log.WarnContext(ctx, "calls were cut off by the drain timeout", "timeout", p.config.DrainTimeout)
		if err := apiServer.Close(); err != nil {
			return err
		}
	}
	return internalServer.Close()
}

// build opens what the server stands on. The returned function closes it again.
func build(ctx context.Context, o Options, log *slog.Logger) (*parts, func(), error) {
	c := o.Config
	post, err := newPost(c)
	if err != nil {
		return nil, nil, err
	}
	files, err := openStorage(c)
	if err != nil {
		return nil, nil, err
	}
	db, err := dbtx.Open(ctx, string(c.DatabaseURL))
	if err != nil {
		return nil, nil, err
	}
	redis, closeRedis := o.Redis, func() {}
	if redis == nil {
		if redis, err = OpenRedis(c.Redis); err != nil {
			db.Close()
			return nil, nil, err
		}
		closeRedis = redis.Close
	}
	closeAll := func() { closeRedis(); db.Close() }
	lk, err := livekit.New(livekit.Config{
		URL: c.LiveKit.URL, Key: c.LiveKit.Key, Secret: string(c.LiveKit.Secret), CAFile: c.LiveKit.CAFile,
		TokenLife: c.LiveKit.TokenLife, EmptyTimeout: c.LiveKit.EmptyTimeout, DepartureTimeout: c.LiveKit.DepartureTimeout,
		MaxParticipants: c.LiveKit.MaxParticipants, Egress: egressStorage(c),
	})
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	p := &parts{
		config: c, log: log, db: db, redis: redis, livekit: lk, post: post, files: files,
		keys:     auth.NewKeys([]byte(c.Secret), []byte(c.SecretPrevious)),
		sessions: &auth.Sessions{Redis: redis, IdleTimeout: c.Session.IdleTimeout, MaxAge: c.Session.MaxAge},
		limiter:  &ratelimit.Limiter{Redis: redis},
		metrics:  prometheus.NewRegistry(),
		health:   &health{db: db, redis: redis, livekit: lk},
		draining: make(chan struct{}),
	}
	p.work = jobs.NewRegistry()
	p.jobs, err = jobs.New(db, p.work, jobs.Options{Log: log, Metrics: p.metrics, Keep: c.Keep.Jobs, StopTimeout: c.DrainTimeout})
	if err != nil {
		lk.Close()
		closeAll()
		return nil, nil, err
	}
	p.inbox = &inbox.Inbox{DB: db, Jobs: p.jobs, Log: log}
	p.tasks = livetasks.NewQueue(c.LiveKit.TokenLife)
	p.rooms = p.roomsService()
	p.lobby = p.lobbyService()
	p.callers = p.callersService()
	p.lobby.Callers = p.callers
	p.telephony = p.telephonyService()
	if p.recordings, err = p.recordingsService(); err != nil {
		lk.Close()
		closeAll()
		return nil, nil, err
	}
	p.rooms.Lobby, p.rooms.Telephony, p.rooms.Recordings = p.lobby, p.telephony, p.recordings
	p.wrongPINs = p.wrongPINWatch()
	p.invitations = p.invitationsService()
	p.rooms.Invitations, p.telephony.Invitations = p.invitations, p.invitations
	p.registerWork()
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p, func() { lk.Close(); closeAll() }, nil
}

// handler is everything on the API port. Adding a service is adding a line here and to [Services].
func (p *parts) handler(o Options) (http.Handler, error) {
	provider, err := p.provider()
	if err != nil {
		return nil, err
	}
	observed := newObserver(p.log, p.metrics)
	options := append(fault.Codecs(), connect.WithReadMaxBytes(maxRequest), connect.WithCompressMinBytes(minCompress),
		connect.WithInterceptors(
			observed, fault.Interceptor{Log: p.log}), recovered(p.log), connect.WithInterceptors(
			auth.MissCounter{Limiter: p.limiter, NotFound: p.config.Limits.NotFound},
			deadline(p.config.RequestTimeout), validate.NewInterceptor(), smallStack{}))

	calls := http.NewServeMux()
	calls.Handle(usherv1connect.NewRoomsServiceHandler(p.rooms, options...))
	calls.Handle(usherv1connect.NewLobbyServiceHandler(p.lobby, options...))
	calls.Handle(usherv1connect.NewParticipantsServiceHandler(p.participantsService(), options...))
	calls.Handle(usherv1connect.NewRecordingsServiceHandler(p.recordings, options...))
	calls.Handle(usherv1connect.NewTelephonyServiceHandler(p.telephony, options...))
	calls.Handle(usherv1connect.NewInvitationsServiceHandler(p.invitations, options...))
	calls.Handle(usherv1connect.NewUsersServiceHandler(p.usersService(), options...))
	calls.Handle(usherv1connect.NewConfigServiceHandler(&config.Service{Config: p.clientConfig(), Telephony: p.telephony.Trunks}, options...))
	calls.Handle(grpchealth.NewHandler(p.health, options...))
	reflector := grpcreflect.NewStaticReflector(append(slices.Clone(Services), grpchealth.HealthV1ServiceName)...)
	calls.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	calls.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))
	calls.HandleFunc("/", unknownProcedure)
	authenticator := p.authenticator(provider, observed)
	rpc := authenticator.Wrap(boundRequest(calls))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", p.health.live)
	mux.HandleFunc("GET /readyz", p.health.ready)
	mux.Handle("POST /webhooks/livekit", p.webhook())
	p.invitations.Mount(mux)
	if o.Development != nil {
		mux.Handle("/-/development/", o.Development)
	}
	if o.Front != nil {
		// Here, or it would be sent on to the folder above.
		mux.Handle("GET /-/development", o.Front)
	}
	p.mountRecordings(mux, authenticator)
	p.mountSignIn(mux, o, provider)
	pages, err := p.pages(o)
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if isProcedure(r.URL.Path) {
			rpc.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
	protect, err := auth.ProtectOrigin(p.config.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	guarded := auth.AllowOrigins(p.config.AllowedOrigins, protect(mux))
	patient := clientTimeoutsFor(p.config.RequestTimeout)
	return patient.wrap(requestID(securityHeaders(recoverPanics(p.log, countInFlight(p.metrics, guarded))))), nil
}

// internalHandler is everything on the internal port, which only the operator's own network reaches.
func (p *parts) internalHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", p.health.live)
	mux.HandleFunc("GET /readyz", p.health.readyDetail)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /media-auth", p.media.ServeInternal)
	return clientTimeoutsFor(readyTimeout).wrap(recoverPanics(p.log, mux))
}

// newHTTPServer speaks HTTP/1.1 and HTTP/2 without TLS (h2c), which gRPC needs behind a balancer that ends TLS. There is no
// ReadTimeout or WriteTimeout: they would end streams. patience and deadline bound calls instead, and pings find HTTP/2
// connections whose other end has vanished, as TCP does for HTTP/1.
func (p *parts) newHTTPServer(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		// A client that vanished without a word is noticed in time for its lobby entry to lapse within 45 s.
		HTTP2:    &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ErrorLog: slog.NewLogLogger(connectionLog{p.log.Handler()}, slog.LevelWarn),
	}
}

const (
	// pingAfter is how long an HTTP/2 connection may be silent before the client is asked whether it is there, and
	// pingTimeout how long it has to answer.
	pingAfter, pingTimeout = 6 * time.Second, 5 * time.Second
	// unackedTimeout is how long what was sent may stay unacknowledged before a connection counts as lost. Heartbeats of
	// streams are sent more often.
	unackedTimeout = 12 * time.Second
)

func listen(ctx context.Context, address string) (net.Listener, error) {
	c := net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         boundUnacked,
	}
	l, err := c.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}
