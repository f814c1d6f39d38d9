package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/settings"
)

// documented is a configuration of docs/proxies.md, by its language there.
func documented(t *testing.T, language string) string {
	t.Helper()
	text := string(must[[]byte](t)(os.ReadFile("../docs/proxies.md")))
	_, text, found := strings.Cut(text, "```"+language+"\n")
	text, _, ended := strings.Cut(text, "```")
	if !found || !ended {
		t.Fatalf("docs/proxies.md has no %s", language)
	}
	return text
}

// replaced replaces what must be there once.
func replaced(t testing.TB, text, old, by string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is in the configuration %d times, want once", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, by, 1)
}

// proxied is a server behind a proxy.
type proxied struct {
	*instance
	ada  *ent.User
	room string
	// browser speaks HTTP/2 to the proxy.
	browser *http.Client
	url     string
	// accessLog is nginx's.
	accessLog string
}

// behind starts a server with a room, and the proxy that run starts on a port of 127.0.0.1 with a certificate.
func behind(t *testing.T, config func(*settings.Config), run func(p *proxied, port int, certificate, key string)) *proxied {
	t.Helper()
	p := &proxied{instance: start(t, config), url: "https://meet.example.org"}
	p.ada = p.user("Ada Behind A Proxy")
	p.room = p.restricted(p.ada).GetId()
	port := testenv.Port(t)
	certificate, key, roots := testenv.CertificateFiles(t, "meet.example.org")
	run(p, port, certificate, key)
	p.browser = browserOf(t, local(port), roots)
	return p
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// behindNginx has the documented configuration as change leaves it.
func behindNginx(t *testing.T, config func(*settings.Config), change func(string) string) *proxied {
	t.Helper()
	return behind(t, config, func(p *proxied, port int, certificate, key string) {
		text := documented(t, "nginx")
		text = replaced(t, text, "server 127.0.0.1:8080;", "server "+strings.TrimPrefix(p.URL, "http://")+";")
		text = replaced(t, text, "listen 443 ssl http2;", "listen "+local(port)+" ssl http2;")
		text = replaced(t, text, "/etc/ssl/meet.example.org.pem", certificate)
		text = replaced(t, text, "/etc/ssl/meet.example.org.key", key)
		p.accessLog = filepath.Join(t.TempDir(), "access.log")
		text = replaced(t, text, "/var/log/nginx/usher.log", p.accessLog)
		testenv.Nginx(t, change(text), port)
	})
}

// behindCaddy has the documented configuration as change leaves it.
func behindCaddy(t *testing.T, config func(*settings.Config), change func(string) string) *proxied {
	t.Helper()
	return behind(t, config, func(p *proxied, port int, certificate, key string) {
		text := documented(t, "caddyfile")
		text = replaced(t, text, "127.0.0.1:8080", strings.TrimPrefix(p.URL, "http://"))
		text = replaced(t, text, "meet.example.org {", "https://meet.example.org:"+strconv.Itoa(port)+" {\n\tbind 127.0.0.1\n\ttls "+certificate+" "+key)
		testenv.Caddy(t, change(text), port)
	})
}

func browserOf(t *testing.T, address string, roots *x509.CertPool) *http.Client {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			// From another address than the proxy's own, which is trusted.
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// through are clients on the other side of the proxy.
func (p *proxied) through() *clients {
	c := *p.instance
	c.URL = p.url
	return c.clientsOver(p.browser)
}

func asDocumented(text string) string { return text }

// The configurations in docs/proxies.md: HTTP/2 in front, messages as they are sent, and the client's own address.
func TestProxies_nginx(t *testing.T) {
	t.Parallel()
	testProxy(t, behindNginx)
}

func TestProxies_caddy(t *testing.T) {
	t.Parallel()
	testProxy(t, behindCaddy)
}

func testProxy(t *testing.T, behind func(*testing.T, func(*settings.Config), func(string) string) *proxied) {
	t.Helper()
	p := behind(t, func(c *settings.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		c.Limits.KnockNetwork = ratelimit.Limit{Name: "knock-network", Burst: 2, Period: time.Hour}
	}, asDocumented)
	res := must[*http.Response](t)(p.browser.Get(p.url + "/healthz"))
	defer res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
		t.Errorf("%s %s in front, want HTTP/2", res.Proto, res.Status)
	}
	host, guest := p.clients(bearer(p.apiToken(p.ada, "rooms"))), p.through()
	e := p.knock(guest, p.room, "Grace Guest", "")
	stream := watchEntry(t, guest, p.room, e.GetTicket())
	untilEntry(stream, waiting)
	list := watchWaiting(t, p.throughAs(p.ada), p.room)
	untilList(list, "Grace Guest")
	p.decide(host, p.room, e, allow)
	if in := untilEntry(stream, accepted); in.GetConnection().GetToken() == "" {
		t.Error("the guest was let in without a connection")
	}
	untilList(list)
	// The address that the proxy passes on is the client's, whatever the client says.
	liar := *p.instance
	liar.URL = p.url
	for n := range 2 {
		c := liar.clientsOver(p.browser, header("X-Forwarded-For", "192.0.2."+strconv.Itoa(n)))
		_, err := c.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: p.room, DisplayName: "Liar"})
		if want := []string{"", "RATE_LIMITED"}[n]; reason(err) != want {
			t.Errorf("knock %d from behind the proxy: %v, want %q", n+2, err, want)
		}
	}
}

func (p *proxied) throughAs(u *ent.User) *clients {
	c := *p.instance
	c.URL = p.url
	return c.clientsOver(p.browser, bearer(p.apiToken(u, "rooms")))
}

