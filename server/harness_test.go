package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/redis/rueidis"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/settings"
)

const (
	testSecret = "test-usher-secret-of-32-characters-or-more"
	// serviceToken is a service with scope rooms.
	serviceToken = "usher_svc_test-service-token-with-scope-rooms"
	// phoneServiceToken is a service with scope telephony.
	phoneServiceToken = "usher_svc_test-service-token-with-scope-telephony"
	// idleServiceToken is a service without any scope.
	idleServiceToken = "usher_svc_test-service-token-without-a-scope"
)

// instance is a running server with its real parts.
type instance struct {
	t       testing.TB
	URL     string
	Metrics string
	DB      *dbtx.DB
	Redis   rueidis.Client
	Keys    *auth.Keys
	LiveKit *testenv.LiveKitServer
	Config  settings.Config

	log     *testenv.Log
	secrets *secrets
	stop    func() error
}

// start runs a server until the end of the test. Its parts are its own.
func start(t testing.TB, change ...func(*settings.Config)) *instance {
	t.Helper()
	listen, webhook := listenForWebhooks(t)
	lk := testenv.LiveKit(t, webhook)
	return startOn(t, lk, append([]func(*settings.Config){func(c *settings.Config) { c.Listen = listen }}, change...)...)
}

// listenForWebhooks is where a server may listen, and where LiveKit then sends its events.
func listenForWebhooks(t testing.TB) (listen, webhook string) {
	t.Helper()
	listen = fmt.Sprint("127.0.0.1:", testenv.Port(t))
	return listen, "http://" + listen + "/webhooks/livekit"
}

// startOn is [start] with a livekit-server.
func startOn(t testing.TB, lk *testenv.LiveKitServer, change ...func(*settings.Config)) *instance {
	t.Helper()
	redis := testenv.Redis(t)
	config := testConfig(places{Database: testenv.PostgresURL(t), Redis: redis.Address, LiveKit: lk.URL})
	for _, c := range change {
		c(&config)
	}
	return serve(t, config, redis.Client(t), lk)
}

// places are where the parts of a server are.
type places struct{ Database, Redis, LiveKit string }

// testConfig are the settings of a server of the tests.
func testConfig(p places) settings.Config {
	return settings.Config{
		Listen: "127.0.0.1:0", ListenInternal: "127.0.0.1:0", PublicURL: "http://usher.test",
		DatabaseURL: settings.Secret(p.Database),
		Redis:       settings.RedisConfig{Addresses: []string{p.Redis}},
		Secret:      testSecret,
		LiveKit: settings.LiveKitConfig{
			URL: p.LiveKit, PublicURL: strings.Replace(p.LiveKit, "http", "ws", 1), Sweep: 30 * time.Second, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret,
			TokenLife: 10 * time.Minute, SessionLife: 12 * time.Hour,
			EmptyTimeout: 5 * time.Minute, DepartureTimeout: 20 * time.Second,
		},
		Session: settings.SessionConfig{IdleTimeout: 12 * time.Hour, MaxAge: 7 * 24 * time.Hour},
		Rooms: settings.RoomsConfig{
			AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED, UsersCreate: true,
			Sources: []usherv1.TrackSource{
				usherv1.TrackSource_TRACK_SOURCE_CAMERA, usherv1.TrackSource_TRACK_SOURCE_MICROPHONE,
				usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE, usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO,
			},
		},
		Lobby: settings.LobbyConfig{
			Waiting: 30 * time.Second, Grace: 10 * time.Second, Accepted: 6 * time.Hour, Denied: 5 * time.Minute,
			KeepPlace: 15 * time.Minute, MaxWaiting: 200,
		},
		Streams: settings.StreamsConfig{Heartbeat: 10 * time.Second, MaxAge: 30 * time.Minute, PerTicket: 2, PerUser: 20, PerNetwork: 500},
		Callers: settings.CallersConfig{Grace: 30 * time.Second},
		Recording: settings.RecordingConfig{
			Modes: []usherv1.RecordingMode{
				usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING, usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT,
			},
			Folder: "recordings", Sweep: time.Second,
		},
		Mail:      settings.MailConfig{Sweep: time.Minute},
		Telephony: settings.TelephonyConfig{Enabled: true, PINLength: 9, PINRest: 365 * 24 * time.Hour, Sweep: 30 * time.Second},
		ServiceTokens: []settings.ServiceToken{
			{Name: "portal", Hash: hash(serviceToken), Scopes: []string{"rooms"}},
			{Name: "phones", Hash: hash(phoneServiceToken), Scopes: []string{"telephony"}},
			{Name: "idle", Hash: hash(idleServiceToken)},
		},
		Languages: []string{"en", "fr"},
		Branding:  &usherv1.Branding{Name: "Usher"},
		// Off, or many tests from one address would refuse one another; limits have tests of their own.
		Limits:         settings.Limits{},
		Keep:           settings.KeepConfig{Idempotency: 24 * time.Hour, ExpiredTokens: 24 * time.Hour, Audit: 24 * time.Hour, Jobs: 24 * time.Hour, CleanUpAt: 3 * time.Hour},
		DrainTimeout:   5 * time.Second,
		RequestTimeout: 10 * time.Second,
		Development:    true,
	}
}

