package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
)

// The real parts that commands work with. The server's own tests have more of them in a package that is theirs alone.

// program of the environment, which `go tool task test` sets.
func mustEnv(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run the tests with `go tool task test`", name)
	}
	return value
}

// emptyPostgres makes a PostgreSQL database without tables for this test.
func emptyPostgres(t *testing.T) string {
	t.Helper()
	address, err := url.Parse(mustEnv(t, "USHER_TEST_DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sql.Open("pgx", address.String())
	if err != nil {
		t.Fatal(err)
	}
	name := "usher_cmd_" + strings.ToLower(rand.Text())
	exec := func(statement string) {
		if _, err := admin.ExecContext(context.Background(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	exec("CREATE DATABASE " + name)
	t.Cleanup(func() {
		exec("DROP DATABASE " + name + " WITH (FORCE)")
		_ = admin.Close()
	})
	address.Path = "/" + name
	return address.String()
}

// emptySQLite names a SQLite database for this test, which is not there yet.
func emptySQLite(t *testing.T) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "usher.db")
}

// redisServer starts a redis-server for this test.
func redisServer(t *testing.T) (address string) {
	t.Helper()
	port := strconv.Itoa(freePort(t))
	cmd := exec.CommandContext(context.Background(), mustEnv(t, "USHER_TEST_REDIS_SERVER"),
		"--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	// It says when it is ready. Should it say something else for too long, it is ended, and with it the reading.
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() {
				for lines.Scan() { // or it would wait for a reader
				}
			}()
			return net.JoinHostPort("127.0.0.1", port)
		}
	}
	t.Fatal("redis-server did not start")
	return ""
}

// freePort is a loopback port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
