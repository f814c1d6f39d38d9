package testenv

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// What the S3 server of a test is called by, and what opens it.
const (
	S3Bucket = "usher-recordings"
	S3Region = "eu-test-1"
	S3Key    = "test-s3-key"
	S3Secret = "test-s3-secret-of-some-length"
	// S3Domain is that of buckets as host names.
	S3Domain = "s3.localhost"
)

// S3Server is an S3 store of one test, with one bucket.
type S3Server struct {
	*Process
	// URL is its address, without the bucket.
	URL string
	// Port is that of URL.
	Port int
	dir  string
}

// S3 starts an S3 store for this test. Its events go to the webhook, if one is given, which must answer already and may have
// a user and password in it.
func S3(t testing.TB, webhook ...string) *S3Server {
	t.Helper()
	s := &S3Server{Port: Port(t), dir: t.TempDir()}
	s.URL = "http://127.0.0.1:" + strconv.Itoa(s.Port)
	if err := os.Mkdir(filepath.Join(s.dir, S3Bucket), 0o700); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--port", "127.0.0.1:" + strconv.Itoa(s.Port), "--access", S3Key, "--secret", S3Secret, "--region", S3Region, "--quiet",
		"--virtual-domain", S3Domain,
	}
	if len(webhook) > 0 {
		args = append(args, "--event-webhook-url", webhook[0])
	}
	s.Process = Start(t, program(t, "USHER_TEST_S3_SERVER"), append(args, "posix", "--sidecar", t.TempDir(), s.dir)...)
	s.until(func() error {
		res, err := http.Get(s.URL)
		if err == nil {
			err = res.Body.Close()
		}
		return err
	})
	return s
}

// Put stores an object without anybody being told.
func (s *S3Server) Put(t testing.TB, key string, content []byte) {
	t.Helper()
	path := filepath.Join(s.dir, S3Bucket, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Has reports whether there is an object.
func (s *S3Server) Has(key string) bool {
	_, err := os.Stat(filepath.Join(s.dir, S3Bucket, filepath.FromSlash(key)))
	return err == nil
}