// serve starts a server with the given settings.
func serve(t testing.TB, config settings.Config, redis rueidis.Client, lk *testenv.LiveKitServer) *instance {
	t.Helper()
	// Another server with the same settings listens elsewhere.
	others := config
	others.Listen = "127.0.0.1:0"
	i := &instance{
		t: t, Redis: redis, LiveKit: lk, Config: others,
		Keys: auth.NewKeys([]byte(config.Secret), []byte(config.SecretPrevious)),
		log:  &testenv.Log{}, secrets: &secrets{},
	}
	ready, ended := make(chan server.Addresses, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- server.Run(ctx, server.Options{
			Config: config, Log: slog.New(slog.NewTextHandler(i.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Ready: func(a server.Addresses) { ready <- a },
		})
	}()
	select {
	case a := <-ready:
		i.URL, i.Metrics = "http://"+a.API.String(), "http://"+a.Internal.String()
	case err := <-ended:
		cancel()
		t.Fatalf("server did not start: %v\n%s", err, i.log)
	}
	i.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	db, err := dbtx.Open(context.Background(), string(config.DatabaseURL))
	if err != nil {
		t.Fatal(err)
	}
	i.DB = db
	t.Cleanup(func() {
		if err := i.stop(); err != nil {
			t.Errorf("server ended with %v", err)
		}
		db.Close()
		i.secrets.check(t, i.log.String())
		if t.Failed() {
			t.Logf("the server said:\n%s", i.log)
		}
	})
	return i
}

// user makes an account.
func (i *instance) user(name string) *ent.User {
	i.t.Helper()
	var u *ent.User
	email := strings.ToLower(strings.ReplaceAll(name, " ", ".")) + "@people.example"
	err := i.DB.Run(i.t.Context(), func(tx *ent.Client) error {
		var err error
		u, err = tx.User.Create().SetSub("sub-" + email).SetEmail(mailbox.Address(email)).SetEmailVerified(true).SetFullName(name).Save(i.t.Context())
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	i.secrets.add(email, name)
	return u
}

// apiToken makes an API token of a user.
func (i *instance) apiToken(u *ent.User, scopes ...string) string {
	i.t.Helper()
	tokens := auth.APITokens{DB: i.DB, Keys: i.Keys}
	token, _, err := tokens.Create(i.t.Context(), auth.CreateAPITokenParams{UserID: u.ID, Name: "test", Scopes: scopes, ExpireTime: time.Now().Add(time.Hour)})
	if err != nil {
		i.t.Fatal(err)
	}
	i.secrets.add(token)
	return token
}

// session signs a user in and returns the cookie.
func (i *instance) session(u *ent.User) *http.Cookie {
	i.t.Helper()
	sessions := &auth.Sessions{Redis: i.Redis, IdleTimeout: time.Hour, MaxAge: time.Hour}
	token, err := sessions.Create(i.t.Context(), u.ID, "")
	if err != nil {
		i.t.Fatal(err)
	}
	i.secrets.add(token)
	return sessions.Cookie(token, false)
}

// header is a client option that sends a header with every call, "" for none.
func header(name, value string) connect.ClientOption {
	return connect.WithInterceptors(headerInterceptor{name, value})
}

// bearer is a client option that authenticates every call, "" for nobody.
func bearer(token string) connect.ClientOption {
	if token == "" {
		return header("", "")
	}
	return header("Authorization", "Bearer "+token)
}

type headerInterceptor struct{ name, value string }

func (h headerInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if h.name != "" {
			req.Header().Set(h.name, h.value)
		}
		return next(ctx, req)
	}
}

func (h headerInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if h.name != "" {
			conn.RequestHeader().Set(h.name, h.value)
		}
		return conn
	}
}

func (headerInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// clients are clients of all services with the same options.
type clients struct {
	usherv1connect.RoomsServiceClient
	usherv1connect.LobbyServiceClient
	usherv1connect.ParticipantsServiceClient
	usherv1connect.RecordingsServiceClient
	usherv1connect.TelephonyServiceClient
	usherv1connect.InvitationsServiceClient
	usherv1connect.UsersServiceClient
	usherv1connect.ConfigServiceClient
}

func (i *instance) clients(options ...connect.ClientOption) *clients {
	return i.clientsOver(http.DefaultClient, options...)
}

func (i *instance) clientsOver(c connect.HTTPClient, options ...connect.ClientOption) *clients {
	options = append(options, connect.WithInterceptors(i.secrets))
	return &clients{
		usherv1connect.NewRoomsServiceClient(c, i.URL, options...),
		usherv1connect.NewLobbyServiceClient(c, i.URL, options...),
		usherv1connect.NewParticipantsServiceClient(c, i.URL, options...),
		usherv1connect.NewRecordingsServiceClient(c, i.URL, options...),
		usherv1connect.NewTelephonyServiceClient(c, i.URL, options...),
		usherv1connect.NewInvitationsServiceClient(c, i.URL, options...),
		usherv1connect.NewUsersServiceClient(c, i.URL, options...),
		usherv1connect.NewConfigServiceClient(c, i.URL, options...),
	}
}

// h2c is an HTTP/2 client without TLS, as gRPC needs.
func h2c(t testing.TB) *http.Client {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialContext: (&net.Dialer{}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// reason is the reason of a refusal: "" for none, "?" for an error without an ErrorInfo of ours.
func reason(err error) string {
	if err == nil {
		return ""
	}
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return "? " + err.Error()
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok && info.GetDomain() == "usher" {
				return info.GetReason()
			}
		}
	}
	return "? " + err.Error()
}

func wantReason(t testing.TB, err error, want string) {
	t.Helper()
	if got := reason(err); got != want {
		t.Fatalf("reason = %q, want %q (%v)", got, want, err)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
