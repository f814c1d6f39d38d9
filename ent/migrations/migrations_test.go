package migrations_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/ent/migrations/plan"
	"github.com/usher-meet/usher/server/dbtx"
)

var databases atomic.Int64

// emptyURL makes a database without tables, for this test only, and returns its address.
func emptyURL(t *testing.T, dialect string) string {
	t.Helper()
	if dialect == migrations.SQLite {
		return "sqlite:" + filepath.Join(t.TempDir(), "usher.db")
	}
	raw := os.Getenv("USHER_TEST_DATABASE_URL")
	if raw == "" {
		t.Fatal("USHER_TEST_DATABASE_URL is not set: run the tests with `go tool task test`")
	}
	address, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sql.Open("pgx", raw)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("usher_migrations_%d_%d", os.Getpid(), databases.Add(1))
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		_ = admin.Close()
	})
	address.Path = "/" + name
	return address.String()
}

func open(t *testing.T, address string) *dbtx.DB {
	t.Helper()
	db, err := dbtx.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// eachDialect runs a test on both databases.
func eachDialect(t *testing.T, test func(t *testing.T, dialect string)) {
	t.Helper()
	for _, dialect := range []string{migrations.Postgres, migrations.SQLite} {
		t.Run(dialect, func(t *testing.T) { t.Parallel(); test(t, dialect) })
	}
}

// copyFiles copies the migrations of a dialect to a folder that the test may write to.
func copyFiles(t *testing.T, dialect string) string {
	t.Helper()
	files, err := migrations.Files(dialect)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "migrations")
	if err := os.CopyFS(folder, files); err != nil {
		t.Fatal(err)
	}
	return folder
}

// The SQL that is committed makes the schema that the code expects: nothing is left to write.
func TestMigrationsMatchSchema(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect string) {
		db := open(t, emptyURL(t, dialect))
		path, err := write(t.Context(), dialect, db.SQL(), copyFiles(t, dialect), "20990101000000", "drift", plan.Tables())
		if err != nil {
			t.Fatal(err)
		}
		if path != "" {
			text, err := os.ReadFile(path)
			t.Errorf("ent/schema is ahead of ent/migrations (`go tool task migrate:new -- NAME` writes what is missing): %s %v", text, err)
		}
	})
}

// The test above can fail: a column that no migration makes is found.
func TestMigrationsMatchSchema_findsDrift(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect string) {
		planning.Lock()
		tables := slices.Clone(plan.Tables())
		i := slices.IndexFunc(tables, func(x *schema.Table) bool { return x.Name == "rooms" })
		rooms := *tables[i]
		rooms.Columns = append(slices.Clone(rooms.Columns), &schema.Column{Name: "colour", Type: field.TypeString, Nullable: true})
		tables[i] = &rooms
		planning.Unlock()

		db := open(t, emptyURL(t, dialect))
		path, err := write(t.Context(), dialect, db.SQL(), copyFiles(t, dialect), "20990101000000", "drift", tables)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) != "20990101000000_drift.sql" {
			t.Fatalf("wrote %q, want a migration", path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"colour", "INSERT INTO schema_versions (id, oldest_usher) VALUES (20990101000000, '0.1.0');"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the migration lacks %q:\n%s", want, text)
			}
		}
		if strings.Contains(string(text), "goose Down") {
			t.Errorf("the migration has a way back:\n%s", text)
		}
	})
}

// Each step exists for both databases and records the oldest Usher that may run on its outcome.
func TestFiles_sameVersions(t *testing.T) {
	t.Parallel()
	var names [2][]string
	for i, dialect := range []string{migrations.Postgres, migrations.SQLite} {
		files, err := migrations.Files(dialect)
		if err != nil {
			t.Fatal(err)
		}
		if names[i], err = fs.Glob(files, "*.sql"); err != nil || len(names[i]) == 0 {
			t.Fatalf("%s: %v, %v", dialect, names[i], err)
		}
		for _, name := range names[i] {
			text, err := fs.ReadFile(files, name)
			if err != nil {
				t.Fatal(err)
			}
			version, _, _ := strings.Cut(name, "_")
			if want := "INSERT INTO schema_versions (id, oldest_usher) VALUES (" + version + ", "; !strings.Contains(string(text), want) {
				t.Errorf("%s/%s lacks %q", dialect, name, want)
			}
		}
	}
	if !slices.Equal(names[0], names[1]) {
		t.Errorf("postgres has %v, sqlite has %v", names[0], names[1])
	}
	if _, err := migrations.Files("oracle"); err == nil {
		t.Error("Files of an unknown database: no error")
	}
}

