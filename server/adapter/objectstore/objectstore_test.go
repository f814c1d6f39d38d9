package objectstore_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-meet/usher/server/adapter/objectstore"
	"github.com/usher-meet/usher/server/internal/testenv"
)

const key = "recordings/11111111-2222-3333-4444-555555555555.mp4"

var content = bytes.Repeat([]byte("test film "), 50_000)

// store is what both kinds can do.
type store interface {
	Ping(ctx context.Context) error
	Size(ctx context.Context, key string) (int64, error)
	Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
	Delete(ctx context.Context, key string) error
	Presign(ctx context.Context, key, name string, life time.Duration) (string, error)
	Verify(key string, query url.Values) bool
}

func s3Config(s *testenv.S3Server) objectstore.S3Config {
	return objectstore.S3Config{
		Endpoint: s.URL, Bucket: testenv.S3Bucket, Region: testenv.S3Region, Key: testenv.S3Key, Secret: testenv.S3Secret,
	}
}

func newS3(t *testing.T, c objectstore.S3Config) *objectstore.S3 {
	t.Helper()
	s, err := objectstore.NewS3(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// stores runs a test on each kind of storage. put stores an object there.
func stores(t *testing.T, test func(t *testing.T, s store, put func(key string, content []byte))) {
	t.Helper()
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		server := testenv.S3(t)
		test(t, newS3(t, s3Config(server)), func(key string, content []byte) { server.Put(t, key, content) })
	})
	t.Run("folder", func(t *testing.T) {
		t.Parallel()
		f := &objectstore.Folder{Path: t.TempDir(), URL: "http://usher.test", Secret: []byte("test-folder-secret")}
		test(t, f, func(key string, content []byte) {
			path := filepath.Join(f.Path, key)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestStore(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s store, put func(string, []byte)) {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Size(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Size of nothing: %v, want fs.ErrNotExist", err)
		}
		if _, err := s.Open(t.Context(), key, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open of nothing: %v, want fs.ErrNotExist", err)
		}
		put(key, content)
		if n, err := s.Size(t.Context(), key); err != nil || n != int64(len(content)) {
			t.Errorf("Size: %d, %v, want %d", n, err, len(content))
		}
		for _, offset := range []int{0, 1, 4711, len(content) - 1} {
			body, err := s.Open(t.Context(), key, int64(offset))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if closeErr := body.Close(); err != nil || closeErr != nil || !bytes.Equal(got, content[offset:]) {
				t.Errorf("from %d: %d bytes, %v, %v, want %d", offset, len(got), err, closeErr, len(content)-offset)
			}
		}
		for range 2 { // the second time there is nothing
			if err := s.Delete(t.Context(), key); err != nil {
				t.Errorf("Delete: %v", err)
			}
		}
		if _, err := s.Size(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Size after Delete: %v, want fs.ErrNotExist", err)
		}
	})
}

// fetch answers a GET: status and body.
func fetch(t *testing.T, client *http.Client, address string, header http.Header) (int, []byte, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if closeErr := res.Body.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return res.StatusCode, body, res.Header
}

// resolve sends every host name to the S3 server, as a name server would for its domain.
func resolve(s *testenv.S3Server) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	}}}
}

