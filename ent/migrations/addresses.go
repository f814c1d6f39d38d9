package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	entsql "entgo.io/ent/dialect/sql"
	"github.com/pressly/goose/v3"

	"github.com/usher-meet/usher/server/mailbox"
)

// addressesVersion brings e-mail addresses to the normal form of server/mailbox. No database knows that, so it is in Go.
const addressesVersion = 20261201050500

func addressesMigration(dialect string, told notes) *goose.Migration {
	m := goose.NewGoMigration(addressesVersion, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		a := addresses{tx: tx, sql: entsql.Dialect(dialect)}
		for _, step := range []func(context.Context) error{a.users, a.members, a.accesses, a.invitations} {
			if err := step(ctx); err != nil {
				return fmt.Errorf("bring e-mail addresses to one form: %w", err)
			}
		}
		told[addressesVersion] = a.notes
		_, err := tx.ExecContext(ctx, fmt.Sprintf(
			"INSERT INTO schema_versions (id, oldest_usher) VALUES (%d, '0.1.0')", addressesVersion))
		return err
	}}, nil)
	m.Source = fmt.Sprintf("%d_email_addresses.go", addressesVersion)
	return m
}

// addresses brings the addresses of a database to their normal form. What is no address stays as it is.
type addresses struct {
	tx  *sql.Tx
	sql *entsql.DialectBuilder
	// notes say what an operator should know, by ids and without addresses.
	notes []string
}

func (a *addresses) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// row is one whose address is to be changed. In is the room or recording that it belongs to; empty for accounts.
type row struct {
	id, in string
	// normal is the address in its normal form.
	normal string
	// openKey is set for invitations whose link works.
	openKey sql.NullString
}

// find returns the rows of a query whose address is not in its normal form. scan returns the address of a row.
func (a *addresses) find(
	ctx context.Context, kind string, from *entsql.Selector, scan func(*sql.Rows, *row) (address string, err error),
) ([]row, error) {
	query, args := from.Query()
	rows, err := a.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("find %ss: %w", kind, err)
	}
	defer rows.Close()
	var changed []row
	for rows.Next() {
		var r row
		address, err := scan(rows, &r)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", kind, err)
		}
		normal, err := mailbox.Parse(address)
		switch {
		case err != nil:
			a.note("the address of %s %s is none that Usher takes: it stays, and gets no mail", kind, r.id)
		case string(normal) != address:
			r.normal = string(normal)
			changed = append(changed, r)
		}
	}
	return changed, rows.Err()
}

// users changes the addresses of accounts. They need not differ: a provider may give two people one address.
func (a *addresses) users(ctx context.Context) error {
	all := a.sql.Select("id", "email").From(entsql.Table("users")).Where(entsql.NEQ("email", ""))
	changed, err := a.find(ctx, "account", all, func(rows *sql.Rows, r *row) (address string, err error) {
		return address, rows.Scan(&r.id, &address)
	})
	if err != nil {
		return err
	}
	for _, u := range changed {
		other, err := a.other(ctx, "users", entsql.EQ("email", u.normal))
		if err != nil {
			return err
		}
		if other != "" {
			a.note("accounts %s and %s have one address: if they are one person's, `usher user merge` makes one of them", other, u.id)
		}
		if err := a.exec(ctx, a.sql.Update("users").Set("email", u.normal).Where(entsql.EQ("id", u.id))); err != nil {
			return err
		}
	}
	return nil
}

func (a *addresses) members(ctx context.Context) error {
	return a.pending(ctx, "members", "member", "room_id", "room")
}

func (a *addresses) accesses(ctx context.Context) error {
	return a.pending(ctx, "recording_accesses", "access", "recording_id", "recording")
}

// pending changes the addresses of those who wait for an account. Two of one room or recording become one, with the higher
// role.
func (a *addresses) pending(ctx context.Context, table, kind, inColumn, place string) error {
	all := a.sql.Select("id", inColumn, "email").From(entsql.Table(table)).Where(entsql.NotNull("email")).OrderBy("id")
	changed, err := a.find(ctx, kind, all, func(rows *sql.Rows, r *row) (address string, err error) {
		return address, rows.Scan(&r.id, &r.in, &address)
	})
	if err != nil {
		return err
	}
	for _, m := range changed {
		same := entsql.And(entsql.EQ(inColumn, m.in), entsql.EQ("email", m.normal))
		other, err := a.other(ctx, table, same)
		if err != nil {
			return err
		}
		if other == "" {
			err = a.exec(ctx, a.sql.Update(table).Set("email", m.normal).Where(entsql.EQ("id", m.id)))
		} else {
			a.note("%s %s and %s of %s %s waited for one address: one is left, with the higher role", kind, other, m.id, place, m.in)
			err = a.unite(ctx, table, other, m.id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unite deletes the row gone, and gives its role to the row kept if that is the higher one.
func (a *addresses) unite(ctx context.Context, table, kept, gone string) error {
	query, args := a.sql.Select("role").From(entsql.Table(table)).Where(entsql.EQ("id", gone)).Query()
	var role int
	if err := a.tx.QueryRowContext(ctx, query, args...).Scan(&role); err != nil {
		return fmt.Errorf("read role: %w", err)
	}
	if err := a.exec(ctx, a.sql.Delete(table).Where(entsql.EQ("id", gone))); err != nil {
		return err
	}
	lower := entsql.And(entsql.EQ("id", kept), entsql.LT("role", role))
	return a.exec(ctx, a.sql.Update(table).Set("role", role).Where(lower))
}

// invitations changes the addresses of invitations. Where two to one address have links that work, both go on working: they
// are in somebody's mail.
func (a *addresses) invitations(ctx context.Context) error {
	all := a.sql.Select("id", "room_id", "address", "open_key").From(entsql.Table("invitations")).OrderBy("id")
	changed, err := a.find(ctx, "invitation", all, func(rows *sql.Rows, r *row) (address string, err error) {
		return address, rows.Scan(&r.id, &r.in, &address, &r.openKey)
	})
	if err != nil {
		return err
	}
	for _, i := range changed {
		update := a.sql.Update("invitations").Set("address", i.normal).Where(entsql.EQ("id", i.id))
		room, _, open := strings.Cut(i.openKey.String, " ")
		key := room + " " + i.normal
		other := ""
		if open {
			if other, err = a.other(ctx, "invitations", entsql.EQ("open_key", key)); err != nil {
				return err
			}
		}
		switch {
		case other != "":
			a.note("invitations %s and %s to room %s have one address: both links go on working", other, i.id, i.in)
		case open:
			update.Set("open_key", key)
		}
		if err := a.exec(ctx, update); err != nil {
			return err
		}
	}
	return nil
}

// other returns the id of a row that has an address in its normal form already; empty for none.
func (a *addresses) other(ctx context.Context, table string, which *entsql.Predicate) (id string, err error) {
	query, args := a.sql.Select("id").From(entsql.Table(table)).Where(which).OrderBy("id").Limit(1).Query()
	err = a.tx.QueryRowContext(ctx, query, args...).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look for one address in %s: %w", table, err)
	}
	return id, nil
}

func (a *addresses) exec(ctx context.Context, statement entsql.Querier) error {
	query, args := statement.Query()
	_, err := a.tx.ExecContext(ctx, query, args...)
	return err
}
