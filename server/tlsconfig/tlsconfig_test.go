package tlsconfig_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-meet/usher/server/tlsconfig"
)

// The authorities of the file are trusted, and they alone: a certificate of another one is refused.
func TestLoad(t *testing.T) {
	t.Parallel()
	ours := httptest.NewTLSServer(http.NotFoundHandler())
	defer ours.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ours.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what, file string
		want       bool
	}{{"with its CA file", file, true}, {"without", "", false}} {
		config, err := tlsconfig.Load(tt.file, "the test")
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		res, err := client.Get(ours.URL)
		if err == nil {
			_ = res.Body.Close()
		}
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", tt.what, err)
		}
		client.CloseIdleConnections()
	}
}

func TestLoad_refuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{empty: "holds no certificate", empty + ".absent": "read the CA file of the test"} {
		if _, err := tlsconfig.Load(file, "the test"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s) = %v, want %q", filepath.Base(file), err, want)
		}
	}
}
