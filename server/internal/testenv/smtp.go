package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/usher-meet/usher/server/internal/mailcatcher"
)

// SMTPServer is a real mail server on a port of its own. It can be stopped and started again; what it caught stays.
type SMTPServer struct {
	Port int

	t       testing.TB
	options mailcatcher.Options
	mu      sync.Mutex
	current *mailcatcher.Catcher
	before  []mailcatcher.Mail
}

// SMTP starts a mail server.
func SMTP(t testing.TB, o mailcatcher.Options) *SMTPServer {
	t.Helper()
	s := &SMTPServer{Port: Port(t), t: t, options: o}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts it, after [SMTPServer.Stop].
func (s *SMTPServer) Start() {
	s.t.Helper()
	// A port that was just closed is taken for a moment longer when another test starts a program: that has what this one
	// had open until it is loaded.
	l, err := net.Listen("tcp", address(s.Port))
	deadline := time.Now().Add(10 * time.Second)
	for ; err != nil && time.Now().Before(deadline); l, err = net.Listen("tcp", address(s.Port)) {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = mailcatcher.Serve(l, s.options)
}

// Stop hangs up on everybody and closes the port.
func (s *SMTPServer) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return
	}
	s.current.Close()
	s.before = append(s.before, s.current.Mails()...)
	s.current = nil
}

// Mails are all that were caught, the latest last.
func (s *SMTPServer) Mails() []mailcatcher.Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append([]mailcatcher.Mail(nil), s.before...)
	if s.current != nil {
		all = append(all, s.current.Mails()...)
	}
	return all
}

// Connections is how many were made since it was last started.
func (s *SMTPServer) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	return s.current.Connections()
}

// Wait waits until there are at least n messages, and returns all.
func (s *SMTPServer) Wait(n int) []mailcatcher.Mail {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if all := s.Mails(); len(all) >= n {
			return all
		}
	}
	s.t.Fatalf("%d messages after a minute, want %d", len(s.Mails()), n)
	return nil
}

// Certificate makes a certificate for a name, and the file with the authority that vouches for it.
func Certificate(t testing.TB, name string) (config *tls.Config, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
	}, caFile
}
