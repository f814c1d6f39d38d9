package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/adapter/oidc"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/lobby"
	"github.com/usher-meet/usher/server/participants"
	"github.com/usher-meet/usher/server/rooms"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/signin"
	"github.com/usher-meet/usher/server/telephony"
	"github.com/usher-meet/usher/server/telephony/callers"
	"github.com/usher-meet/usher/server/users"
	"github.com/usher-meet/usher/server/web/app"
)

// This file turns settings into the parts of the server, one function a part.

// clientConfig is what ConfigService tells clients.
func (p *parts) clientConfig() *usherv1.Config {
	c := p.config
	out := &usherv1.Config{
		Languages: c.Languages,
		Recording: recordingConfig(c),
		RoomDefaults: &usherv1.RoomDefaults{
			AccessLevel: c.Rooms.AccessLevel, CanPublishSources: c.Rooms.Sources, UsersCreateRooms: c.Rooms.UsersCreate,
		},
		Livekit:     &usherv1.LiveKitConfig{ServerUrl: c.LiveKit.PublicURL},
		Invitations: &usherv1.InvitationsConfig{Enabled: p.post.Sender != nil},
		Branding:    c.Branding,
		Version:     settings.Version,

		Development: c.Development,
	}
	if c.OIDC.Issuer != "" || c.Development {
		out.SignInUrl = c.PublicURL + "/auth/login"
	}
	return out
}

// taskTiming is how LiveKit is made to follow the database. Other replicas' tasks are found within a second; one statement
// a second on an index costs nothing. A task runs at most as long as a call to LiveKit may take, for each room and person.
var taskTiming = livetasks.Timing{Poll: time.Second, Repeat: 5 * time.Second, Timeout: 30 * time.Second}

func (p *parts) roomsService() *rooms.Service {
	c := p.config
	return &rooms.Service{
		DB: p.db, Keys: p.keys, Limiter: p.limiter, CreateLimit: c.Limits.CreateRoom, JoinLimit: c.Limits.Join,
		LiveKit: p.livekit, Log: p.log, PublicURL: c.PublicURL, LiveKitURL: c.LiveKit.PublicURL,
		Defaults: rooms.Defaults{
			AccessLevel: c.Rooms.AccessLevel, Sources: c.Rooms.Sources, UsersCreate: c.Rooms.UsersCreate, AccountNames: c.Rooms.AccountNames,
		},
		TokenLife: c.LiveKit.TokenLife, SessionLife: c.LiveKit.SessionLife, Tasks: p.tasks,
		IdempotencyLife: c.Keep.Idempotency, KeepTokens: c.Keep.ExpiredTokens, KeepAudit: c.Keep.Audit,
	}
}

func (p *parts) taskWorker() *livetasks.Worker {
	return &livetasks.Worker{DB: p.db, Queue: p.tasks, Handlers: p.rooms, Timing: taskTiming, Log: p.log}
}

func (p *parts) lobbyService() *lobby.Service {
	c := p.config
	return &lobby.Service{
		DB: p.db, Keys: p.keys, Rooms: p.rooms, LiveKit: p.livekit, Limiter: p.limiter, Log: p.log,
		Store: &lobby.Store{Redis: p.redis, Rules: lobby.Rules{
			Waiting: c.Lobby.Waiting, Grace: c.Lobby.Grace, Accepted: c.Lobby.Accepted, Denied: c.Lobby.Denied,
			KeepPlace: c.Lobby.KeepPlace, Most: c.Lobby.MaxWaiting,
		}},
		NetworkLimit: c.Limits.KnockNetwork, RoomLimit: c.Limits.KnockRoom,
		Streams: lobby.StreamRules{
			Heartbeat: c.Streams.Heartbeat, MaxAge: c.Streams.MaxAge,
			PerTicket: c.Streams.PerTicket, PerUser: c.Streams.PerUser, PerNetwork: c.Streams.PerNetwork,
		},
		Draining: p.draining,
	}
}

// callersTiming is how callers are held. Half a second more is heard (docs/telephony.md); one look a second at each room that
// can be dialled is what they may cost.
var callersTiming = callers.Timing{Hold: time.Second, Sweep: time.Second, Search: 10 * time.Second}

func (p *parts) callersService() *callers.Service {
	timing := callersTiming
	timing.Grace = p.config.Callers.Grace
	return &callers.Service{
		DB: p.db, Meetings: p.livekit, LiveKit: p.livekit, Lobby: p.lobby, Turns: p.lobby, Timing: timing,
		Metrics: callers.NewMetrics(p.metrics), Log: p.log,
	}
}

func (p *parts) telephonyService() *telephony.Service {
	c := p.config
	return &telephony.Service{
		DB: p.db, Keys: p.keys, Limiter: p.limiter, RotateLimit: c.Limits.RotatePIN, LiveKit: p.livekit, Log: p.log,
		Trunks: &telephony.Trunks{
			LiveKit: p.livekit, Enabled: c.Telephony.Enabled, Configured: c.Telephony.Trunks, National: c.Telephony.NationalNumbers, Log: p.log,
		},
		Metrics: telephony.NewMetrics(p.metrics), Random: rand.Reader,
		PINLength: c.Telephony.PINLength, Rest: c.Telephony.PINRest, Lease: ruleLease,
	}
}

// watchPeriod is how often phone bridges are asked for wrong PINs: several times in the minute over which they count.
const watchPeriod = 15 * time.Second

func (p *parts) wrongPINWatch() *telephony.Watch {
	c := p.config.Telephony
	w := &telephony.Watch{
		URLs: c.BridgeMetrics, Period: watchPeriod, Alert: c.WrongPINAlert, HTTP: &http.Client{}, Log: p.log,
		Metrics: telephony.NewWatchMetrics(p.metrics),
	}
	if c.WrongPINRotate {
		w.Alarm = p.telephony.RotateLive
	}
	return w
}

