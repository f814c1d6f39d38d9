// Command diff writes the migration that takes the schema of ent/migrations to that of ent/schema, for both databases.
//
// It replays the existing files into an empty database and compares the outcome with the Ent schema. It is called by `go
// tool task migrate:new -- NAME`, which starts PostgreSQL. Read what it wrote before you commit it, and name the oldest
// Usher that may run on the result in its last line.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/sqltool"
	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	_ "modernc.org/sqlite"             // the "sqlite" driver

	entmigrate "github.com/usher-meet/usher/gen/ent/migrate"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: diff NAME (for example add_trunks)")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "diff:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string) error {
	url := os.Getenv("USHER_TEST_DATABASE_URL")
	if url == "" {
		return errors.New("USHER_TEST_DATABASE_URL is not set: run `go tool task migrate:new -- NAME`")
	}
	// One version for both dialects, so that they can be compared.
	version := time.Now().UTC().Format("20060102150405")
	pg, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer pg.Close()
	lite, err := sql.Open("sqlite", "file:diff?mode=memory&cache=shared&_pragma=foreign_keys(1)")
	if err != nil {
		return err
	}
	defer lite.Close()
	for _, d := range []struct {
		dialect, dir string
		db           *sql.DB
	}{{dialect.Postgres, "ent/migrations/postgres", pg}, {dialect.SQLite, "ent/migrations/sqlite", lite}} {
		if err := write(ctx, d.dialect, d.dir, d.db, version, name); err != nil {
			return fmt.Errorf("%s: %w", d.dialect, err)
		}
	}
	return nil
}

func write(ctx context.Context, dialectName, folder string, db *sql.DB, version, name string) error {
	dir, err := sqltool.NewGooseDir(folder)
	if err != nil {
		return err
	}
	m, err := schema.NewMigrate(entsql.OpenDB(dialectName, db),
		schema.WithDir(dir), schema.WithMigrationMode(schema.ModeReplay), schema.WithDialect(dialectName),
		schema.WithFormatter(sqltool.GooseFormatter), schema.WithDropColumn(true), schema.WithDropIndex(true),
		schema.WithErrNoPlan(true))
	if err != nil {
		return err
	}
	before, err := filepath.Glob(folder + "/*.sql")
	if err != nil {
		return err
	}
	err = m.NamedDiff(ctx, name, entmigrate.Tables...)
	if errors.Is(err, migrate.ErrNoPlan) {
		fmt.Println(folder, "is up to date")
		return nil
	}
	if err != nil {
		return err
	}
	after, err := filepath.Glob(folder + "/*.sql")
	if err != nil {
		return err
	}
	for _, file := range after[len(before):] {
		to := filepath.Join(folder, version+"_"+name+".sql")
		if err := record(file, to, version); err != nil {
			return err
		}
		fmt.Println("wrote", to)
	}
	sum, err := dir.Checksum()
	if err != nil {
		return err
	}
	return migrate.WriteSumFile(dir, sum)
}

// record renames a new file to the common version and adds the line that names the oldest Usher.
func record(from, to, version string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("-- the oldest Usher that may run on this schema\nINSERT INTO schema_versions (id, oldest_usher) VALUES (%s, '0.1.0');\n", version)
	// There is no way back: who must go back runs the older Usher on the newer schema, or restores a backup.
	up, _, _ := strings.Cut(string(text), "-- +goose Down\n")
	if err := os.Remove(from); err != nil {
		return err
	}
	return os.WriteFile(to, []byte(strings.TrimRight(up, "\n")+"\n"+line), 0o644)
}
