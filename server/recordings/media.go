package recordings

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/recording"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

// mediaPrefix is where files are on this server.
const mediaPrefix = "/media/"

// callers finds out who sent a request. auth.Authenticator implements it.
type callers interface {
	Caller(r *http.Request) (*auth.Caller, error)
}

// Media serves files: directly, and to a proxy in front of this server, which fetches them from the storage itself.
type Media struct {
	Service *Service
	Callers callers
	// ProxySecret is the value of X-Usher-Proxy-Secret in requests of the proxy. Empty: none may ask.
	ProxySecret string
	// Count is told of each answer: through "direct" or "proxy", and why it was refused; "" for one that was not.
	Count func(way, refusal string)
}

// ProxySecretHeader is how a proxy shows that it is one.
const ProxySecretHeader = "X-Usher-Proxy-Secret" //nolint:gosec // its name

// parseMediaPath reads the key of a file from the path of a request as it was sent. Only the one spelling that this server
// writes counts, without dots, encodings or anything else that a proxy and a storage could read in two ways.
func parseMediaPath(path, folder string) (key string, ok bool) {
	key, ok = strings.CutPrefix(path, mediaPrefix)
	if !ok {
		return "", false
	}
	name, ok := strings.CutPrefix(key, folder+"/")
	if !ok {
		return "", false
	}
	_, ok = parseFile(name)
	return key, ok
}

// parseOriginalURL reads the key of a file from X-Original-URL: the request line's path and query, which some proxies
// precede with scheme and host.
func parseOriginalURL(original, folder string) (key string, ok bool) {
	if scheme, rest, absolute := strings.Cut(original, "://"); absolute && (scheme == "http" || scheme == "https") {
		slash := strings.IndexByte(rest, '/')
		if slash <= 0 {
			return "", false
		}
		original = rest[slash:]
	}
	path, _, _ := strings.Cut(original, "?")
	return parseMediaPath(path, folder)
}

// refused is why somebody may not have a file: for metrics and the log, never for them.
type refused string

// Error implements error.
func (r refused) Error() string { return string(r) }

// Why a file is refused.
const (
	refusedSignedOut  refused = "signed_out"
	refusedCredential refused = "credential"
	refusedPath       refused = "path"
	refusedAccess     refused = "access"
	refusedState      refused = "state"
	refusedExpired    refused = "expired"
	refusedProxy      refused = "proxy"
	refusedStorage    refused = "storage"
	refusedError      refused = "error"
)

// caller is who asks for a file: a user, with a credential that covers recordings.
func (m *Media) caller(r *http.Request) (*auth.Caller, error) {
	c, err := m.Callers.Caller(r)
	switch {
	case errors.Is(err, auth.ErrUnauthenticated), errors.Is(err, auth.ErrSessionEnded), errors.Is(err, auth.ErrTokenExpired):
		return nil, refusedSignedOut
	case err != nil:
		if errors.Is(err, fault.ErrRedis) || errors.Is(err, fault.ErrDatabase) {
			m.Service.Log.ErrorContext(r.Context(), "who wants a file cannot be found out", "err", err)
		}
		return nil, refusedCredential
	case c.Kind == auth.Anonymous:
		return nil, refusedSignedOut
	case c.Kind != auth.User, !c.HasScope(auth.ScopeRecordings):
		return nil, refusedCredential
	}
	return c, nil
}

// authorize finds the recording of a file that the caller of ctx may have.
func (m *Media) authorize(ctx context.Context, key string) (*access, error) {
	id, ok := parseFile(key[strings.LastIndexByte(key, '/')+1:])
	if !ok {
		return nil, refusedPath
	}
	a, err := find(ctx, m.Service.DB.Read, id.String(), recording.ObjectKey(key))
	if errors.Is(err, ErrNotFound) {
		return nil, refusedAccess
	}
	if err != nil {
		m.Service.Log.ErrorContext(ctx, "file cannot be looked up", "err", err)
		return nil, refusedError
	}
	return a, refusal(m.Service.mayDownload(a))
}

// refusal puts a fault into the words of the metric.
func refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotSaved):
		return refusedState
	case errors.Is(err, ErrExpired):
		return refusedExpired
	}
	return refusedAccess
}

// refuse counts and logs why, and says only that.
func (m *Media) refuse(w http.ResponseWriter, r *http.Request, way string, err error, status int) {
	m.Count(way, err.Error())
	m.Service.Log.InfoContext(r.Context(), "file refused", "way", way, "why", err.Error())
	w.WriteHeader(status)
}

// ServeProxy answers GET /media-auth: may the caller have the file, and with which headers does the proxy fetch it. It is
// only for proxies that show the secret.
func (m *Media) ServeProxy(w http.ResponseWriter, r *http.Request) {
	if !sameSecret(r.Header.Get(ProxySecretHeader), m.ProxySecret) {
		m.refuse(w, r, "proxy", refusedProxy, http.StatusForbidden)
		return
	}
	m.ServeInternal(w, r)
}

// ServeInternal is [Media.ServeProxy] for a listener that only proxies reach.
func (m *Media) ServeInternal(w http.ResponseWriter, r *http.Request) {
	header, err := m.sign(r)
	switch {
	case errors.Is(err, refusedSignedOut):
		m.refuse(w, r, "proxy", err, http.StatusUnauthorized)
		return
	case err != nil:
		m.refuse(w, r, "proxy", err, http.StatusForbidden)
		return
	}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Content-Sha256"} {
		w.Header().Set(name, header.Get(name))
	}
	m.Count("proxy", "")
	w.WriteHeader(http.StatusOK)
}

