package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
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
	p.until(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return p
}

// Certificate makes a certificate of a host for this test, and returns the files that it and its key are in. roots trusts it.
func Certificate(t testing.TB, host string) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	signed, err1 := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	encoded, err2 := x509.MarshalPKCS8PrivateKey(private)
	parsed, err3 := x509.ParseCertificate(signed)
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "certificate.pem"), filepath.Join(folder, "key.pem")
	err = errors.Join(err1, err2, err3,
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return certificate, key, roots
}
