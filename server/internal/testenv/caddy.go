package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

// Caddy starts Caddy for this test with the given sites, in the form of a Caddyfile. It accepts connections on port when it
// is ready.
func Caddy(t testing.TB, sites string, port int) *Process {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "Caddyfile")
	options := "{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system " + folder + "\n}\n"
	if err := os.WriteFile(path, []byte(options+sites), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"XDG_CONFIG_HOME=" + folder, "XDG_DATA_HOME=" + folder}
	p := StartWith(t, environ, program(t, "USHER_TEST_CADDY"), "run", "--config", path, "--adapter", "caddyfile")
	p.untilAccepts(port)
	return p
}
