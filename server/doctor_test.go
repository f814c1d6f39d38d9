package server_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/ent/migrations"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/telephony"
)

// diagnose runs the doctor and returns the names of the bad checks, and the details by name.
func diagnose(t *testing.T, c settings.Config, wait time.Duration) (names, bad []string, details map[string]string) {
	t.Helper()
	details = map[string]string{}
	server.Doctor(t.Context(), server.DoctorOptions{Config: c, WebhookWait: wait, Report: func(check server.Check) {
		names = append(names, check.Name)
		if !check.OK {
			bad = append(bad, check.Name)
		}
		details[check.Name] += check.Detail + "\n"
		if check.Detail == "" || strings.Contains(check.Detail, testenv.LiveKitSecret) || strings.Contains(check.Detail, testSecret) {
			t.Errorf("%s: detail %q", check.Name, check.Detail)
		}
	}})
	return names, bad, details
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	all := []string{"database", "schema", "redis", "redis-aof", "proxies", "mail", "livekit", "clock", "livekit-key", "webhook", "trunks", "remote-unmute"}
	names, bad, details := diagnose(t, start(t).Config, time.Minute)
	if len(bad) > 0 || !slices.Equal(names, all) || !strings.Contains(details["trunks"], "no Redis") ||
		!strings.Contains(details["remote-unmute"], "not seen") {
		t.Errorf("a healthy server: checks %v, bad %v\n%v", names, bad, details)
	}

	listen, webhook := listenForWebhooks(t)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), Webhooks: []string{webhook}})
	bridge := phone.New(t, lk)
	trunk := bridge.TrunkWithAddresses("test", []string{"192.0.2.0/24"}, "+33123456789")
	i := startOn(t, lk, func(c *settings.Config) {
		c.Listen = listen
		c.Telephony.Sweep = time.Hour // what is stray stays, for this test
	})
	olga := i.clients(bearer(i.apiToken(i.user("Olga Of Doctor"), "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(olga.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "Visit"})).GetRoom().GetId()
	i.join(t, olga, room)
	i.open(room)
	stopBridge := bridge.Run()
	all = slices.Insert(all, 11, "bridge", "bridge-metrics", "dispatch-rules")
	names, bad, details = diagnose(t, i.Config, time.Minute)
	if len(bad) > 0 || !slices.Equal(names, all) || !strings.Contains(details["remote-unmute"], "can be let in") ||
		!strings.Contains(details["trunks"], "1 in use") || !strings.Contains(details["bridge"], "takes LiveKit's orders") ||
		!strings.Contains(details["bridge-metrics"], "are not seen") {
		t.Errorf("with a trunk and a meeting: checks %v, bad %v\n%v", names, bad, details)
	}

	stray := uuid.NewString()
	bridge.AddRule(phone.Rule{Name: "SIP_" + stray, Room: stray, PIN: "424242", TrunkIDs: []string{trunk}})
	bridge.AddRule(phone.Rule{Name: "front desk", Room: "front-desk", TrunkIDs: []string{trunk}})
	_, bad, details = diagnose(t, i.Config, time.Minute)
	if !slices.Equal(bad, []string{"dispatch-rules", "dispatch-rules"}) || !strings.Contains(details["dispatch-rules"], "orphaned") ||
		!strings.Contains(details["dispatch-rules"], "without a PIN") {
		t.Errorf("with a stray and an open rule: bad %v\n%v", bad, details)
	}
	config := i.Config
	config.Telephony.Trunks = []telephony.ConfiguredTrunk{
		{ID: "ST_gone"},
		{ID: bridge.Trunk("from anywhere", "+33123456780")},
		{ID: bridge.TrunkWithAddresses("to anything", []string{"192.0.2.0/24"})},
		{ID: bridge.TrunkWithAddresses("from everywhere", []string{"192.0.2.0/24", "0.0.0.0/0"}, "+33123456781")},
	}
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "livekit_sip_calls_active 2")
	}))
	t.Cleanup(metrics.Close)
	config.Telephony.BridgeMetrics = []string{metrics.URL}
	_, bad, details = diagnose(t, config, time.Minute)
	if slices.Contains(bad, "bridge-metrics") || strings.Count(details["trunks"], "anybody on the internet") != 2 {
		t.Errorf("with a bridge that tells its metrics, and trunks open to all: bad %v\n%v", bad, details)
	}
	stopBridge()
	config.Telephony.BridgeMetrics = append(config.Telephony.BridgeMetrics, "http://127.0.0.1:1/metrics")
	_, bad, details = diagnose(t, config, time.Minute)
	if !slices.Contains(bad, "bridge") || !strings.Contains(details["bridge"], "no phone bridge runs") ||
		!slices.Contains(bad, "bridge-metrics") || !strings.Contains(details["bridge-metrics"], "127.0.0.1:1") {
		t.Errorf("without a bridge: bad %v\n%v", bad, details)
	}
	for _, want := range []string{"does not have it", "anybody on the internet", "every number", "no number to show"} {
		if !slices.Contains(bad, "trunks") || !strings.Contains(details["trunks"], want) {
			t.Errorf("with trunks that are no good: bad %v, want one with %q\n%v", bad, want, details)
		}
	}
	for _, secret := range []string{"424242", i.pin(room)} {
		if strings.Contains(fmt.Sprint(details), secret) {
			t.Errorf("the doctor tells a PIN: %v", details)
		}
	}
}

