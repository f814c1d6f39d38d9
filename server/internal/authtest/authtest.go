// Package authtest serves an API behind the real authentication middleware, for the tests of server/auth, server/accounts
// and server/signin.
package authtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/redis/rueidis"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/ratelimit"
)

// Secret is a made-up USHER_SECRET.
const Secret = "test-secret-of-32-characters-or-more"

// API is an API behind the real middleware, whose methods only say who calls.
type API struct {
	*auth.Authenticator
	T       *testing.T
	Redis   *testenv.RedisServer
	Counter auth.MissCounter
	URL     string
	// Trusted origins.
	Trusted []string
	// Inside is how many calls for "absent-together" must have arrived before one is answered.
	Inside sync.WaitGroup
}

// NewAPI serves an API. change may replace parts before it is served.
func NewAPI(t *testing.T, change ...func(*API)) *API {
	t.Helper()
	server := testenv.Redis(t)
	w := NewAPIOn(t, testenv.SQLite(t), server.Client(t), change...)
	w.Redis = server
	return w
}

// NewAPIOn serves an API on a database and a Redis of the caller.
func NewAPIOn(t *testing.T, db *dbtx.DB, redis rueidis.Client, change ...func(*API)) *API {
	t.Helper()
	w := &API{T: t, Authenticator: &auth.Authenticator{
		Refused: func(context.Context, string, *auth.Caller, connect.Code) {},
		DB:      db, Keys: auth.NewKeys([]byte(Secret), nil),
		Sessions: &auth.Sessions{Redis: redis, IdleTimeout: time.Hour, MaxAge: 24 * time.Hour},
		Services: []auth.ServiceToken{
			{Name: "portal", Hash: sha256.Sum256([]byte("test-svc-token")), Scopes: []string{auth.ScopeRooms}},
		},
		Limiter: &ratelimit.Limiter{Redis: redis},
		Log:     slog.New(slog.DiscardHandler),
	}}
	for _, c := range change {
		c(w)
	}
	w.Counter = auth.MissCounter{Limiter: w.Limiter, NotFound: w.NotFound}
	protect, err := auth.ProtectOrigin(w.Trusted)
	if err != nil {
		t.Fatal(err)
	}
	options := append(fault.Codecs(), connect.WithInterceptors(fault.Interceptor{Log: w.Log}, w.Counter))
	mux := http.NewServeMux()
	mux.Handle(usherv1connect.NewRoomsServiceHandler(WhoAmI{Inside: &w.Inside}, options...))
	mux.Handle(usherv1connect.NewUsersServiceHandler(WhoAmI{Inside: &w.Inside}, options...))
	api := httptest.NewServer(auth.AllowOrigins(w.Trusted, protect(w.Wrap(mux))))
	t.Cleanup(api.Close)
	w.URL = api.URL
	return w
}

// WhoAmI answers with the caller, or not at all when asked for the room "absent".
type WhoAmI struct {
	usherv1connect.UnimplementedRoomsServiceHandler
	usherv1connect.UnimplementedUsersServiceHandler
	Inside *sync.WaitGroup
}

// GetRoom implements the service.
func (a WhoAmI) GetRoom(ctx context.Context, req *usherv1.GetRoomRequest) (*usherv1.GetRoomResponse, error) {
	switch req.GetRoom() {
	case "absent":
		return nil, auth.ErrRoomNotFound
	case "absent-together":
		a.Inside.Done()
		a.Inside.Wait()
		return nil, auth.ErrRoomNotFound
	}
	return &usherv1.GetRoomResponse{Room: &usherv1.Room{Id: auth.FromContext(ctx).Key()}}, nil
}

// JoinRoom implements the service.
func (WhoAmI) JoinRoom(context.Context, *usherv1.JoinRoomRequest) (*usherv1.JoinRoomResponse, error) {
	return &usherv1.JoinRoomResponse{}, nil
}

// RenewConnection implements the service.
func (WhoAmI) RenewConnection(context.Context, *usherv1.RenewConnectionRequest) (*usherv1.RenewConnectionResponse, error) {
	return &usherv1.RenewConnectionResponse{}, nil
}

// CreateRoom implements the service.
func (WhoAmI) CreateRoom(context.Context, *usherv1.CreateRoomRequest) (*usherv1.CreateRoomResponse, error) {
	return &usherv1.CreateRoomResponse{}, nil
}