// An nginx that buffers, and asks Usher with HTTP/1.0 as it does unless told otherwise, heeds X-Accel-Buffering; where it
// must not, a guest sees nothing.
func TestProxies_nginxBuffering(t *testing.T) {
	t.Parallel()
	on := func(text string) string {
		return replaced(t, replaced(t, text, "proxy_buffering off;", "proxy_buffering on;"), "proxy_http_version 1.1;", "proxy_http_version 1.0;")
	}
	p := behindNginx(t, func(*settings.Config) {}, on)
	e := p.knock(p.clients(), p.room, "Grace Guest", "")
	untilEntry(watchEntry(t, p.through(), p.room, e.GetTicket()), waiting)

	deaf := behindNginx(t, func(*settings.Config) {}, func(text string) string {
		return replaced(t, on(text), "proxy_read_timeout", "proxy_ignore_headers X-Accel-Buffering;\n        proxy_read_timeout")
	})
	e = deaf.knock(deaf.clients(), deaf.room, "Grace Guest", "")
	got := make(chan bool, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	go func() {
		stream, err := deaf.through().WatchEntry(ctx, &usherv1.WatchEntryRequest{Room: deaf.room, Ticket: e.GetTicket()})
		got <- err == nil && stream.Receive()
	}()
	if <-got {
		t.Error("a message arrived that nginx should hold back: what the header does is not proven")
	}
}

// A browser that says nothing but its Origin is on our own page, on whatever port that is; links of invitations and codes of
// the provider are in no access log; and the largest headers that sign-in makes pass.
func TestProxies_nginxRequests(t *testing.T) {
	t.Parallel()
	p := behindNginx(t, func(c *settings.Config) { c.PublicURL = "https://meet.example.org:8443" }, asDocumented)
	do := func(method, address string, header ...string) *http.Response {
		t.Helper()
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), method, address, nil))
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		p.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		res := must[*http.Response](t)(p.browser.Do(req))
		res.Body.Close()
		return res
	}
	for origin, want := range map[string]int{
		"https://meet.example.org:8443": http.StatusSeeOther, "https://meet.example.org": http.StatusForbidden, "https://evil.example:8443": http.StatusForbidden,
	} {
		if res := do(http.MethodPost, p.url+":8443/auth/logout", "Origin", origin); res.StatusCode != want {
			t.Errorf("signing out from %s without Sec-Fetch-Site: %d, want %d", origin, res.StatusCode, want)
		}
	}
	const secret = "test-secret-in-an-address"
	do(http.MethodGet, p.url+"/i/"+secret)
	do(http.MethodGet, p.url+"/-/mail/stop/"+secret)
	do(http.MethodGet, p.url+"/auth/callback?code="+secret, "Referer", p.url+"/i/"+secret)
	cookie, code := "test="+strings.Repeat("c", 6000), strings.Repeat("d", 6000)
	if res := do(http.MethodGet, p.url+"/healthz?code="+code, "Cookie", cookie, "Authorization", "Bearer "+strings.Repeat("e", 6000)); res.StatusCode != http.StatusOK {
		t.Errorf("large headers: %d", res.StatusCode)
	}
	res := do(http.MethodGet, p.url+"/healthz")
	if got := res.Header.Values("Strict-Transport-Security"); !slices.Equal(got, []string{"max-age=31536000"}) {
		t.Errorf("Strict-Transport-Security: %q", got)
	}
	log := ""
	p.eventually("all requests are logged", 10*time.Second, func() bool {
		log = string(must[[]byte](t)(os.ReadFile(p.accessLog)))
		return strings.Count(log, "\n") >= 8
	})
	if strings.Contains(log, secret) || !strings.Contains(log, "GET /i/... ") || !strings.Contains(log, "GET /auth/callback ") {
		t.Errorf("access log:\n%s", log)
	}
}

// Heartbeats keep a stream open past the proxy's read time-out; without them it is cut.
func TestProxies_nginxTimeout(t *testing.T) {
	t.Parallel()
	testProxyTimeout(t, behindNginx, "proxy_read_timeout 60s;", "proxy_read_timeout 4s;")
}

func TestProxies_caddyTimeout(t *testing.T) {
	t.Parallel()
	testProxyTimeout(t, behindCaddy, "read_timeout 60s", "read_timeout 4s")
}

func testProxyTimeout(t *testing.T, behind func(*testing.T, func(*settings.Config), func(string) string) *proxied, timeout, shorter string) {
	t.Helper()
	short := func(text string) string { return replaced(t, text, timeout, shorter) }
	const lives = 12 * time.Second
	p := behind(t, func(c *settings.Config) { c.Streams.Heartbeat = 500 * time.Millisecond }, short)
	e := p.knock(p.clients(), p.room, "Grace Guest", "")
	began, stream := time.Now(), watchEntry(t, p.through(), p.room, e.GetTicket())
	untilEntry(stream, waiting)
	silent := behind(t, func(c *settings.Config) { c.Streams.Heartbeat = time.Hour }, short)
	other := silent.knock(silent.clients(), silent.room, "Grace Guest", "")
	if err := watchEntry(t, silent.through(), silent.room, other.GetTicket()).end(); err == nil {
		t.Error("a silent stream was not cut by the proxy's time-out: the heartbeat proves nothing")
	}
	stream.until("heartbeat", func(m *usherv1.WatchEntryResponse) bool { return m.GetHeartbeat() != nil && time.Since(began) > lives })
	p.decide(p.clients(bearer(p.apiToken(p.ada, "rooms"))), p.room, e, allow)
	untilEntry(stream, accepted)
}
