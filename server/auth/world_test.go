package auth_test

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

const testSecret = "test-secret-of-32-characters-or-more"

// world is an API behind the real middleware, whose methods only say who calls.
type world struct {
	*auth.Authenticator
	t       *testing.T
	redis   *testenv.RedisServer
	counter auth.ProbeCounter
	url     string
	// trusted origins.
	trusted []string
	// inside is how many calls for "absent-together" must have arrived before one is answered.
	inside sync.WaitGroup
}

// newWorld serves an API. change may replace parts before it is served.
func newWorld(t *testing.T, change ...func(*world)) *world {
	t.Helper()
	server := testenv.Redis(t)
	w := newWorldOn(t, testenv.SQLite(t), server.Client(t), change...)
	w.redis = server
	return w
}

func newWorldOn(t *testing.T, db *dbtx.DB, redis rueidis.Client, change ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, Authenticator: &auth.Authenticator{
		Refused: func(context.Context, string, *auth.Caller, connect.Code) {},
		DB:      db, Keys: auth.NewKeys([]byte(testSecret), nil),
		Sessions: &auth.Sessions{Redis: redis, IdleTimeout: time.Hour, MaxAge: 24 * time.Hour},
		Services: []auth.ServiceToken{{Name: "portal", Hash: sha256.Sum256([]byte("test-svc-token")), Scopes: []string{auth.ScopeRooms}}},
		Limiter:  &ratelimit.Limiter{Redis: redis},
		Log:      slog.New(slog.DiscardHandler),
	}}
	for _, c := range change {
		c(w)
	}
	w.counter = auth.ProbeCounter{Limiter: w.Limiter, NotFound: w.NotFound}
	protect, err := auth.ProtectOrigin(w.trusted)
	if err != nil {
		t.Fatal(err)
	}
	options := append(fault.Codecs(), connect.WithInterceptors(fault.Interceptor{Log: w.Log}, w.counter))
	mux := http.NewServeMux()
	mux.Handle(usherv1connect.NewRoomsServiceHandler(whoami{inside: &w.inside}, options...))
	mux.Handle(usherv1connect.NewUsersServiceHandler(whoami{inside: &w.inside}, options...))
	api := httptest.NewServer(auth.AllowOrigins(w.trusted, protect(w.Wrap(mux))))
	t.Cleanup(api.Close)
	w.url = api.URL
	return w
}

// whoami answers with the caller, or not at all when asked for the room "absent".
type whoami struct {
	usherv1connect.UnimplementedRoomsServiceHandler
	usherv1connect.UnimplementedUsersServiceHandler
	inside *sync.WaitGroup
}

func (a whoami) GetRoom(ctx context.Context, req *usherv1.GetRoomRequest) (*usherv1.GetRoomResponse, error) {
	switch req.GetRoom() {
	case "absent":
		return nil, auth.ErrRoomNotFound
	case "absent-together":
		a.inside.Done()
		a.inside.Wait()
		return nil, auth.ErrRoomNotFound
	}
	return &usherv1.GetRoomResponse{Room: &usherv1.Room{Id: auth.FromContext(ctx).Key()}}, nil
}

func (whoami) JoinRoom(context.Context, *usherv1.JoinRoomRequest) (*usherv1.JoinRoomResponse, error) {
	return &usherv1.JoinRoomResponse{}, nil
}

func (whoami) RenewConnection(context.Context, *usherv1.RenewConnectionRequest) (*usherv1.RenewConnectionResponse, error) {
	return &usherv1.RenewConnectionResponse{}, nil
}

func (whoami) CreateRoom(context.Context, *usherv1.CreateRoomRequest) (*usherv1.CreateRoomResponse, error) {
	return &usherv1.CreateRoomResponse{}, nil
}

func (whoami) ListRooms(context.Context, *usherv1.ListRoomsRequest) (*usherv1.ListRoomsResponse, error) {
	return &usherv1.ListRoomsResponse{}, nil
}

func (whoami) ResolveCreationCallback(context.Context, *usherv1.ResolveCreationCallbackRequest) (*usherv1.ResolveCreationCallbackResponse, error) {
	return &usherv1.ResolveCreationCallbackResponse{}, nil
}

func (whoami) GetMe(ctx context.Context, _ *usherv1.GetMeRequest) (*usherv1.GetMeResponse, error) {
	u, err := auth.RequireUser(ctx)
	if err != nil {
		return nil, err
	}
	return &usherv1.GetMeResponse{User: &usherv1.User{Id: u.ID.String()}}, nil
}

func (whoami) UpdateMe(context.Context, *usherv1.UpdateMeRequest) (*usherv1.UpdateMeResponse, error) {
	return &usherv1.UpdateMeResponse{}, nil
}

// do sends one JSON request and returns its status, and its reason or body.
func (w *world) do(method, procedure, body string, header ...string) (int, string, http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+procedure, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, reasonIn(string(text)), res.Header
}

// reasonIn is the reason of an error in JSON, or the text itself.
func reasonIn(text string) string {
	const mark = `"reason":"`
	if _, after, ok := strings.Cut(text, mark); ok {
		reason, _, _ := strings.Cut(after, `"`)
		return reason
	}
	return text
}

func (w *world) getRoom(header ...string) (int, string) {
	w.t.Helper()
	status, text, _ := w.do(http.MethodPost, usherv1connect.RoomsServiceGetRoomProcedure, `{"room":"r"}`, header...)
	return status, text
}

func (w *world) user(change ...func(*ent.UserCreate)) *ent.User {
	w.t.Helper()
	return newUser(w.t, w.DB, change...)
}

// session signs somebody in and returns the Cookie header.
func (w *world) session(u *ent.User) (header, token string) {
	w.t.Helper()
	token, err := w.Sessions.Create(w.t.Context(), u.ID, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return auth.CookieName(w.Secure) + "=" + token, token
}

func (w *world) apiToken(u *ent.User, scopes ...string) string {
	w.t.Helper()
	token, _, err := (&auth.APITokens{DB: w.DB, Keys: w.Keys}).Create(w.t.Context(), auth.NewAPIToken{
		UserID: u.ID, Scopes: scopes, ExpireTime: time.Now().Add(time.Hour),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func newUser(t testing.TB, db *dbtx.DB, change ...func(*ent.UserCreate)) *ent.User {
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

// reason is what a client reads of an error.
func reason(err error) string {
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
