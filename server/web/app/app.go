// Package app serves the web app: its page at every address that is the app's own to interpret, and its assets.
//
// The page runs only our scripts and talks only to this server and LiveKit: its Content-Security-Policy says so. It holds
// nothing about anybody, and asks the API for everything.
package app

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// Options say what the page may talk to.
type Options struct {
	// LiveKitURL is where browsers connect to meetings (ws:// or wss://).
	LiveKitURL string
	// LogoURL is an image of another site that the page shows. Empty: none.
	LogoURL string
	// SessionCookie is the name of the cookie of people who are signed in.
	SessionCookie string
}

// App serves a built web app.
type App struct {
	assets map[string]asset
	policy string
	// stranger is the page for browsers without a session cookie, and visitor for those with one.
	stranger, visitor asset
	sessionCookie     string
}

// asset is a file with all that is sent with it.
type asset struct {
	content     []byte
	encoded     map[string][]byte // by content coding
	contentType string
	cache       string
}

// index is the page.
const index = "index.html"

// encodings are the codings that the build compresses with, best first, and their file name endings.
var encodings = []struct{ name, ending string }{{"br", ".br"}, {"gzip", ".gz"}}

const (
	// forever is for files whose name carries a hash of their content.
	forever = "public, max-age=31536000, immutable"
	// aWhile is for the other files: an icon that changes may be seen a day later.
	aWhile = "public, max-age=86400"
)

// noSession marks the page for visitors without a session. Scripts do not see the cookie, and would have to ask for somebody
// who is not there: browsers show that refusal as an error.
const noSession, withSession = `data-session="no"`, `data-session="yes"`

// ErrNoIndex means that files are no built web app.
var ErrNoIndex = errors.New("the web app has no " + index + " that says " + noSession)

// New reads a built web app. All of it stays in memory, where the embedded files are anyway.
func New(files fs.FS, o Options) (*App, error) {
	a := &App{assets: map[string]asset{}, sessionCookie: o.SessionCookie}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "README.md" || isEncoded(name) {
			return err
		}
		read, err := readAsset(files, name)
		a.assets["/"+name] = read
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the web app: %w", err)
	}
	a.stranger = a.assets["/"+index]
	a.visitor = a.stranger
	a.visitor.content = bytes.Replace(a.stranger.content, []byte(noSession), []byte(withSession), 1)
	if bytes.Equal(a.visitor.content, a.stranger.content) {
		return nil, ErrNoIndex
	}
	if a.policy, err = policy(o); err != nil {
		return nil, err
	}
	return a, nil
}

func isEncoded(name string) bool {
	for _, e := range encodings {
		if strings.HasSuffix(name, e.ending) {
			return true
		}
	}
	return false
}

func readAsset(files fs.FS, name string) (asset, error) {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		return asset{}, err
	}
	a := asset{content: content, encoded: map[string][]byte{}, contentType: contentType(name), cache: aWhile}
	if strings.HasPrefix(name, "assets/") {
		a.cache = forever
	}
	for _, e := range encodings {
		encoded, err := fs.ReadFile(files, name+e.ending)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return asset{}, err
		}
		a.encoded[e.name] = encoded
	}
	return a, nil
}

// contentType does not ask the machine, whose tables differ.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".woff2":
		return "font/woff2"
	case ".webmanifest":
		return "application/manifest+json"
	default:
		if t := mime.TypeByExtension(path.Ext(name)); t != "" {
			return t
		}
		return "application/octet-stream"
	}
}

// policy is the Content-Security-Policy of the page. Everything that is not named is forbidden: inline scripts and styles,
// eval, frames, being framed, other sites.
func policy(o Options) (string, error) {
	connect, images := []string{"'self'"}, []string{"'self'", "data:"}
	if o.LiveKitURL != "" {
		u, err := url.Parse(o.LiveKitURL)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("the address of LiveKit for browsers is no URL: %q", o.LiveKitURL)
		}
		// Beside its WebSocket, LiveKit's client asks over HTTP why a connection was refused.
		plain := map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
		connect = append(connect, u.Scheme+"://"+u.Host)
		if plain != "" {
			connect = append(connect, plain+"://"+u.Host)
		}
	}
	if u, err := url.Parse(o.LogoURL); err == nil && u.Host != "" {
		images = append(images, u.Scheme+"://"+u.Host)
	}
	return strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "font-src 'self'", "manifest-src 'self'",
		"img-src " + strings.Join(images, " "), "media-src 'self' blob:", "connect-src " + strings.Join(connect, " "),
		// The form that signs out gets a page of ours, and that one leads on to the OpenID provider.
		"form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
	}, "; "), nil
}

// ServeHTTP implements http.Handler for GET and HEAD.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if file, ok := a.assets[r.URL.Path]; ok && r.URL.Path != "/"+index {
		file.serve(w, r)
		return
	}
	if !isPage(r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", a.policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), "+
		"fullscreen=(self), picture-in-picture=(self), screen-wake-lock=(self), autoplay=(self), geolocation=(), payment=(), usb=()")
	// Not no-referrer: the browser would then hide the origin of the form that signs out, and it would be refused.
	h.Set("Referrer-Policy", "same-origin")
	page := a.stranger
	if _, err := r.Cookie(a.sessionCookie); err == nil {
		page = a.visitor
	}
	page.serve(w, r)
}

// isPage reports whether an address is the app's to interpret: the front page, a room, a recording, or below /-/.
func isPage(p string) bool {
	first, rest, more := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	switch {
	case strings.Contains(first, "."):
		return false // a file that is not there
	case !more:
		return true
	case first == "-":
		return true
	default:
		return first == "recording" && rest != "" && !strings.Contains(rest, "/")
	}
}

func (f asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	if f.cache != "" && !strings.HasPrefix(f.contentType, "text/html") {
		h.Set("Cache-Control", f.cache)
	}
	content := f.content
	if len(f.encoded) > 0 {
		h.Set("Vary", "Accept-Encoding")
		for _, e := range encodings {
			if encoded, ok := f.encoded[e.name]; ok && accepts(r, e.name) {
				h.Set("Content-Encoding", e.name)
				content = encoded
				break
			}
		}
	}
	// No time: a binary has none worth telling, and the names of the assets change with their content.
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// accepts reports whether a client takes a content coding.
func accepts(r *http.Request, coding string) bool {
	for item := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, parameters, _ := strings.Cut(item, ";")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			q := strings.ReplaceAll(parameters, " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}
