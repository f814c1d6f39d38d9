package settings

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/settings/settingstest"
)

// mustLoad reads settings for `usher serve`.
func mustLoad(t *testing.T, environ []string) *Loaded {
	t.Helper()
	s, err := Loader{Environ: environ, Needs: NeedEverything}.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wrongLines are the problems with settings.
func wrongLines(t *testing.T, l Loader) Problems {
	t.Helper()
	_, err := l.Load()
	if err == nil {
		return nil
	}
	wrong, ok := errors.AsType[Problems](err)
	if !ok {
		t.Fatalf("load: %v, which is not a list of problems", err)
	}
	return wrong
}

func TestLoad_defaults(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, settingstest.Environ()).Config
	want := Limits{
		Calls:            ratelimit.Limit{Name: "calls", Burst: 1200, Period: time.Minute},
		Join:             ratelimit.Limit{Name: "join", Burst: 120, Period: time.Minute},
		CreateRoom:       ratelimit.Limit{Name: "create-room", Burst: 30, Period: time.Hour},
		EmailLookup:      ratelimit.Limit{Name: "email-lookup", Burst: 60, Period: time.Hour},
		NotFound:         ratelimit.Limit{Name: "not-found", Burst: 60, Period: time.Minute},
		SignIn:           ratelimit.Limit{Name: "sign-in", Burst: 60, Period: time.Minute},
		RaiseHand:        ratelimit.Limit{Name: "raise-hand", Burst: 10, Period: time.Minute},
		Rename:           ratelimit.Limit{Name: "rename", Burst: 10, Period: time.Minute},
		RotatePIN:        ratelimit.Limit{Name: "rotate-pin", Burst: 10, Period: time.Hour},
		ResendInvitation: ratelimit.Limit{Name: "resend-invitation", Burst: 10, Period: time.Hour},
		StartRecording:   ratelimit.Limit{Name: "start-recording", Burst: 10, Period: time.Hour},
		// One a second, and five a second.
		KnockNetwork: ratelimit.Limit{Name: "knock-network", Burst: 200, Period: 200 * time.Second},
		KnockRoom:    ratelimit.Limit{Name: "knock-room", Burst: 200, Period: 40 * time.Second},
	}
	if diff := cmp.Diff(want, c.Limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	if c.LiveKit.TokenLife != 10*time.Minute || c.LiveKit.SessionLife != 12*time.Hour ||
		c.Session.IdleTimeout != 12*time.Hour || c.Session.MaxAge != 7*24*time.Hour || c.Keep.CleanUpAt != 3*time.Hour {
		t.Errorf("life times: LiveKit %+v, session %+v, kept %+v", c.LiveKit, c.Session, c.Keep)
	}
	lobby := LobbyConfig{
		Waiting: 30 * time.Second, Grace: 10 * time.Second, Accepted: 6 * time.Hour, Denied: 5 * time.Minute,
		KeepPlace: 15 * time.Minute, MaxWaiting: 200,
	}
	streams := StreamsConfig{Heartbeat: 10 * time.Second, MaxAge: 30 * time.Minute, PerTicket: 2, PerUser: 20, PerNetwork: 500}
	if c.Lobby != lobby || c.Streams != streams {
		t.Errorf("lobby %+v, streams %+v", c.Lobby, c.Streams)
	}
	if c.Telephony.PINLength != 9 {
		t.Errorf("PINs have %d digits: with the #, more than nine are lost when typed before the bridge's message has ended", c.Telephony.PINLength)
	}
	if len(c.OIDC.FullNameClaims) != 0 {
		t.Errorf("names are of the claims %q: want the choice of server/adapter/oidc, which knows which ones say the same", c.OIDC.FullNameClaims)
	}
	if !c.OIDC.CreateUsers || c.OIDC.MatchByEmail || !c.Rooms.UsersCreate || c.Rooms.AccountNames || c.Directory.Open || c.Development {
		t.Errorf("switches: %+v %+v %+v", c.OIDC, c.Rooms, c.Directory)
	}
	if c.Rooms.AccessLevel != usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC || len(c.Rooms.Sources) != 4 || c.Branding.GetName() != "Usher" {
		t.Errorf("rooms %+v, branding %v", c.Rooms, c.Branding)
	}
}

func TestLoad_values(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, settingstest.Environ(
		"USHER_PUBLIC_URL=https://Meet.Example.org/",
		"USHER_TRUSTED_PROXIES=10.0.0.7, 192.168.0.0/16,2001:db8::/32",
		"USHER_ALLOWED_ORIGINS=https://Portal.example.org:443,http://localhost:3000",
		"USHER_OIDC_ISSUER=https://id.example.org/realms/main/",
		"USHER_OIDC_CLIENT_ID=test-client",
		"USHER_OIDC_EXTRA_PARAMS=acr_values=eidas1,ui_locales=fr",
		"USHER_SERVICE_TOKENS=booking:"+strings.Repeat("AB", 32)+":read+rooms,phone:"+strings.Repeat("cd", 32)+":telephony",
		"USHER_LIMIT_JOIN=off",
		"USHER_ROOMS_SOURCES=none",
		"USHER_LOG_LEVEL=debug",
	)).Config
	if c.PublicURL != "https://meet.example.org" {
		t.Errorf("public URL %q: want it without a slash, in lower case", c.PublicURL)
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	if diff := cmp.Diff(proxies, c.TrustedProxies, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("proxies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"https://portal.example.org", "http://localhost:3000"}, c.AllowedOrigins); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
	if c.OIDC.Issuer != "https://id.example.org/realms/main/" {
		t.Errorf("issuer %q: want it letter by letter", c.OIDC.Issuer)
	}
	if diff := cmp.Diff(map[string]string{"acr_values": "eidas1", "ui_locales": "fr"}, c.OIDC.ExtraParams); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	tokens := []ServiceToken{
		{Name: "booking", Hash: strings.Repeat("ab", 32), Scopes: []string{"read", "rooms"}},
		{Name: "phone", Hash: strings.Repeat("cd", 32), Scopes: []string{"telephony"}},
	}
	if diff := cmp.Diff(tokens, c.ServiceTokens); diff != "" {
		t.Errorf("service tokens (-want +got):\n%s", diff)
	}
	if c.Limits.Join.Burst != 0 || len(c.Rooms.Sources) != 0 || c.Log.Level != slog.LevelDebug {
		t.Errorf("limit %+v, sources %v, log %+v", c.Limits.Join, c.Rooms.Sources, c.Log)
	}
}

// LiveKit may be below a path of a host that serves Usher, too.
func TestLoad_liveKitBelowAPath(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"Meet.example.org:443/LiveKit/": "meet.example.org/LiveKit",
		"meet.example.org/a/b%20c":      "meet.example.org/a/b%20c",
		"meet.example.org//":            "meet.example.org",
	} {
		c := mustLoad(t, settingstest.Environ("USHER_LIVEKIT_URL=https://"+given, "USHER_LIVEKIT_PUBLIC_URL=wss://"+given)).Config
		if c.LiveKit.URL != "https://"+want || c.LiveKit.PublicURL != "wss://"+want {
			t.Errorf("%s is read as %s and %s, want %s", given, c.LiveKit.URL, c.LiveKit.PublicURL, want)
		}
	}
}

func TestLoad_refused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ setting, want string }{
		"a boolean is strict":                     {"USHER_REDIS_TLS=yes", `USHER_REDIS_TLS (environment): "yes" is neither true nor false`},
		"a boolean has no capitals":               {"USHER_REDIS_TLS=True", `USHER_REDIS_TLS (environment): "True" is neither true nor false`},
		"a duration needs a unit":                 {"USHER_DRAIN_TIMEOUT=30", `USHER_DRAIN_TIMEOUT (environment): "30" is not a duration above 0, such as 30s, 10m or 12h`},
		"a word is one of a list":                 {"USHER_ROOMS_ACCESS_LEVEL=open", `USHER_ROOMS_ACCESS_LEVEL (environment): "open" is none of public, restricted, trusted`},
		"LiveKit is called by http":               {"USHER_LIVEKIT_URL=ws://livekit:7880", "USHER_LIVEKIT_URL (environment): want an address that begins with https:// or http://"},
		"clients reach LiveKit by ws":             {"USHER_LIVEKIT_PUBLIC_URL=https://lk.example.org", "USHER_LIVEKIT_PUBLIC_URL (environment): want an address that begins with wss:// or ws://"},
		"an https page loads no ws":               {"USHER_LIVEKIT_PUBLIC_URL=ws://lk.example.org", "USHER_LIVEKIT_PUBLIC_URL begins with ws://, which browsers refuse on the https:// pages of USHER_PUBLIC_URL: use wss://"},
		"people come by https":                    {"USHER_PUBLIC_URL=http://meet.example.org", "USHER_PUBLIC_URL (environment): http:// is for localhost only: use https://"},
		"the public address has no path":          {"USHER_PUBLIC_URL=https://example.org/meet", `USHER_PUBLIC_URL (environment): "https://example.org/meet" must not have a path, query or fragment`},
		"LiveKit's path is one":                   {"USHER_LIVEKIT_PUBLIC_URL=wss://lk.example.org/a/../b", `USHER_LIVEKIT_PUBLIC_URL (environment): "wss://lk.example.org/a/../b" must not have a path with empty, "." or ".." elements`},
		"LiveKit's address has no query":          {"USHER_LIVEKIT_URL=https://lk.example.org/a?b=c", `USHER_LIVEKIT_URL (environment): "https://lk.example.org?b=c" must not have a path, query or fragment`},
		"a secret of 16 bytes is weak":            {"USHER_SECRET=" + strings.Repeat("0123456789abcdef", 2), "USHER_SECRET (environment): is too weak: it holds 16 bytes and needs 32; make one with: openssl rand -base64 32"},
		"a secret of one letter is weak":          {"USHER_SECRET=" + strings.Repeat("x", 40), "USHER_SECRET (environment): is too weak: it repeats a few characters; make one with: openssl rand -base64 32"},
		"LiveKit's secret is long":                {"USHER_LIVEKIT_SECRET=secret", "USHER_LIVEKIT_SECRET (environment): is too weak: it has 6 characters and needs 32, here and in LiveKit's keys"},
		"storage is reached by https":             {"USHER_STORAGE_ENDPOINT=http://s3.example.org", "USHER_STORAGE_ENDPOINT (environment): http:// is for localhost only: use https://"},
		"browsers reach storage by https":         {"USHER_STORAGE_PUBLIC_ENDPOINT=http://s3.example.org", "USHER_STORAGE_PUBLIC_ENDPOINT (environment): http:// is for localhost only: use https://"},
		"proxies reach storage by https":          {"USHER_STORAGE_PROXY_ENDPOINT=http://s3.example.org", "USHER_STORAGE_PROXY_ENDPOINT (environment): http:// is for localhost only: use https://"},
		"recorders reach storage by https":        {"USHER_EGRESS_ENDPOINT=http://s3.example.org", "USHER_EGRESS_ENDPOINT (environment): http:// is for localhost only: use https://"},
		"two secrets differ":                      {"USHER_LIVEKIT_SECRET=" + settingstest.Secret, "USHER_SECRET and USHER_LIVEKIT_SECRET are equal: whoever runs LiveKit could make tokens of this server"},
		"the previous secret is another":          {"USHER_SECRET_PREVIOUS=" + settingstest.Secret, "USHER_SECRET and USHER_SECRET_PREVIOUS are equal: the previous one is the one before the change"},
		"the database is one of two":              {"USHER_DATABASE_URL=mysql://test-password@db/usher", "USHER_DATABASE_URL (environment): is neither a postgres:// nor a sqlite: address"},
		"metrics have an address of their own":    {"USHER_LISTEN_INTERNAL=:8080", "USHER_LISTEN and USHER_LISTEN_INTERNAL are equal: metrics need an address of their own"},
		"an issuer needs a client":                {"USHER_OIDC_ISSUER=https://id.example.org", "USHER_OIDC_CLIENT_ID is missing: USHER_OIDC_ISSUER is set"},
		"a client needs an issuer":                {"USHER_OIDC_CLIENT_ID=test", "USHER_OIDC_ISSUER is missing: other USHER_OIDC_ settings need it"},
		"origins are named":                       {"USHER_ALLOWED_ORIGINS=*", "USHER_ALLOWED_ORIGINS (environment): name each origin: * would let any site in"},
		"a service token is three parts":          {"USHER_SERVICE_TOKENS=usher_svc_test", "USHER_SERVICE_TOKENS (environment): want name:sha256:scope+scope for each token, as `usher token hash` prints it"},
		"a service token's scope exists":          {"USHER_SERVICE_TOKENS=a:" + strings.Repeat("ab", 32) + ":admin", "USHER_SERVICE_TOKENS (environment): service a: the scopes are read, rooms, recordings, invitations, telephony, with + between them"},
		"a service has one token":                 {"USHER_SERVICE_TOKENS=a:" + strings.Repeat("ab", 32) + ":read,a:" + strings.Repeat("cd", 32) + ":read", "USHER_SERVICE_TOKENS (environment): service a is there twice"},
		"a limit is calls and period":             {"USHER_LIMIT_JOIN=60", `USHER_LIMIT_JOIN (environment): "60" is neither calls/period, such as 60/1m, nor off`},
		"a secret stands in one place":            {"USHER_SECRET_FILE=/test", "USHER_SECRET and USHER_SECRET_FILE are both set: keep one"},
		"a misspelt name is no setting":           {"USHER_LISTEN_INTERNALL=:1", "USHER_LISTEN_INTERNALL (environment) is not a setting; did you mean USHER_LISTEN_INTERNAL?"},
		"only secrets come from files":            {"USHER_LISTEN_FILE=/test", "USHER_LISTEN_FILE (environment) is not a setting; did you mean USHER_LISTEN?"},
		"a port is no service of Kubernetes":      {"USHER_PORT=8080", "USHER_PORT (environment) is not a setting; did you mean USHER_SECRET?"},
		"a session ends before its greatest age":  {"USHER_SESSION_IDLE_TIMEOUT=200h", "USHER_SESSION_IDLE_TIMEOUT is longer than USHER_SESSION_MAX_AGE"},
		"a late heartbeat keeps the place":        {"USHER_STREAM_HEARTBEAT=20s", "USHER_STREAM_HEARTBEAT is more than half of USHER_LOBBY_WAITING: one that is late would lose a guest their place"},
		"authorities of Redis need TLS":           {"USHER_REDIS_CA_FILE=/dev/null", "USHER_REDIS_CA_FILE has no effect: set USHER_REDIS_TLS=true, or leave it out"},
		"a list is not empty":                     {"USHER_LANGUAGES=, ,", "USHER_LANGUAGES (environment): names nothing between the commas"},
		"Redis is no address with a password":     {"USHER_REDIS_ADDRESSES=redis://:test-leak@redis:6379", "USHER_REDIS_ADDRESSES (environment): want host:port, without redis://, user or password, which have settings of their own"},
		"two services have two tokens":            {"USHER_SERVICE_TOKENS=a:" + strings.Repeat("ab", 32) + ":read,b:" + strings.Repeat("AB", 32) + ":rooms", "USHER_SERVICE_TOKENS (environment): services a and b have the same token"},
		"not everybody is a proxy":                {"USHER_TRUSTED_PROXIES=10.0.0.0/8,::/0", "USHER_TRUSTED_PROXIES (environment): ::/0 is everybody, who could then choose the address by which they are limited"},
		"scopes make it OpenID":                   {"USHER_OIDC_SCOPES=profile,email", "USHER_OIDC_SCOPES lacks openid, without which there is no sign-in"},
		"clients of access tokens need them":      {"USHER_OIDC_CLIENT_IDS=test", "USHER_OIDC_CLIENT_IDS has no effect: set USHER_OIDC_AUDIENCE, or leave it out"},
		"what a sign-in sends is its own":         {"USHER_OIDC_EXTRA_PARAMS=acr_values=eidas1,state=x", "USHER_OIDC_EXTRA_PARAMS (environment): state is set by the sign-in itself"},
		"authorities are a file that can be read": {"USHER_OIDC_CA_FILE=/test/none.pem", "USHER_OIDC_CA_FILE (environment): open /test/none.pem: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := wrongLines(t, Loader{Environ: settingstest.Environ(test.setting), Needs: NeedEverything})
			if diff := cmp.Diff(Problems{test.want}, got); diff != "" {
				t.Errorf("problems with %s (-want +got):\n%s", test.setting, diff)
			}
		})
	}
}

