// Command diff writes the migration that takes the schema of ent/migrations to that of ent/schema, for both databases.
//
// It is called by `go tool task migrate:new -- NAME`, which starts PostgreSQL. Read what it wrote before you commit it, and
// name the oldest Usher that may run on the result in its last line.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"entgo.io/ent/dialect"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	_ "modernc.org/sqlite"             // the "sqlite" driver

	"github.com/usher-meet/usher/ent/migrations/plan"
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
		dialect, folder string
		db              *sql.DB
	}{{dialect.Postgres, "ent/migrations/postgres", pg}, {dialect.SQLite, "ent/migrations/sqlite", lite}} {
		path, err := plan.Write(ctx, d.dialect, d.db, d.folder, version, name, plan.Tables())
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", d.dialect, err)
		case path == "":
			fmt.Println(d.folder, "is up to date")
		default:
			fmt.Println("wrote", path)
		}
	}
	return nil
}
