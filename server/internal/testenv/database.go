// Package testenv gives tests the real things that the server talks to. Each helper takes a testing.TB, returns something
// ready to use, and cleans up after itself. A missing part fails the test: a suite that skips passes for the wrong reason.
package testenv

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"entgo.io/ent/dialect"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/server/dbtx"
)

// Databases runs the same test on PostgreSQL and on SQLite, each with a migrated database of its own.
func Databases(t *testing.T, test func(t *testing.T, db *dbtx.DB)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, Postgres(t)) })
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, SQLite(t)) })
}

// Postgres opens a migrated PostgreSQL database without rows, for this test only.
func Postgres(t testing.TB) *dbtx.DB {
	t.Helper()
	return open(t, PostgresURL(t))
}

// SQLite opens a migrated SQLite database without rows, for this test only.
func SQLite(t testing.TB) *dbtx.DB {
	t.Helper()
	return open(t, SQLiteURL(t))
}

// PostgresURL makes a migrated PostgreSQL database without rows and returns its address.
//
// It is a copy of a template that was migrated once, which is much quicker than migrating again.
func PostgresURL(t testing.TB) string {
	t.Helper()
	tmpl, err := postgresTemplate()
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	name := fmt.Sprintf("%s_%d", tmpl.name, tmpl.seq.Add(1))
	tmpl.exec(t, "CREATE DATABASE "+name+" TEMPLATE "+tmpl.name)
	t.Cleanup(func() { tmpl.exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return tmpl.url(name)
}

// EmptyPostgresURL makes a PostgreSQL database without tables and returns its address.
func EmptyPostgresURL(t testing.TB) string {
	t.Helper()
	tmpl, err := postgresTemplate()
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	name := fmt.Sprintf("%s_empty_%d", tmpl.name, tmpl.seq.Add(1))
	tmpl.exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { tmpl.exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return tmpl.url(name)
}

// SQLiteURL makes a migrated SQLite database without rows and returns its address.
func SQLiteURL(t testing.TB) string {
	t.Helper()
	image, err := sqliteTemplate()
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	path := filepath.Join(t.TempDir(), "usher.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

func open(t testing.TB, address string) *dbtx.DB {
	t.Helper()
	db, err := dbtx.Open(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

type template struct {
	admin *sql.DB
	name  string
	base  *url.URL
	seq   atomic.Int64
}

func (d *template) url(name string) string {
	u := *d.base
	u.Path = "/" + name
	return u.String()
}

func (d *template) exec(t testing.TB, statement string) {
	t.Helper()
	if _, err := d.admin.ExecContext(context.Background(), statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

var postgresTemplate = sync.OnceValues(func() (*template, error) {
	raw := os.Getenv("USHER_TEST_DATABASE_URL")
	if raw == "" {
		return nil, fmt.Errorf("USHER_TEST_DATABASE_URL is not set: run the tests with `go tool task test`")
	}
	base, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	admin, err := sql.Open("pgx", raw)
	if err != nil {
		return nil, err
	}
	d := &template{admin: admin, name: fmt.Sprintf("usher_test_%d", os.Getpid()), base: base}
	ctx := context.Background()
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + d.name + " WITH (FORCE)", "CREATE DATABASE " + d.name} {
		if _, err := admin.ExecContext(ctx, statement); err != nil {
			return nil, err
		}
	}
	return d, migrate(ctx, d.url(d.name))
})

var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "usher-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "template.db")
	if err := migrate(context.Background(), "sqlite:"+path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// migrate brings the database at address up to date and closes it, so that it can be copied.
func migrate(ctx context.Context, address string) error {
	db, err := dbtx.Open(ctx, address)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := migrations.Up(ctx, db.SQL(), db.Dialect); err != nil {
		return err
	}
	if db.Dialect == dialect.SQLite {
		// Without this the rows may still be in the -wal file beside it.
		_, err = db.SQL().ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return err
}

// IsPostgres reports whether an address is PostgreSQL's.
func IsPostgres(address string) bool { return strings.HasPrefix(address, "postgres") }
