package dev

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-meet/usher/server/internal/testenv"
)

// options are those of a start that fails before anything is started.
func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Data: filepath.Join(t.TempDir(), "data"), Host: "127.0.0.1",
		Port: testenv.Port(t), InternalPort: testenv.Port(t), LiveKitPort: testenv.Port(t),
		LiveKitServer: "/test/no-livekit-server", Out: io.Discard, Log: quiet(),
	}
}

func TestRun_loopbackOnly(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"0.0.0.0", "::", "192.0.2.1", "example.org", ""} {
		o := options(t)
		o.Host = host
		err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "--insecure-listen") && !strings.Contains(err.Error(), "--listen wants an IP address") {
			t.Errorf("listening on %q: %v, want a refusal", host, err)
		}
		if _, err := os.Stat(o.Data); !os.IsNotExist(err) {
			t.Errorf("listening on %q: something was started (%v)", host, err)
		}
	}
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		if ip, err := (Options{Host: host}).host(); err != nil || !ip.IsLoopback() {
			t.Errorf("listening on %q: %v %v", host, ip, err)
		}
	}
	if ip, err := (Options{Host: "0.0.0.0", Insecure: true}).host(); err != nil || !ip.IsUnspecified() {
		t.Errorf("with --insecure-listen: %v %v", ip, err)
	}
}

func TestRun_portsInUse(t *testing.T) {
	t.Parallel()
	o := options(t)
	for _, port := range []*int{&o.Port, &o.LiveKitPort} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	o.InternalPort = 70000
	err := Run(t.Context(), o)
	if err == nil {
		t.Fatal("it runs on ports that are in use")
	}
	for _, want := range []string{"choose another one with --port", "choose another one with --livekit-port", "address already in use", "--internal-port"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if _, err := os.Stat(filepath.Join(o.Data, databaseFile)); !os.IsNotExist(err) {
		t.Errorf("something was started (%v)", err)
	}
}

// Ports that the flags give to two parts, and addresses that are not this machine's, are not called "in use".
func TestRun_portsAndAddresses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"metrics at the port of the API": {func(o *Options) { o.InternalPort = o.Port }, "--port and --internal-port"},
		"LiveKit at the port of metrics": {func(o *Options) { o.LiveKitPort = o.InternalPort }, "--internal-port and --livekit-port"},
		"an address of nobody (RFC 5737)": {
			func(o *Options) { o.Host, o.Insecure = "192.0.2.1", true }, "--listen: this machine has no address 192.0.2.1",
		},
		"a folder that SQLite cannot name": {func(o *Options) { o.Data += "?x" }, "--data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			tt.change(&o)
			err := Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "is not free") {
				t.Errorf("error = %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestRun_withoutLiveKit(t *testing.T) {
	t.Parallel()
	o := options(t)
	for range 2 { // the second time shows that the first let go of everything
		err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "--livekit-server") {
			t.Errorf("without livekit-server: %v", err)
		}
	}
}

func TestRun_liveKitThatFails(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.LiveKitServer = filepath.Join(t.TempDir(), "livekit-server")
	if err := os.WriteFile(o.LiveKitServer, []byte("#!/bin/sh\necho could not parse config\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "could not parse config") {
		t.Errorf("a livekit-server that ends at once: %v", err)
	}
}

func TestFolder_oneAtATime(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	first, err := openFolder(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := openFolder(t.Context(), path); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a second one: %v %v", second, err)
	}
	first.close()
	again, err := openFolder(t.Context(), path)
	if err != nil {
		t.Fatalf("after the first: %v", err)
	}
	again.close()
}

func TestFolder_secrets(t *testing.T) {
	t.Parallel()
	f, err := openFolder(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	first, err := f.secrets()
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Secret) < 32 || len(first.LiveKitSecret) < 32 || first.Secret == first.LiveKitSecret {
		t.Errorf("weak secrets: %d and %d characters", len(first.Secret), len(first.LiveKitSecret))
	}
	if info, err := os.Stat(f.file(secretsFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of secrets: %v %v", info, err)
	}
	if second, err := f.secrets(); err != nil || *second != *first {
		t.Errorf("the second time they are others (%v)", err)
	}
	if err := os.WriteFile(f.file(secretsFile), []byte(`{"secret":"test"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.secrets(); err == nil || !strings.Contains(err.Error(), secretsFile) {
		t.Errorf("a broken file of secrets: %v", err)
	}
}