// A provider that verifies no address leaves everybody pending who was added by e-mail: the doctor says so.
func TestDoctor_unverifiedAddresses(t *testing.T) {
	t.Parallel()
	address := "sqlite:" + filepath.Join(t.TempDir(), "usher.db")
	db := must[*dbtx.DB](t)(dbtx.Open(t.Context(), address))
	t.Cleanup(db.Close)
	if _, err := migrations.Up(t.Context(), db.SQL(), db.Dialect); err != nil {
		t.Fatal(err)
	}
	config := settings.Config{DatabaseURL: settings.Secret(address)}
	check := func(what string, wantBad bool, want string) {
		t.Helper()
		names, bad, details := diagnose(t, config, 0)
		const name = "addresses"
		if slices.Contains(bad, name) != wantBad || slices.Contains(names, name) != (want != "") || !strings.Contains(details[name], want) {
			t.Errorf("%s: checks %v, bad %v, %q, want %q", what, names, bad, details[name], want)
		}
	}
	a := &accounts.Accounts{DB: db, CreateUsers: true, Log: slog.New(slog.DiscardHandler)}
	check("nobody can sign in", false, "")
	config.OIDC.Issuer = "https://id.example.org"
	check("nobody signed in", false, "nobody has signed in")
	for n := range 3 {
		if _, err := a.SignIn(t.Context(), accounts.Claims{Sub: fmt.Sprint("test-", n), Email: mailbox.Address(fmt.Sprintf("person-%d@people.example", n))}); err != nil {
			t.Fatal(err)
		}
	}
	check("three signed in", true, "USHER_OIDC_TRUST_EMAIL")
	config.OIDC.TrustEmail = true
	check("their addresses are trusted", false, "next sign-in")
	config.OIDC.TrustEmail = false
	if _, err := a.SignIn(t.Context(), accounts.Claims{Sub: "test-ada", Email: "ada@people.example", EmailVerified: true}); err != nil {
		t.Fatal(err)
	}
	check("one is verified", false, "verified")
}

// open opens the dial-in of a room.
func (i *instance) open(room string) {
	i.t.Helper()
	phones := i.clients(bearer(phoneServiceToken))
	if _, err := phones.OpenDialIn(i.t.Context(), &usherv1.OpenDialInRequest{RoomId: room}); err != nil {
		i.t.Fatalf("open: %v", err)
	}
}

