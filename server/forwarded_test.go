package server_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/usher-meet/usher/server/settings"
)

// A proxy that the settings do not name is warned of once by the server, and by the doctor until it is named.
func TestForwardedWatch(t *testing.T) {
	t.Parallel()
	i := start(t)
	ask := func(i *instance) {
		t.Helper()
		for range 5 {
			req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+"/healthz", nil))
			req.Header.Set("X-Forwarded-For", "203.0.113.9")
			res := must[*http.Response](t)(http.DefaultClient.Do(req))
			_ = res.Body.Close()
		}
	}
	diagnosed := func(c settings.Config) bool {
		_, bad, details := diagnose(t, c, 0)
		return slices.Contains(bad, "proxies") && strings.Contains(details["proxies"], "USHER_TRUSTED_PROXIES")
	}
	if diagnosed(i.Config) {
		t.Error("the doctor warns of a proxy before there is one")
	}
	ask(i)
	const warning = "name it in USHER_TRUSTED_PROXIES"
	if n := strings.Count(i.log.String(), warning); n != 1 {
		t.Errorf("%d warnings of five requests, want 1", n)
	}
	eventually(t, "the doctor to warn", func() bool { return diagnosed(i.Config) })
	named := i.Config
	named.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if diagnosed(named) {
		t.Error("the doctor warns of a proxy that was named since")
	}
	trusts := serve(t, named, i.Redis, i.LiveKit)
	ask(trusts)
	if strings.Contains(trusts.log.String(), warning) || diagnosed(named) {
		t.Error("a proxy that is named is warned of")
	}
}
