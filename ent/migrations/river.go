package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// riverVersions are the steps that make the tables of River, which runs the jobs, by their number in River. They are applied
// and counted like every other migration, so that there is one lock, one list and one check. When a new River brings a step,
// a test asks for it here: with a version after all others, and never in the place of one that was released.
var riverVersions = []struct {
	version int64
	river   int
}{
	{20261122181001, 1},
	{20261122181002, 2},
	{20261122181003, 3},
	{20261122181004, 4},
	{20261122181005, 5},
	{20261122181006, 6},
	{20261122181007, 7},
	{20261122181008, 8},
}

// River lists the steps that the library knows for a database.
func River(dialect string) ([]rivermigrate.Migration, error) {
	config := &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)}
	if dialect == Postgres {
		m, err := rivermigrate.New(riverpgxv5.New(nil), config)
		if err != nil {
			return nil, fmt.Errorf("migrations of River: %w", err)
		}
		return m.AllVersions(), nil
	}
	m, err := rivermigrate.New(riversqlite.New(nil), config)
	if err != nil {
		return nil, fmt.Errorf("migrations of River: %w", err)
	}
	return m.AllVersions(), nil
}

// riverMigrations are the steps of River as steps of ours. Each is a transaction: one of them adds a value to an enumeration
// of PostgreSQL, which a later one in the same transaction could not use.
func riverMigrations(dialect string) ([]*goose.Migration, error) {
	known, err := River(dialect)
	if err != nil {
		return nil, err
	}
	steps := map[int]string{}
	for _, m := range known {
		// The place where River would put the name of a schema; ours is that of the connection.
		steps[m.Version] = strings.ReplaceAll(m.SQLUp, "/* TEMPLATE: schema */", "")
	}
	list := make([]*goose.Migration, 0, len(riverVersions))
	for _, v := range riverVersions {
		statements, ok := steps[v.river]
		if !ok {
			return nil, fmt.Errorf("migrations of River: it has no step %d", v.river)
		}
		m := goose.NewGoMigration(v.version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, statements); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf(
				"INSERT INTO schema_versions (id, oldest_usher) VALUES (%d, '0.1.0')", v.version))
			return err
		}}, nil)
		m.Source = fmt.Sprintf("%d_river_%d.go", v.version, v.river)
		list = append(list, m)
	}
	return list, nil
}
