package testenv

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Person is somebody whom the OpenID provider knows.
type Person struct {
	Sub, Email            string
	EmailVerified         bool
	GivenName, FamilyName string
}

// OIDCProvider is an OpenID provider of one test: the library of a certified one, with keys and discovery of its own, which
// checks redirect addresses, the client's secret and PKCE. Only its login page is ours: it asks nothing.
type OIDCProvider struct {
	// Issuer is its address.
	Issuer                 string
	ClientID, ClientSecret string

	provider  op.OpenIDProvider
	mu        sync.Mutex
	people    map[string]Person
	atLogin   string
	silent    bool
	down      bool
	claims    map[string]any
	redirect  []string
	loggedOut []string
}

// OIDC starts an OpenID provider.
func OIDC(t testing.TB) *OIDCProvider {
	t.Helper()
	p := &OIDCProvider{ClientID: "test-usher", ClientSecret: "test-client-secret", people: map[string]Person{}}
	server := httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(server.Close)
	p.Issuer = server.URL
	config := &op.Config{CodeMethodS256: true, AuthMethodPost: true, DefaultLogoutRedirectURI: "/logged-out"}
	_, _ = rand.Read(config.CryptoKey[:])
	clients := map[string]*storage.Client{p.ClientID: storage.WebClient(p.ClientID, p.ClientSecret, "http://127.0.0.1/none")}
	provider, err := op.NewProvider(
		config, &oidcStorage{storage.NewStorageWithClients(p, clients), p}, op.StaticIssuer(p.Issuer), op.WithAllowInsecure(),
		op.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		t.Fatal(err)
	}
	p.provider = provider
	return p
}

// Register allows a server to send browsers, and to have them sent back to these addresses.
func (p *OIDCProvider) Register(redirectURL, postLogoutURL string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redirect, p.loggedOut = []string{redirectURL}, []string{postLogoutURL}
}

// SignIn lets the given person be the one whom the login page sees from now on. silent is whether they are signed in at the
// provider already, so that it need not show a page.
func (p *OIDCProvider) SignIn(person Person, silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.people[person.Sub] = person
	p.atLogin, p.silent = person.Sub, silent
}

// Claims adds claims to ID tokens and user-info that are handed out from now on.
func (p *OIDCProvider) Claims(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims = claims
}

// Down makes the provider drop every connection, or serve again.
func (p *OIDCProvider) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *OIDCProvider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	down, person := p.down, p.atLogin
	p.mu.Unlock()
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case r.URL.Path != "/login/username":
		p.provider.ServeHTTP(w, r)
	default:
		id := r.FormValue("authRequestID")
		if err := p.provider.Storage().(*oidcStorage).CheckUsernamePassword(person, "", id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		ctx := op.ContextWithIssuer(r.Context(), p.Issuer)
		http.Redirect(w, r, op.AuthCallbackURL(p.provider)(ctx, id), http.StatusFound)
	}
}

// GetUserByID implements storage.UserStore.
func (p *OIDCProvider) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	person, ok := p.people[id]
	if !ok {
		return nil
	}
	return &storage.User{
		ID: person.Sub, Username: person.Sub, FirstName: person.GivenName, LastName: person.FamilyName,
		Email: person.Email, EmailVerified: person.EmailVerified,
	}
}

// GetUserByUsername implements storage.UserStore.
func (p *OIDCProvider) GetUserByUsername(name string) *storage.User { return p.GetUserByID(name) }

// ExampleClientID implements storage.UserStore.
func (p *OIDCProvider) ExampleClientID() string { return p.ClientID }

// oidcStorage is the library's example store with three differences: it knows the addresses and the claims of a test, and
// that somebody may be signed in already.
type oidcStorage struct {
	*storage.Storage
	p *OIDCProvider
}

// CreateAuthRequest implements op.Storage.
func (s *oidcStorage) CreateAuthRequest(ctx context.Context, req *oidc.AuthRequest, userID string) (op.AuthRequest, error) {
	s.p.mu.Lock()
	known := s.p.silent
	s.p.mu.Unlock()
	if known {
		copied := *req
		copied.Prompt = nil
		req = &copied
	}
	return s.Storage.CreateAuthRequest(ctx, req, userID)
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest, for ID tokens.
func (s *oidcStorage) SetUserinfoFromRequest(
	ctx context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string,
) error {
	defer s.addClaims(info)
	return s.Storage.SetUserinfoFromRequest(ctx, info, r, scopes)
}

// SetUserinfoFromToken implements op.Storage, for user-info.
func (s *oidcStorage) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, tokenID, subject, origin string) error {
	defer s.addClaims(info)
	return s.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin)
}

func (s *oidcStorage) addClaims(info *oidc.UserInfo) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for name, value := range s.p.claims {
		info.AppendClaims(name, value)
	}
}

// GetClientByClientID implements op.Storage.
func (s *oidcStorage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return &oidcClient{c, s.p}, nil
}

type oidcClient struct {
	op.Client
	p *OIDCProvider
}

// RedirectURIs implements op.Client.
func (c *oidcClient) RedirectURIs() []string {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.p.redirect
}

// PostLogoutRedirectURIs implements op.Client.
func (c *oidcClient) PostLogoutRedirectURIs() []string {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.p.loggedOut
}