func TestLoad_allProblemsAtOnce(t *testing.T) {
	t.Parallel()
	got := wrongLines(t, Loader{Environ: []string{"USHER_REDIS_TLS=1", "USHER_SECRET=short", "USHER_LISTEM=:80", "OTHER=1"}, Needs: NeedEverything})
	want := Problems{
		"USHER_LISTEM (environment) is not a setting; did you mean USHER_LISTEN?",
		"USHER_PUBLIC_URL is missing",
		"USHER_SECRET (environment): is too weak: it holds 5 bytes and needs 32; make one with: openssl rand -base64 32",
		"USHER_DATABASE_URL is missing: set it, or USHER_DATABASE_URL_FILE",
		"USHER_REDIS_ADDRESSES is missing",
		`USHER_REDIS_TLS (environment): "1" is neither true nor false`,
		"USHER_LIVEKIT_URL is missing",
		"USHER_LIVEKIT_PUBLIC_URL is missing",
		"USHER_LIVEKIT_KEY is missing",
		"USHER_LIVEKIT_SECRET is missing: set it, or USHER_LIVEKIT_SECRET_FILE",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestLoad_needsOfACommand(t *testing.T) {
	t.Parallel()
	got := wrongLines(t, Loader{Needs: NeedDatabase})
	if diff := cmp.Diff(Problems{"USHER_DATABASE_URL is missing: set it, or USHER_DATABASE_URL_FILE"}, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestLoad_secretFromFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(settingstest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Loader{Environ: []string{"USHER_SECRET_FILE=" + path}, Needs: NeedKeys}.Load()
	if err != nil {
		t.Fatal(err)
	}
	if string(s.Config.Secret) != settingstest.Secret {
		t.Error("the secret is not what the file holds without its line end")
	}
}

func TestLoad_kubernetesServiceLinks(t *testing.T) {
	t.Parallel()
	mustLoad(t, settingstest.Environ("USHER_SERVICE_HOST=10.1.2.3", "USHER_SERVICE_PORT=80", "USHER_SERVICE_PORT_HTTP=80", "USHER_PORT=tcp://10.1.2.3:80",
		"USHER_PORT_80_TCP=tcp://10.1.2.3:80", "USHER_PORT_80_TCP_ADDR=10.1.2.3", "USHER_REDIS_PORT=tcp://10.1.2.4:6379", "USHER_REDIS_SERVICE_HOST=10.1.2.4"))
}

func TestLoad_file(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, text string) string {
		path := filepath.Join(t.TempDir(), "usher.env")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("the environment wins", func(t *testing.T) {
		t.Parallel()
		path := write(t, "# settings\n\nUSHER_LISTEN=:1000\nexport USHER_BRANDING_NAME=\"Our Meetings\"\nUSHER_SECRET='"+settingstest.Secret+"'\r\n")
		s, err := Loader{Environ: []string{"USHER_CONFIG_FILE=" + path, "USHER_LISTEN=:2000"}, Needs: NeedKeys}.Load()
		if err != nil {
			t.Fatal(err)
		}
		if c := s.Config; c.Listen != ":2000" || c.Branding.GetName() != "Our Meetings" || string(c.Secret) != settingstest.Secret {
			t.Errorf("listen %q, name %q, or the secret is not the file's", c.Listen, c.Branding.GetName())
		}
	})
	t.Run("its problems are reported with the others", func(t *testing.T) {
		t.Parallel()
		path := write(t, "USHER_LISTN=:1\nnonsense\nUSHER_REDIS_TLS=on\nUSHER_REDIS_TLS=true\nPATH=/bin\n")
		got := wrongLines(t, Loader{File: path})
		want := Problems{
			path + " line 2: want NAME=value",
			path + " line 4: USHER_REDIS_TLS is there twice",
			path + ": PATH does not begin with USHER_",
			"USHER_LISTN (settings file) is not a setting; did you mean USHER_LISTEN?",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	})
	t.Run("one that is not there is a problem", func(t *testing.T) {
		t.Parallel()
		got := wrongLines(t, Loader{File: "/test/none.env"})
		if diff := cmp.Diff(Problems{"settings file: open /test/none.env: no such file or directory"}, got); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	})
}

func TestLoad_developmentBringsItsOwn(t *testing.T) {
	t.Parallel()
	s, err := Loader{Environ: settingstest.Environ("USHER_ROOMS_ACCESS_LEVEL=trusted"), Development: true}.Load()
	if err != nil {
		t.Fatal(err)
	}
	if s.Config.DatabaseURL != "" || s.Config.Secret != "" || len(s.Config.Redis.Addresses) != 0 || s.Config.LiveKit.URL != "" {
		t.Error("development has taken the settings of production")
	}
	if s.Config.Rooms.AccessLevel != usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED {
		t.Error("development has not taken the access level of new rooms")
	}
	want := []string{
		"USHER_PUBLIC_URL", "USHER_SECRET", "USHER_DATABASE_URL", "USHER_REDIS_ADDRESSES",
		"USHER_LIVEKIT_URL", "USHER_LIVEKIT_PUBLIC_URL", "USHER_LIVEKIT_KEY", "USHER_LIVEKIT_SECRET",
	}
	if diff := cmp.Diff(want, s.Ignored); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}

// Problems are shown and logged, so none may repeat the value of a secret, however it is wrong.
func TestLoad_problemsHideSecrets(t *testing.T) {
	t.Parallel()
	for _, s := range allSettings() {
		if !s.Secret {
			continue
		}
		for _, text := range []string{"test-leak", "x://u:test-leak@h/", "postgres://u:test-leak@[::/", "a:test-leak:read", "Test:test-leak:read", "a:" + strings.Repeat("ab", 32) + ":test-leak"} {
			for _, line := range wrongLines(t, Loader{Environ: []string{s.Name + "=" + text}}) {
				if strings.Contains(line, "test-leak") {
					t.Errorf("%s=%s is reported as: %s", s.Name, text, line)
				}
			}
		}
	}
}

func TestSettings_described(t *testing.T) {
	t.Parallel()
	for _, s := range allSettings() {
		if s.doc == "" || s.set == nil {
			t.Errorf("%s lacks a description or a parser", s.Name)
		}
		if s.standard != "" && s.need != NeedNothing {
			t.Errorf("%s is required and has a default", s.Name)
		}
	}
}
