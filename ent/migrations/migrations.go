// Package migrations brings a database to the schema of this Usher, one reviewed SQL file after the other, and says
// whether a database fits.
//
// Files are made by `go tool task migrate:new -- NAME`, one folder a dialect, and applied by goose, between those that River
// brings for its tables (river.go), and those of data that no SQL can change (addresses.go). Each one ends with a line that
// records the oldest Usher that may run on the schema it makes, so that two releases can run side by side while a deployment
// goes on: first expand, and contract one release later.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed postgres sqlite
var files embed.FS

// The dialects, named as Ent names them.
const (
	Postgres = "postgres"
	SQLite   = "sqlite3"
)

// Files are the migrations of a dialect.
func Files(dialect string) (fs.FS, error) {
	switch dialect {
	case Postgres:
		return fs.Sub(files, "postgres")
	case SQLite:
		return fs.Sub(files, "sqlite")
	}
	return nil, fmt.Errorf("no migrations for database %q", dialect)
}

// Status is one migration of a database.
type Status struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
	// Notes say what an operator should know of its outcome.
	Notes []string `json:"notes,omitempty"`
}

// notes are those of migrations that were applied, by version.
type notes map[int64][]string

// Up applies what is missing and returns what it applied. Several processes may call it at once: one works and the others
// wait.
func Up(ctx context.Context, db *sql.DB, dialect string) ([]Status, error) {
	told := notes{}
	p, err := provider(db, dialect, told)
	if err != nil {
		return nil, err
	}
	tries := 1
	if dialect == SQLite {
		// There is no lock to hold between two migrations. Each is one transaction that begins with the right to write, so
		// of two processes one fails because the other was there first, and then finds it done. That can happen once for
		// each migration and for the table that counts them; a real mistake fails every time.
		tries = len(p.ListSources()) + 2
	}
	var done []Status
	for {
		results, err := p.Up(ctx)
		if partial, ok := errors.AsType[*goose.PartialError](err); ok {
			results = partial.Applied
		}
		for _, r := range results {
			v := r.Source.Version
			done = append(done, Status{Version: v, Name: name(r.Source.Path), Applied: true, Notes: told[v]})
		}
		if tries--; err == nil || tries == 0 || ctx.Err() != nil {
			if err != nil {
				err = fmt.Errorf("migrate: %w", err)
			}
			return done, err
		}
	}
}

// List tells which migrations a database has and lacks, in order.
func List(ctx context.Context, db *sql.DB, dialect string) ([]Status, error) {
	p, err := provider(db, dialect, notes{})
	if err != nil {
		return nil, err
	}
	all, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the state of migrations: %w", err)
	}
	list := make([]Status, 0, len(all))
	for _, s := range all {
		list = append(
			list, Status{Version: s.Source.Version, Name: name(s.Source.Path), Applied: s.State == goose.StateApplied},
		)
	}
	return list, nil
}

// ErrOld means that the schema lacks migrations which this Usher needs.
var ErrOld = errors.New("the database schema is older than this Usher needs: run `usher migrate up`")

// ErrBreaking means that a newer Usher changed the schema in a way that this one cannot run on.
var ErrBreaking = errors.New("the database schema is too new for this Usher: run a newer one")

// Check says whether the Usher of the given version may run on the database: with nil, [ErrOld] or [ErrBreaking]. A
// schema that is newer is fine as long as it names no newer Usher as the oldest that may run on it.
func Check(ctx context.Context, db *sql.DB, dialect, usher string) error {
	list, err := List(ctx, db, dialect)
	if err != nil {
		return err
	}
	for _, s := range list {
		if !s.Applied {
			return fmt.Errorf("%w (it lacks %d_%s)", ErrOld, s.Version, s.Name)
		}
	}
	rows, err := db.QueryContext(ctx, "SELECT id, oldest_usher FROM schema_versions ORDER BY id")
	if err != nil {
		return fmt.Errorf("read schema versions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var oldest string
		if err := rows.Scan(&id, &oldest); err != nil {
			return fmt.Errorf("read schema versions: %w", err)
		}
		if older(usher, oldest) {
			return fmt.Errorf("%w (migration %d needs Usher %s or later, this is %s)", ErrBreaking, id, oldest, usher)
		}
	}
	return rows.Err()
}

func provider(db *sql.DB, dialect string, told notes) (*goose.Provider, error) {
	dir, err := Files(dialect)
	if err != nil {
		return nil, err
	}
	// Without a log of its own goose writes nothing.
	river, err := riverMigrations(dialect)
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{
		goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(slices.Concat(river, []*goose.Migration{addressesMigration(dialect, told)})...),
	}
	gooseDialect := goose.DialectSQLite3
	if dialect == Postgres {
		gooseDialect = goose.DialectPostgres
		// Asks once a second, for ten minutes: a long migration of another replica is worth waiting for.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(gooseDialect, db, dir, options...)
}

// name is the part of a file name after the version.
func name(path string) string {
	base, _, _ := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], ".")
	_, rest, _ := strings.Cut(base, "_")
	return rest
}

// older compares versions of the form 1.2.3. What follows a dash is left out: a pre-release runs on what its release
// runs on.
func older(a, b string) bool {
	x, y := parts(a), parts(b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

func parts(v string) (p [3]int) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	for i, s := range strings.SplitN(v, ".", 3) {
		p[i], _ = strconv.Atoi(s)
	}
	return p
}