// sign checks a request of a proxy, and signs the one that it may make.
func (m *Media) sign(r *http.Request) (http.Header, error) {
	caller, err := m.caller(r)
	if err != nil {
		return nil, err
	}
	original := r.Header.Values("X-Original-URL")
	if len(original) != 1 || m.Service.Files == nil {
		return nil, refusedPath
	}
	key, ok := parseOriginalURL(original[0], m.Service.Rules.Folder)
	if !ok {
		return nil, refusedPath
	}
	a, err := m.authorize(auth.WithCaller(r.Context(), caller), key)
	if err != nil {
		return nil, err
	}
	header, err := m.Service.Files.Sign(a.ObjectKey)
	if err != nil {
		m.Service.Log.ErrorContext(r.Context(), "request to the storage cannot be signed", "err", err)
		return nil, refusedStorage
	}
	return header, nil
}

// ServeFile answers GET /media/{folder}/{file}. To whoever may not have a file there is none.
func (m *Media) ServeFile(w http.ResponseWriter, r *http.Request) {
	file, err := m.open(r)
	if errors.Is(err, refusedStorage) {
		m.refuse(w, r, "direct", err, http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		m.refuse(w, r, "direct", err, http.StatusNotFound)
		return
	}
	defer file.close()
	m.Count("direct", "")
	name := file.recording.ID.String() + extension(file.recording.Mode)
	h := w.Header()
	h.Set("Content-Type", contentType(file.recording.Mode))
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
	// A file never changes: a download that broke off goes on.
	h.Set("Etag", `"`+file.recording.ID.String()+`"`)
	if strings.ContainsRune(r.Header.Get("Range"), ',') {
		r.Header.Del("Range") // each range would be a request to the storage, and a server may ignore them
	}
	http.ServeContent(pacedWriter{w, http.NewResponseController(w)}, r, name, time.Time{}, file)
}

// open finds the file of a request that may have it: the address is one that CreateDownloadUrl made, or the caller has
// access.
func (m *Media) open(r *http.Request) (*fileReader, error) {
	s := m.Service
	if s.Files == nil {
		return nil, refusedPath
	}
	key, ok := parseMediaPath(r.URL.EscapedPath(), s.Rules.Folder)
	if !ok {
		return nil, refusedPath
	}
	rec, err := m.allowed(r, key)
	if err != nil {
		return nil, err
	}
	size, err := s.Files.Size(r.Context(), key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refusedState // the bucket's own rules deleted it
	}
	if err != nil {
		s.Log.ErrorContext(r.Context(), "file cannot be read", "recording", rec.ID, "err", err)
		return nil, refusedStorage
	}
	return &fileReader{ctx: r.Context(), files: s.Files, recording: rec, size: size}, nil
}

func (m *Media) allowed(r *http.Request, key string) (*ent.Recording, error) {
	if m.Service.Files.Verify(key, r.URL.Query()) {
		return m.verified(r.Context(), key)
	}
	caller, err := m.caller(r)
	if err != nil {
		return nil, err
	}
	a, err := m.authorize(auth.WithCaller(r.Context(), caller), key)
	if err != nil {
		return nil, err
	}
	return a.Recording, nil
}

// verified is the recording of a file whose address was made for whoever has it.
func (m *Media) verified(ctx context.Context, key string) (*ent.Recording, error) {
	rec, err := m.Service.DB.Read.Recording.Query().Where(recording.ObjectKey(key), recording.DeleteTimeIsNil()).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, refusedAccess
	}
	if err != nil {
		m.Service.Log.ErrorContext(ctx, "file cannot be looked up", "err", err)
		return nil, refusedError
	}
	return rec, refusal(m.Service.mayDownload(&access{Recording: rec, role: usherv1.Role_ROLE_OWNER}))
}

// fileReader reads a file from wherever it is sought to, with one request to the storage for each place.
type fileReader struct {
	ctx       context.Context //nolint:containedctx // that of the request which it serves
	files     Files
	recording *ent.Recording
	size      int64

	offset int64
	body   io.ReadCloser
}

// Seek implements io.Seeker.
func (f *fileReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, errSeek
	}
	if offset != f.offset {
		f.close()
	}
	f.offset = offset
	return offset, nil
}

var errSeek = errors.New("seek before the beginning of a file")

// Read implements io.Reader.
func (f *fileReader) Read(p []byte) (int, error) {
	if f.offset >= f.size {
		return 0, io.EOF
	}
	if f.body == nil {
		body, err := f.files.Open(f.ctx, f.recording.ObjectKey, f.offset)
		if err != nil {
			return 0, err
		}
		f.body = body
	}
	n, err := f.body.Read(p)
	f.offset += int64(n)
	return n, err
}

func (f *fileReader) close() {
	if f.body != nil {
		_ = f.body.Close() // it was only read
		f.body = nil
	}
}

// pacedWriter lets a download take as long as it takes, while the client goes on reading.
type pacedWriter struct {
	http.ResponseWriter
	controller *http.ResponseController
}

// readPatience is how long a client may take to read what was written last.
const readPatience = 30 * time.Second

// Write implements io.Writer.
func (s pacedWriter) Write(p []byte) (int, error) {
	_ = s.controller.SetWriteDeadline(time.Now().Add(readPatience)) // a transport without deadlines does without
	return s.ResponseWriter.Write(p)
}
