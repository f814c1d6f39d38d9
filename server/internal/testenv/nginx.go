package testenv

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Nginx starts nginx for this test with the given directives of its http block, in one process that accepts connections on
// port when it is ready.
func Nginx(t testing.TB, http string, port int) *Process {
	t.Helper()
	folder := t.TempDir()
	config := "daemon off;\nmaster_process off;\npid " + folder + "/nginx.pid;\nerror_log stderr warn;\n" +
		"events { worker_connections 1024; }\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config += kind + "_temp_path " + filepath.Join(folder, kind) + ";\n"
	}
	config += http + "\n}\n"
	path := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := Start(t, program(t, "USHER_TEST_NGINX"), "-c", path, "-p", folder, "-e", "stderr")
	p.untilAccepts(port)
	return p
}

// untilAccepts waits until a program accepts connections on a port.
func (p *Process) untilAccepts(port int) {
	p.t.Helper()
	p.until(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// CertificateFiles is [Certificate], in the files that programs read. roots trusts it.
func CertificateFiles(t testing.TB, name string) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	config, certificate := Certificate(t, name)
	encoded, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return certificate, key, roots
}
