package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/api/itemlimits"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/web/app"
)

// handlers serve the two ports.
type handlers struct {
	// api is for everybody, internal for the operator's own network.
	api, internal http.Handler
}

func newHandlers(b *base, s *services, o Options) (*handlers, error) {
	provider, err := b.provider()
	if err != nil {
		return nil, err
	}
	observed := newObserver(b.log, b.metrics)
	callers := b.authenticator(provider, observed)
	media := b.media(s.recordings, callers)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", b.health.live)
	mux.HandleFunc("GET /readyz", b.health.ready)
	mux.Handle("POST /webhooks/livekit", b.webhook(s.inbox))
	s.invitations.Mount(mux)
	b.mountRecordings(mux, s.recordings, media)
	if o.Development != nil {
		mux.Handle("/-/development/", o.Development)
	}
	if o.Front != nil {
		// Here, or it would be sent on to the folder above.
		mux.Handle("GET /-/development", o.Front)
	}
	mux.Handle("/auth/", b.signIn(s.jobs, o, provider))
	pages, err := b.pages(o)
	if err != nil {
		return nil, err
	}
	rpc := callers.Wrap(b.boundCalls(b.rpc(s, observed), observed))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if isProcedure(r.URL.Path) {
			rpc.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
	api, err := b.guard(mux)
	if err != nil {
		return nil, err
	}
	return &handlers{api: api, internal: b.internal(media)}, nil
}

// rpc serves the services of the contract, and what clients ask about them. Adding a service is adding a line here and to
// [Services].
func (b *base) rpc(s *services, observed *observer) http.Handler {
	options := append(fault.Codecs(), connect.WithReadMaxBytes(maxRequest), connect.WithCompressMinBytes(minCompress),
		connect.WithInterceptors(observed, fault.Interceptor{Log: b.log}),
		recovered(b.log),
		connect.WithInterceptors(
			auth.MissCounter{Limiter: b.limiter, NotFound: b.config.Limits.NotFound},
			deadline(b.config.RequestTimeout), itemlimits.Interceptor{}, validate.NewInterceptor(), smallStack{},
		))
	calls := http.NewServeMux()
	calls.Handle(usherv1connect.NewRoomsServiceHandler(s.rooms, options...))
	calls.Handle(usherv1connect.NewLobbyServiceHandler(s.lobby, options...))
	calls.Handle(usherv1connect.NewParticipantsServiceHandler(s.participants, options...))
	calls.Handle(usherv1connect.NewRecordingsServiceHandler(s.recordings, options...))
	calls.Handle(usherv1connect.NewTelephonyServiceHandler(s.telephony, options...))
	calls.Handle(usherv1connect.NewInvitationsServiceHandler(s.invitations, options...))
	calls.Handle(usherv1connect.NewUsersServiceHandler(s.users, options...))
	calls.Handle(usherv1connect.NewConfigServiceHandler(s.config, options...))
	calls.Handle(grpchealth.NewHandler(b.health, options...))
	reflector := grpcreflect.NewStaticReflector(append(slices.Clone(Services), grpchealth.HealthV1ServiceName)...)
	calls.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	calls.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))
	calls.HandleFunc("/", unknownProcedure)
	return calls
}

// guard wraps everything on the API port in what holds for every request.
func (b *base) guard(next http.Handler) (http.Handler, error) {
	protect, err := auth.ProtectOrigin(b.config.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	guarded := auth.AllowOrigins(b.config.AllowedOrigins, protect(next))
	timeouts := clientTimeoutsFor(b.config.RequestTimeout)
	watch := &forwardedWatch{trusted: b.config.TrustedProxies, redis: b.redis, log: b.log}
	counted := recoverPanics(b.log, countInFlight(b.metrics, watch.wrap(guarded)))
	return timeouts.wrap(requestID(securityHeaders(b.secure(), counted))), nil
}

// internal is everything on the internal port, which only the operator's own network reaches.
func (b *base) internal(media *recordings.Media) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", b.health.live)
	mux.HandleFunc("GET /readyz", b.health.readyDetail)
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /media-auth", media.ServeInternal)
	return clientTimeoutsFor(readyTimeout).wrap(recoverPanics(b.log, mux))
}

// pages are all addresses that people open, but for sign-in: the web app, or a word about it not being there.
func (b *base) pages(o Options) (http.Handler, error) {
	mux := http.NewServeMux()
	if o.WebApp == nil {
		mux.Handle("GET /{$}", cmp.Or[http.Handler](o.Front, http.HandlerFunc(b.front)))
		return mux, nil
	}
	pages, err := app.New(o.WebApp, app.Options{
		LiveKitURL: b.config.LiveKit.PublicURL, LogoURL: b.config.Branding.GetLogoUrl(),
		SessionCookie: auth.CookieName(b.secure()),
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("/", pages)
	return mux, nil
}

// front is the page at / of a server without a web app.
func (b *base) front(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	fmt.Fprintf(w, "Usher %s\n\nThis program was built without the web app: `go tool task build` with Node.js on the machine makes "+
		"one that has it.\nThe API is here. It speaks Connect, gRPC, gRPC-Web and JSON:\n\n"+
		"  curl -H 'Content-Type: application/json' -d '{}' %s/usher.v1.ConfigService/GetConfig\n",
		settings.Version, b.config.PublicURL)
}

// newHTTPServer speaks HTTP/1.1 and HTTP/2 without TLS (h2c), which gRPC needs behind a balancer that ends TLS. There is no
// ReadTimeout or WriteTimeout: they would end streams. clientTimeouts and deadline bound calls instead, and pings find
// HTTP/2 connections whose other end has vanished, as TCP does for HTTP/1.
func newHTTPServer(log *slog.Logger, h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		// A client that vanished without a word is noticed in time for its lobby entry to lapse within 45 s.
		HTTP2:    &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ErrorLog: slog.NewLogLogger(connectionLog{log.Handler()}, slog.LevelWarn),
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

// listeners are open ports.
type listeners struct {
	api, internal net.Listener
}

func listenAll(ctx context.Context, c settings.Config) (l listeners, err error) {
	if l.api, err = listen(ctx, c.Listen); err != nil {
		return l, err
	}
	if l.internal, err = listen(ctx, c.ListenInternal); err != nil {
		return l, errors.Join(err, l.api.Close())
	}
	return l, nil
}

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
