package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/settings"
)

type migrateCommands struct {
	Up     migrateUpCommand     `cmd:"" help:"Apply what is missing. Several may run at once: one works, the others wait."`
	Status migrateStatusCommand `cmd:"" help:"Show which migrations the database has."`
}

// Help adds examples.
func (migrateCommands) Help() string {
	return `Each migration names the oldest version that runs on its schema, so the old and the new release can run side by
side: migrate first, then replace the servers one by one. Only USHER_DATABASE_URL is needed.

Examples:
  usher migrate status
  usher migrate up`
}

type migrateUpCommand struct{}

// Run implements `usher migrate up`.
func (migrateUpCommand) Run(ctx context.Context, p *program) error {
	db, err := p.openUnchecked(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	applied, err := migrations.Up(ctx, db.SQL(), db.Dialect)
	if err != nil {
		return databaseError(err)
	}
	document := struct {
		Applied []migrations.Status `json:"applied"`
	}{Applied: applied}
	return p.print(document, func(w io.Writer) error {
		if len(applied) == 0 {
			_, err := fmt.Fprintln(w, "The database is up to date.")
			return err
		}
		if err := migrationGrid(w, applied); err != nil {
			return err
		}
		return migrationNotes(w, applied)
	})
}

// migrationNotes writes what an operator should know of migrations, after an empty line.
func migrationNotes(w io.Writer, list []migrations.Status) error {
	before := "\n"
	for _, m := range list {
		for _, note := range m.Notes {
			if _, err := fmt.Fprintf(w, "%s%s: %s\n", before, m.Name, note); err != nil {
				return err
			}
			before = ""
		}
	}
	return nil
}

type migrateStatusCommand struct{}

// Run implements `usher migrate status`.
func (migrateStatusCommand) Run(ctx context.Context, p *program) error {
	db, err := p.openUnchecked(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	all, err := migrations.List(ctx, db.SQL(), db.Dialect)
	if err != nil {
		return databaseError(err)
	}
	document := struct {
		UpToDate   bool                `json:"up_to_date"`
		Migrations []migrations.Status `json:"migrations"`
	}{UpToDate: true, Migrations: all}
	for _, m := range all {
		document.UpToDate = document.UpToDate && m.Applied
	}
	return p.print(document, func(w io.Writer) error {
		if err := migrationGrid(w, all); err != nil || document.UpToDate {
			return err
		}
		_, err := fmt.Fprintln(w, "\nThe database is not up to date: run `usher migrate up`.")
		return err
	})
}

func migrationGrid(w io.Writer, list []migrations.Status) error {
	rows := [][]string{}
	for _, m := range list {
		rows = append(rows, []string{strconv.FormatInt(m.Version, 10), m.Name, yesNo(m.Applied)})
	}
	return grid(w, []string{"VERSION", "NAME", "APPLIED"}, rows)
}

// openUnchecked opens the database whatever its schema.
func (p *program) openUnchecked(ctx context.Context) (*dbtx.DB, error) {
	s, err := p.settings(settings.NeedDatabase)
	if err != nil {
		return nil, err
	}
	return dbtx.Open(ctx, string(s.Config.DatabaseURL))
}
