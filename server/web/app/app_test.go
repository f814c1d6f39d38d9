package app_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/usher-meet/usher/server/web/app"
)

func built(t *testing.T) *app.App {
	t.Helper()
	app, err := app.New(fstest.MapFS{
		"README.md":             {Data: []byte("not served")},
		"index.html":            {Data: []byte(`<html data-session="no">`)},
		"icon.svg":              {Data: []byte("<svg/>")},
		"assets/main-abc.js":    {Data: []byte("plain script")},
		"assets/main-abc.js.br": {Data: []byte("script in brotli")},
		"assets/main-abc.js.gz": {Data: []byte("script in gzip")},
	}, app.Options{
		LiveKitURL: "wss://live.example:7443/rtc", LogoURL: "https://img.example/logo.png", SessionCookie: "usher_session",
	})
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func get(t *testing.T, app http.Handler, method, path, accept string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	if accept != "" {
		r.Header.Set("Accept-Encoding", accept)
	}
	w := httptest.NewRecorder()
	w.Header().Set("Cache-Control", "no-store") // as the server's middleware does
	app.ServeHTTP(w, r)
	res := w.Result()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestServeHTTP_pages(t *testing.T) {
	t.Parallel()
	app := built(t)
	for path, want := range map[string]int{
		"/": 200, "/weekly": 200, "/abc-defg-hij": 200, "/recording/0b7c": 200, "/-/profile": 200, "/-/a/b": 200, "/index.html": 404,
		"/recording/": 404, "/recording/a/b": 404, "/weekly/x": 404, "/wp-login.php": 404, "/README.md": 404,
		"/assets/old-abc.js": 404, "/assets/main-abc.js.br": 404,
	} {
		res, body := get(t, app, http.MethodGet, path, "")
		if res.StatusCode != want || want == 200 && body != `<html data-session="no">` {
			t.Errorf("GET %s: %d %q, want %d", path, res.StatusCode, body, want)
		}
		if want == 200 && (res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Content-Security-Policy") == "") {
			t.Errorf("GET %s: headers %v", path, res.Header)
		}
	}
	if res, _ := get(t, app, http.MethodPost, "/weekly", ""); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", res.StatusCode)
	}
	if res, body := get(t, app, http.MethodHead, "/weekly", ""); res.StatusCode != http.StatusOK || body != "" {
		t.Errorf("HEAD: %d %q", res.StatusCode, body)
	}
}

// The page knows whether it is of use to ask who is signed in, and nothing else about them.
func TestServeHTTP_session(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "usher_session", Value: "test-session"})
	w := httptest.NewRecorder()
	built(t).ServeHTTP(w, r)
	if got, want := w.Body.String(), `<html data-session="yes">`; got != want {
		t.Errorf("with a cookie: %s, want %s", got, want)
	}
}

func TestServeHTTP_policy(t *testing.T) {
	t.Parallel()
	res, _ := get(t, built(t), http.MethodGet, "/", "")
	csp := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'", "base-uri 'none'",
		"connect-src 'self' wss://live.example:7443 https://live.example:7443;", "img-src 'self' data: https://img.example;",
		"form-action 'self';",
	} {
		if !strings.Contains(csp, want) {
			t.Errorf("the policy lacks %q: %s", want, csp)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
		t.Errorf("the policy is loose: %s", csp)
	}
}

func TestServeHTTP_assets(t *testing.T) {
	t.Parallel()
	app := built(t)
	for _, tt := range []struct{ path, accept, encoding, body, cache string }{
		{"/assets/main-abc.js", "", "", "plain script", "public, max-age=31536000, immutable"},
		{"/assets/main-abc.js", "gzip, deflate, br", "br", "script in brotli", "public, max-age=31536000, immutable"},
		{"/assets/main-abc.js", "gzip;q=1.0, br;q=0", "gzip", "script in gzip", "public, max-age=31536000, immutable"},
		{"/assets/main-abc.js", "identity", "", "plain script", "public, max-age=31536000, immutable"},
		{"/icon.svg", "br", "", "<svg/>", "public, max-age=86400"},
		{"/weekly", "br", "", `<html data-session="no">`, "no-store"},
	} {
		res, body := get(t, app, http.MethodGet, tt.path, tt.accept)
		if h := res.Header; h.Get("Content-Encoding") != tt.encoding || body != tt.body || h.Get("Cache-Control") != tt.cache {
			t.Errorf("GET %s accepting %q: %q %q %v", tt.path, tt.accept, body, h.Get("Content-Encoding"), h)
		}
	}
	res, _ := get(t, app, http.MethodGet, "/assets/main-abc.js", "br")
	if res.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || res.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("headers of a script: %v", res.Header)
	}
}

func TestNew_incomplete(t *testing.T) {
	t.Parallel()
	if _, err := app.New(fstest.MapFS{"README.md": {}}, app.Options{}); !errors.Is(err, app.ErrNoIndex) {
		t.Errorf("without a page: %v", err)
	}
	files := fstest.MapFS{"index.html": {Data: []byte(`<html data-session="no">`)}}
	if _, err := app.New(files, app.Options{LiveKitURL: "%"}); err == nil {
		t.Error("a LiveKit address that is none was taken")
	}
}