// pin is the PIN of a room.
func (i *instance) pin(room string) string {
	i.t.Helper()
	r, err := i.DB.Read.Room.Get(i.t.Context(), uuid.MustParse(room))
	if err != nil {
		i.t.Fatal(err)
	}
	p, err := r.QueryPin().Only(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	i.secrets.add(p.Pin)
	return p.Pin
}

// withClock stands in front of LiveKit as if its clock were ahead by so much.
func withClock(t *testing.T, target string, ahead time.Duration) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) },
		ModifyResponse: func(res *http.Response) error {
			res.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return nil
		},
	})
	t.Cleanup(front.Close)
	return front.URL
}

// Whatever is wrong has a line of its own that is bad, and only that.
func TestDoctor_bad(t *testing.T) {
	t.Parallel()
	healthy := start(t)
	mute := startOn(t, testenv.LiveKit(t, "http://127.0.0.1:1/webhooks/livekit"))
	unmutable := startOn(t, testenv.NewLiveKit(t, testenv.LiveKitOptions{NoRemoteUnmute: true}))
	noTelephony := unmutable.clients(bearer(unmutable.apiToken(unmutable.user("Olga Of Mute"), "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(noTelephony.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "M"})).GetRoom().GetId()
	unmutable.join(t, noTelephony, room)
	tests := []struct {
		name   string
		on     *instance
		change func(c *settings.Config)
		wait   time.Duration
		want   []string
		detail string
	}{
		{"events go elsewhere", mute, nil, time.Second, []string{"webhook"}, "webhook.urls"},
		{"no database", healthy, func(c *settings.Config) { c.DatabaseURL = "postgres://usher@127.0.0.1:1/x" }, time.Minute, []string{"database"}, "cannot be used"},
		{"empty database", healthy, func(c *settings.Config) { c.DatabaseURL = settings.Secret(testenv.EmptyPostgresURL(t)) }, time.Minute, []string{"schema"}, "usher migrate up"},
		{"no Redis", healthy, func(c *settings.Config) { c.Redis.Addresses = []string{"127.0.0.1:1"} }, time.Minute, []string{"redis"}, "USHER_REDIS_ADDRESSES"},
		{
			"a forgetful Redis", healthy,
			func(c *settings.Config) { c.Redis.Addresses = []string{testenv.Redis(t, "--appendonly", "no").Address} },
			time.Minute,
			[]string{"redis-aof"},
			"appendonly yes",
		},
		{
			"no mail server", healthy,
			func(c *settings.Config) {
				c.Mail = settings.MailConfig{Host: "127.0.0.1", Port: 1, TLS: settings.MailNoTLS, From: "meet@usher.test", Timeout: time.Second}
			},
			time.Minute,
			[]string{"mail"},
			"USHER_SMTP_HOST",
		},
		{"no LiveKit", healthy, func(c *settings.Config) { c.LiveKit.URL = "http://127.0.0.1:1" }, time.Minute, []string{"livekit"}, "USHER_LIVEKIT_URL"},
		{
			"another secret", healthy, func(c *settings.Config) { c.LiveKit.Secret = "test-another-secret-of-32-characters-or-more" },
			time.Minute,
			[]string{"livekit-key"},
			"USHER_LIVEKIT_SECRET",
		},
		{
			"LiveKit's clock is wrong", healthy, func(c *settings.Config) { c.LiveKit.URL = withClock(t, c.LiveKit.URL, -90*time.Second) },
			time.Minute,
			[]string{"clock"},
			"by -1m",
		},
		{"callers cannot be let in", unmutable, nil, 0, []string{"webhook", "remote-unmute"}, "enable_remote_unmute"},
	}
	for _, test := range tests {
		c := test.on.Config
		if test.change != nil {
			test.change(&c)
		}
		_, bad, details := diagnose(t, c, test.wait)
		if !slices.Equal(bad, test.want) || !strings.Contains(details[test.want[len(test.want)-1]], test.detail) {
			t.Errorf("%s: bad %v, want %v and %q\n%v", test.name, bad, test.want, test.detail, details)
		}
	}
}
