// Package plan works out the migration that takes the schema of ent/migrations to that of ent/schema.
//
// It replays the existing files into an empty database and compares the outcome with what Ent wants. It is used on a
// developer's machine and by a test, never by the server.
package plan

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/sqltool"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"

	entmigrate "github.com/usher-meet/usher/gen/ent/migrate"
)

// Tables are those that the Ent schema describes.
func Tables() []*schema.Table { return entmigrate.Tables }

// Write adds the missing migration of one dialect to a folder, as VERSION_NAME.sql, and returns its path: "" when nothing is
// missing. The database is empty and of that dialect; it is empty again afterwards.
func Write(
	ctx context.Context, dialect string, db *sql.DB, folder, version, name string, tables []*schema.Table,
) (path string, err error) {
	dir, err := sqltool.NewGooseDir(folder)
	if err != nil {
		return "", err
	}
	m, err := schema.NewMigrate(entsql.OpenDB(dialect, db),
		schema.WithDir(dir), schema.WithMigrationMode(schema.ModeReplay), schema.WithDialect(dialect),
		schema.WithFormatter(sqltool.GooseFormatter), schema.WithDropColumn(true), schema.WithDropIndex(true),
		schema.WithErrNoPlan(true))
	if err != nil {
		return "", err
	}
	before, err := filepath.Glob(folder + "/*.sql")
	if err != nil {
		return "", err
	}
	err = m.NamedDiff(ctx, name, tables...)
	if errors.Is(err, migrate.ErrNoPlan) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	after, err := filepath.Glob(folder + "/*.sql")
	if err != nil {
		return "", err
	}
	path = filepath.Join(folder, version+"_"+name+".sql")
	for _, file := range after {
		if !slices.Contains(before, file) {
			if err := record(file, path, version); err != nil {
				return "", err
			}
		}
	}
	sum, err := dir.Checksum()
	if err != nil {
		return "", err
	}
	return path, migrate.WriteSumFile(dir, sum)
}

// record renames a new file to the common version and adds the line that names the oldest Usher.
func record(from, to, version string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	line := "-- the oldest Usher that may run on this schema\n" +
		fmt.Sprintf("INSERT INTO schema_versions (id, oldest_usher) VALUES (%s, '0.1.0');\n", version)
	// There is no way back: who must go back runs the older Usher on the newer schema, or restores a backup.
	up, _, _ := strings.Cut(string(text), "-- +goose Down\n")
	if err := os.Remove(from); err != nil {
		return err
	}
	return os.WriteFile(to, []byte(strings.TrimRight(up, "\n")+"\n"+line), 0o644)
}