func TestS3_signedAddresses(t *testing.T) {
	t.Parallel()
	server := testenv.S3(t)
	server.Put(t, key, content)
	domain := "http://" + testenv.S3Domain + ":" + strconv.Itoa(server.Port)
	for name, change := range map[string]func(*objectstore.S3Config){
		"in the path":      func(*objectstore.S3Config) {},
		"in the host name": func(c *objectstore.S3Config) { c.VirtualHost, c.PublicEndpoint, c.ProxyEndpoint = true, domain, domain },
	} {
		c := s3Config(server)
		change(&c)
		s, client := newS3(t, c), resolve(server)
		address, err := s.Presign(t.Context(), key, "film.mp4", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		status, body, header := fetch(t, client, address, http.Header{"Range": {"bytes=10-19"}})
		if status != http.StatusPartialContent || string(body) != "test film " {
			t.Errorf("%s: presigned: %d %q, want the range", name, status, body)
		}
		if got := header.Get("Content-Disposition"); got != `attachment; filename="film.mp4"` {
			t.Errorf("%s: Content-Disposition %q", name, got)
		}
		if status, _, _ := fetch(t, client, strings.Replace(address, "5555.mp4", "5556.mp4", 1), nil); status != http.StatusForbidden {
			t.Errorf("%s: presigned for another object: %d, want 403", name, status)
		}
		signed, err := s.Sign(key)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.RawQuery = ""
		if status, body, _ := fetch(t, client, u.String(), signed); status != http.StatusOK || !bytes.Equal(body, content) {
			t.Errorf("%s: signed: %d, %d bytes, want the object", name, status, len(body))
		}
		if status, _, _ := fetch(t, client, u.String(), nil); status != http.StatusForbidden {
			t.Errorf("%s: not signed: %d, want 403", name, status)
		}
	}
}

// A storage that cannot say what it has must not be taken for one that has nothing.
func TestS3_notAskedIsNotMissing(t *testing.T) {
	t.Parallel()
	server := testenv.S3(t)
	for name, change := range map[string]func(*objectstore.S3Config){
		"no such bucket": func(c *objectstore.S3Config) { c.Bucket = "another" },
		"wrong secret":   func(c *objectstore.S3Config) { c.Secret = "test-wrong-secret" },
		"nobody there":   func(c *objectstore.S3Config) { c.Endpoint = "http://127.0.0.1:" + strconv.Itoa(testenv.Port(t)) },
	} {
		c := s3Config(server)
		change(&c)
		s := newS3(t, c)
		if _, err := s.Size(t.Context(), key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Size: %v, want another error than fs.ErrNotExist", name, err)
		} else if strings.Contains(err.Error(), c.Secret) {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("%s: Delete succeeded", name)
		}
		if err := s.Ping(t.Context()); err == nil {
			t.Errorf("%s: Ping succeeded", name)
		}
	}
}

func TestS3_caFile(t *testing.T) {
	t.Parallel()
	server := testenv.S3(t)
	server.Put(t, key, content)
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host // the Host header, which is signed, stays
	}})
	t.Cleanup(front.Close)
	c := s3Config(server)
	c.Endpoint = front.URL
	if _, err := newS3(t, c).Size(t.Context(), key); err == nil {
		t.Error("a certificate that nobody vouches for was trusted")
	}
	c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	if err := os.WriteFile(c.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := newS3(t, c).Size(t.Context(), key); err != nil || n != int64(len(content)) {
		t.Errorf("with the CA file: %d, %v", n, err)
	}
}

func TestNewS3_refusals(t *testing.T) {
	t.Parallel()
	good := objectstore.S3Config{Endpoint: "https://s3.example", Bucket: "b", Region: "r", Key: "test-key", Secret: "test-secret"}
	for name, change := range map[string]func(*objectstore.S3Config){
		"no bucket":             func(c *objectstore.S3Config) { c.Bucket = "" },
		"no region":             func(c *objectstore.S3Config) { c.Region = "" },
		"no scheme":             func(c *objectstore.S3Config) { c.Endpoint = "s3.example" },
		"a path":                func(c *objectstore.S3Config) { c.Endpoint = "https://s3.example/b" },
		"a bad public address":  func(c *objectstore.S3Config) { c.PublicEndpoint = "ftp://s3.example" },
		"no such file":          func(c *objectstore.S3Config) { c.CAFile = "/does/not/exist" },
		"a file of other stuff": func(c *objectstore.S3Config) { c.CAFile = "objectstore_test.go" },
	} {
		c := good
		change(&c)
		if _, err := objectstore.NewS3(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := objectstore.NewS3(good); err != nil {
		t.Error(err)
	}
}

func TestFolder_signedAddresses(t *testing.T) {
	t.Parallel()
	f := &objectstore.Folder{Path: t.TempDir(), URL: "http://usher.test", Secret: []byte("test-folder-secret")}
	address, err := f.Presign(t.Context(), key, "film.mp4", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if u.Path != "/media/"+key || !f.Verify(key, u.Query()) {
		t.Errorf("%s is not verified", address)
	}
	old, err := f.Presign(t.Context(), key, "film.mp4", -2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := url.Parse(old)
	if err != nil {
		t.Fatal(err)
	}
	later := u.Query()
	later.Set("expires", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
	for name, query := range map[string]url.Values{"nothing": {}, "expired": expired.Query(), "made longer": later} {
		if f.Verify(key, query) {
			t.Errorf("%s was verified", name)
		}
	}
	if f.Verify("recordings/other.mp4", u.Query()) {
		t.Error("an address was verified for another file")
	}
	for _, escape := range []string{"../secret", "/etc/passwd", "recordings/../../secret"} {
		if _, err := f.Open(t.Context(), escape, 0); err == nil {
			t.Errorf("opened %s", escape)
		}
	}
}