// Every step that River needs is one of ours, on both databases: a new River must not run on tables of an old one.
func TestRiver_everyStep(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect string) {
		db := open(t, emptyURL(t, dialect))
		list, err := migrations.List(t.Context(), db.SQL(), dialect)
		if err != nil {
			t.Fatal(err)
		}
		known, err := migrations.River(dialect)
		if err != nil || len(known) == 0 {
			t.Fatalf("%v, %v", known, err)
		}
		for _, m := range known {
			want := fmt.Sprintf("river_%d", m.Version)
			if !slices.ContainsFunc(list, func(s migrations.Status) bool { return s.Name == want }) {
				t.Errorf("River's step %d (%s) is missing: add it to riverVersions, after all others", m.Version, m.Name)
			}
		}
	})
}

func TestUp_twice(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect string) {
		db := open(t, emptyURL(t, dialect))
		before, err := migrations.List(t.Context(), db.SQL(), dialect)
		if err != nil || len(before) == 0 || before[0].Applied {
			t.Fatalf("List of an empty database: %v, %v", before, err)
		}
		done, err := migrations.Up(t.Context(), db.SQL(), dialect)
		if err != nil || len(done) != len(before) {
			t.Fatalf("Up: %v, %v, want all of %v", done, err, before)
		}
		for i, s := range done {
			if s.Version != before[i].Version || s.Name == "" || !s.Applied {
				t.Errorf("Up: got %+v, want %+v applied", s, before[i])
			}
		}
		if done, err := migrations.Up(t.Context(), db.SQL(), dialect); err != nil || len(done) != 0 {
			t.Errorf("Up again: %v, %v, want nothing to do", done, err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("Ping: %v", err)
		}
	})
}

// Replicas that start together on an empty database end with one schema, and none of them fails.
func TestUp_concurrent(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect string) {
		const processes = 4
		address := emptyURL(t, dialect)
		var group sync.WaitGroup
		var applied atomic.Int64
		errs := make([]error, processes)
		start := make(chan struct{})
		for i := range processes {
			// A handle each, as separate processes have.
			db := open(t, address)
			// Connected before the start, or connecting would put them in a row.
			if err := db.SQL().PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			group.Go(func() {
				<-start
				done, err := migrations.Up(t.Context(), db.SQL(), dialect)
				applied.Add(int64(len(done)))
				errs[i] = err
			})
		}
		close(start)
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		list, err := migrations.List(t.Context(), open(t, address).SQL(), dialect)
		if err != nil {
			t.Fatal(err)
		}
		if n := applied.Load(); n != int64(len(list)) {
			t.Errorf("%d migrations were applied by %d processes together, want %d", n, processes, len(list))
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	// What a newer Usher left behind.
	newer := func(oldest string) []string {
		return []string{
			"INSERT INTO goose_db_version (version_id, is_applied) VALUES (20990101000000, true)",
			"INSERT INTO schema_versions (id, oldest_usher) VALUES (20990101000000, '" + oldest + "')",
		}
	}
	tests := []struct {
		name       string
		statements []string
		usher      string
		want       error
	}{
		{name: "up to date", usher: "0.1.0"},
		{name: "a newer Usher was here and left room for this one", statements: newer("0.1.0"), usher: "0.1.0"},
		{name: "one patch below the oldest", statements: newer("0.1.1"), usher: "0.1.0", want: migrations.ErrBreaking},
		{name: "numbers are compared, not text", statements: newer("0.9.0"), usher: "0.10.0"},
		{name: "a pre-release counts as its release", statements: newer("0.2.0"), usher: "v0.2.0-rc.1"},
		{name: "a migration is missing", statements: []string{"DELETE FROM goose_db_version WHERE version_id > 0"}, usher: "9.9.9", want: migrations.ErrOld},
	}
	eachDialect(t, func(t *testing.T, dialect string) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				db := open(t, emptyURL(t, dialect))
				if err := migrations.Check(t.Context(), db.SQL(), dialect, test.usher); !errors.Is(err, migrations.ErrOld) {
					t.Errorf("Check of an empty database: got %v, want ErrOld", err)
				}
				if _, err := migrations.Up(t.Context(), db.SQL(), dialect); err != nil {
					t.Fatal(err)
				}
				for _, s := range test.statements {
					if _, err := db.SQL().ExecContext(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
				err := migrations.Check(t.Context(), db.SQL(), dialect, test.usher)
				if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
					t.Errorf("Check: got %v, want %v", err, test.want)
				}
				if test.want == nil {
					if done, err := migrations.Up(t.Context(), db.SQL(), dialect); err != nil || len(done) != 0 {
						t.Errorf("Up: %v, %v, want nothing to do", done, err)
					}
				}
			})
		}
	})
}

// planning is held while Ent compares, and while its tables are read: it writes into those, and all tests share them.
var planning sync.Mutex

func write(
	ctx context.Context, dialect string, db *sql.DB, folder, version, name string, tables []*schema.Table,
) (path string, err error) {
	planning.Lock()
	defer planning.Unlock()
	return plan.Write(ctx, dialect, db, folder, version, name, tables)
}