// ListRooms implements the service.
func (WhoAmI) ListRooms(context.Context, *usherv1.ListRoomsRequest) (*usherv1.ListRoomsResponse, error) {
	return &usherv1.ListRoomsResponse{}, nil
}

// ResolveCreationCallback implements the service.
func (WhoAmI) ResolveCreationCallback(
	context.Context, *usherv1.ResolveCreationCallbackRequest,
) (*usherv1.ResolveCreationCallbackResponse, error) {
	return &usherv1.ResolveCreationCallbackResponse{}, nil
}

// GetMe implements the service.
func (WhoAmI) GetMe(ctx context.Context, _ *usherv1.GetMeRequest) (*usherv1.GetMeResponse, error) {
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	return &usherv1.GetMeResponse{User: &usherv1.User{Id: u.ID.String()}}, nil
}

// UpdateMe implements the service.
func (WhoAmI) UpdateMe(context.Context, *usherv1.UpdateMeRequest) (*usherv1.UpdateMeResponse, error) {
	return &usherv1.UpdateMeResponse{}, nil
}

// Do sends one JSON request and returns its status, and its reason or body.
func (w *API) Do(method, procedure, body string, header ...string) (int, string, http.Header) {
	w.T.Helper()
	req, err := http.NewRequestWithContext(w.T.Context(), method, w.URL+procedure, strings.NewReader(body))
	if err != nil {
		w.T.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.T.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.T.Fatal(err)
	}
	return res.StatusCode, ReasonIn(string(text)), res.Header
}

// ReasonIn is the reason of an error in JSON, or the text itself.
func ReasonIn(text string) string {
	const mark = `"reason":"`
	if _, after, ok := strings.Cut(text, mark); ok {
		reason, _, _ := strings.Cut(after, `"`)
		return reason
	}
	return text
}

// GetRoom calls GetRoom and returns the status, and the reason or the body.
func (w *API) GetRoom(header ...string) (int, string) {
	w.T.Helper()
	status, text, _ := w.Do(http.MethodPost, usherv1connect.RoomsServiceGetRoomProcedure, `{"room":"r"}`, header...)
	return status, text
}

// User makes an account.
func (w *API) User(change ...func(*ent.UserCreate)) *ent.User {
	w.T.Helper()
	return NewUser(w.T, w.DB, change...)
}

// Session signs somebody in and returns the Cookie header.
func (w *API) Session(u *ent.User) (header, token string) {
	w.T.Helper()
	token, err := w.Sessions.Create(w.T.Context(), u.ID, "")
	if err != nil {
		w.T.Fatal(err)
	}
	return auth.CookieName(w.Secure) + "=" + token, token
}

// APIToken makes an API token of an account.
func (w *API) APIToken(u *ent.User, scopes ...string) string {
	w.T.Helper()
	token, _, err := (&auth.APITokens{DB: w.DB, Keys: w.Keys}).Create(w.T.Context(), auth.CreateAPITokenParams{
		UserID: u.ID, Scopes: scopes, ExpireTime: time.Now().Add(time.Hour),
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return token
}

// NewUser makes an account in db.
func NewUser(t testing.TB, db *dbtx.DB, change ...func(*ent.UserCreate)) *ent.User {
	t.Helper()
	var u *ent.User
	err := db.Run(t.Context(), func(tx *ent.Client) (err error) {
		create := tx.User.Create().SetFullName("Ada Lovelace")
		for _, c := range change {
			c(create)
		}
		u, err = create.Save(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Reason returns the reason of an error, as a client reads it.
func Reason(err error) string {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.ErrorInfo); ok {
				return info.GetReason()
			}
		}
	}
	return ce.Error()
}

// NewSessions keeps sessions in redis, for 12 hours without use and 7 days at most.
func NewSessions(redis rueidis.Client) *auth.Sessions {
	return &auth.Sessions{Redis: redis, IdleTimeout: 12 * time.Hour, MaxAge: 7 * 24 * time.Hour}
}

// MustCreate begins a session and returns its token.
func MustCreate(t *testing.T, s *auth.Sessions, userID uuid.UUID, idToken string) string {
	t.Helper()
	token, err := s.Create(t.Context(), userID, idToken)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// WantEnded fails the test unless the session is over.
func WantEnded(t *testing.T, s *auth.Sessions, token string) {
	t.Helper()
	if got, err := s.Lookup(t.Context(), token); !errors.Is(err, auth.ErrSessionEnded) {
		t.Errorf("Lookup = %v, %v, want ErrSessionEnded", got, err)
	}
}