// ruleLease is how long a server that died keeps others from changing how a room is dialled: longer than the few calls to
// LiveKit take that this needs, each of which is given up after 5 s.
const ruleLease = 30 * time.Second

func (p *parts) participantsService() *participants.Service {
	return &participants.Service{
		DB: p.db, Keys: p.keys, LiveKit: p.livekit, Rooms: p.rooms, Tasks: p.tasks, Lobby: p.lobby, Log: p.log,
		SessionLife: p.config.LiveKit.SessionLife, AccountNames: p.config.Rooms.AccountNames,
	}
}

// webhook receives LiveKit's events.
func (p *parts) webhook() http.Handler {
	keys := map[string]string{}
	for _, k := range p.config.LiveKit.WebhookKeys {
		keys[k.Key] = string(k.Secret)
	}
	if len(keys) == 0 {
		keys[p.config.LiveKit.Key] = string(p.config.LiveKit.Secret)
	}
	h := &livekit.Webhook{
		Keys: keys, Receive: p.inbox.Receive, Wants: p.inbox.Wants,
		Failed: func(ctx context.Context, err error) {
			p.log.ErrorContext(ctx, "an event from LiveKit was not stored", "err", err)
		},
	}
	h.Register(p.metrics)
	return h
}

func (p *parts) usersService() *users.Service {
	return &users.Service{
		DB: p.db, Log: p.log, Limiter: p.limiter, LookupLimit: p.config.Limits.EmailLookup,
		Languages: p.config.Languages, OpenDirectory: p.config.Directory.Open,
	}
}

// provider is the OpenID provider, nil when none is configured. It is not asked anything yet.
func (p *parts) provider() (*oidc.Provider, error) {
	c := p.config.OIDC
	if c.Issuer == "" {
		return nil, nil
	}
	return oidc.New(oidc.Config{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: string(c.ClientSecret), CAFile: c.CAFile,
		RedirectURL: p.config.PublicURL + signin.CallbackPath, PostLogoutURL: p.config.PublicURL + signin.LogoutCallbackPath,
		Scopes: c.Scopes, FullNameClaims: c.FullNameClaims, ShortNameClaim: c.ShortNameClaim, ExtraParams: c.ExtraParams,
		Audience: c.Audience, ClientIDs: c.ClientIDs,
	})
}

func (p *parts) authenticator(provider *oidc.Provider, observed *observer) *auth.Authenticator {
	a := &auth.Authenticator{
		DB: p.db, Keys: p.keys, Sessions: p.sessions, Limiter: p.limiter, Log: p.log, Refused: observed.refused,
		Calls: p.config.Limits.Calls, NotFound: p.config.Limits.NotFound,
		TrustedProxies: p.config.TrustedProxies,
		Secure:         strings.HasPrefix(p.config.PublicURL, "https://"),
	}
	for _, s := range p.config.ServiceTokens {
		service := auth.ServiceToken{Name: s.Name, Scopes: s.Scopes}
		// The settings were checked; what is not a hash equals no token's.
		if _, err := hex.Decode(service.Hash[:], []byte(s.Hash)); err == nil {
			a.Services = append(a.Services, service)
		}
	}
	if provider != nil && p.config.OIDC.Audience != "" {
		a.AccessTokens = provider
	}
	return a
}

// mountSignIn mounts /auth/: sign-in through the OpenID provider, or what replaces it.
func (p *parts) mountSignIn(mux *http.ServeMux, o Options, provider *oidc.Provider) {
	if o.SignIn != nil {
		mux.Handle("/auth/", o.SignIn(SignInParts{DB: p.db, Sessions: p.sessions, Keys: p.keys, Log: p.log}))
		return
	}
	s := &signin.SignIn{
		Accounts: &accounts.Accounts{
			DB: p.db, MatchByEmail: p.config.OIDC.MatchByEmail, CreateUsers: p.config.OIDC.CreateUsers, Created: p.newAccount(), Log: p.log,
		},
		Sessions: p.sessions, Keys: p.keys, Limiter: p.limiter, Limit: p.config.Limits.SignIn,
		TrustedProxies: p.config.TrustedProxies, PublicURL: p.config.PublicURL, AllowedOrigins: p.config.AllowedOrigins, Log: p.log,
	}
	if provider != nil { // a nil *Provider in the interface would not be nil
		s.Provider = provider
	}
	s.Mount(mux)
}

// pages are all addresses that people open, but for sign-in: the web app, or a word about it not being there.
func (p *parts) pages(o Options) (http.Handler, error) {
	mux := http.NewServeMux()
	if o.WebApp == nil {
		mux.Handle("GET /{$}", cmp.Or[http.Handler](o.Front, http.HandlerFunc(p.front)))
		return mux, nil
	}
	app, err := app.New(o.WebApp, app.Options{
		LiveKitURL: p.config.LiveKit.PublicURL, LogoURL: p.config.Branding.GetLogoUrl(), SignOutURL: p.config.OIDC.Issuer,
		SessionCookie: auth.CookieName(strings.HasPrefix(p.config.PublicURL, "https://")),
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("/", app)
	return mux, nil
}

// front is the page at / of a server without a web app.
func (p *parts) front(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	fmt.Fprintf(w, "Usher %s\n\nThis program was built without the web app: `go tool task build` with Node.js on the machine makes "+
		"one that has it.\nThe API is here. It speaks Connect, gRPC, gRPC-Web and JSON:\n\n"+
		"  curl -H 'Content-Type: application/json' -d '{}' %s/usher.v1.ConfigService/GetConfig\n", settings.Version, p.config.PublicURL)
}
