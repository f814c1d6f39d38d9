// Package dbtx opens the database and runs functions inside one transaction.
package dbtx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the "sqlite" driver

	"github.com/usher-meet/usher/ent/sqltx"
	"github.com/usher-meet/usher/gen/ent"
)

// DB is the database.
//
// On SQLite it is two handles: one connection that writes, so that writers queue up in order instead of meeting
// SQLITE_BUSY, and several that only read and are never held up by it. On PostgreSQL both are one pool.
type DB struct {
	// Dialect is dialect.Postgres or dialect.SQLite.
	Dialect string
	// Read is for queries outside a transaction. On SQLite it refuses to write.
	Read *ent.Client

	// Pool holds the connections to PostgreSQL, for what must speak to it without database/sql; nil on SQLite.
	Pool *pgxpool.Pool

	sql   *sql.DB
	close []func()
}

// sqliteOptions: foreign keys are off by default; WAL lets readers go on beside the writer; a transaction takes the write
// lock when it begins, since one that upgrades later fails at once when another did the same; times compare as text, so
// all of them must be UTC and of one form.
const sqliteOptions = "_pragma=foreign_keys(1)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)" +
	"&_txlock=immediate&_time_format=sqlite&_timezone=UTC"

// Open opens the database at url: "postgres://…", or "sqlite:" and the path of a file. It neither connects nor migrates.
func Open(ctx context.Context, url string) (*DB, error) {
	switch {
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return openPostgres(ctx, url)
	case strings.HasPrefix(url, "sqlite:"):
		return openSQLite(strings.TrimPrefix(url, "sqlite:"))
	}
	// The url may hold a password, so it is not repeated.
	return nil, errors.New(`the database address must begin with "postgres://" or "sqlite:"`)
}

func openPostgres(ctx context.Context, url string) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database address cannot be read as a PostgreSQL connection string")
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = int32(max(16, 4*runtime.NumCPU())) //nolint:gosec // the number of processors fits
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	handle := stdlib.OpenDBFromPool(pool)
	client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, handle)))
	return &DB{
		Dialect: dialect.Postgres, Read: client, Pool: pool, sql: handle,
		close: []func(){func() { _ = handle.Close() }, pool.Close},
	}, nil
}

// restrictFile lets only the user of this process read the database, which holds names, addresses and hashes of tokens.
// SQLite gives the files beside it the same permissions. A file that exists is not opened here: closing it would end the
// locks that other handles of this process have on it (fcntl(2)).
func restrictFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil // SQLite says what is wrong with the path
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restrict the database to its user: %w", err)
		}
	}
	return nil
}

func openSQLite(path string) (*DB, error) {
	if path == "" || strings.ContainsAny(path, "?#") {
		return nil, errors.New(`the database address must be "sqlite:" and the path of a file`)
	}
	if err := restrictFile(path); err != nil {
		return nil, err
	}
	file := "file:" + strings.ReplaceAll(path, "%", "%25") + "?" // SQLite reads it as a URI
	writer, err := sql.Open("sqlite", file+sqliteOptions)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	writer.SetMaxOpenConns(1)
	reader, err := sql.Open(
		"sqlite", file+strings.Replace(sqliteOptions, "&_txlock=immediate", "", 1)+"&_pragma=query_only(1)",
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), writer.Close())
	}
	reader.SetMaxOpenConns(8)
	return &DB{
		Dialect: dialect.SQLite,
		Read:    ent.NewClient(ent.Driver(entsql.OpenDB(dialect.SQLite, reader))),
		sql:     writer,
		close:   []func(){func() { _ = reader.Close() }, func() { _ = writer.Close() }},
	}, nil
}

// SQL is the handle that writes, for migrations and for the rows of jobs.
func (d *DB) SQL() *sql.DB { return d.sql }

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	_, err := d.Read.SchemaVersion.Query().Limit(1).IDs(ctx)
	return err
}

// Now is the present moment by one clock for all servers: that of PostgreSQL, or that of the machine with SQLite, on which
// all of them run. tx is a transaction that goes on; nil for none.
func (d *DB) Now(ctx context.Context, tx *ent.Client) (now time.Time, err error) {
	if d.Dialect == dialect.SQLite {
		return time.Now().UTC().Truncate(time.Microsecond), nil
	}
	const query = "SELECT clock_timestamp()"
	if tx == nil {
		err = d.sql.QueryRowContext(ctx, query).Scan(&now)
	} else {
		err = tx.SQL.Tx.QueryRowContext(ctx, query).Scan(&now)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
	}
	return now.UTC(), nil
}

// Close closes all connections.
func (d *DB) Close() {
	for _, c := range d.close {
		c()
	}
}

// Run calls fn with a client bound to a new transaction. It commits when fn returns nil and rolls back otherwise,
// including when fn panics.
//
// fn must do database work only, with that client only. A call to LiveKit in there would hold a connection and row locks
// for as long as the remote takes; and a second transaction would wait for the first for ever on SQLite, where there is one
// connection that writes.
func (d *DB) Run(ctx context.Context, fn func(tx *ent.Client) error) (err error) {
	// A connection of its own, because whoever writes jobs on PostgreSQL speaks to it without database/sql.
	conn, err := d.sql.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = conn.Close() }() // back to the pool
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	done := false
	defer func() {
		if done {
			return
		}
		// After a cancelled context the driver has rolled back already.
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, rollback)
		}
	}()
	client, err := d.bind(ctx, conn, tx)
	if err != nil {
		return err
	}
	if err := fn(client); err != nil {
		return err
	}
	done = true
	if err := tx.Commit(); err != nil {
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			// The driver rolled back when the context ended, and says only that there is nothing to commit.
			err = ctx.Err()
		}
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// bind makes an Ent client of a transaction. It refuses to begin another one, as Ent's own do.
func (d *DB) bind(ctx context.Context, conn *sql.Conn, tx *sql.Tx) (*ent.Client, error) {
	driver := bound{entsql.NewDriver(d.Dialect, entsql.Conn{ExecQuerier: tx})}
	client, err := ent.NewClient(ent.Driver(driver), ent.SQL(&sqltx.Tx{Tx: tx, Conn: conn})).Tx(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return client.Client(), nil
}

// bound is a driver on a transaction that somebody else ends.
type bound struct{ *entsql.Driver }

// Tx gives what Ent believes to have begun.
func (b bound) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(b.Driver), nil }

// ForUpdate is a predicate that locks the rows a query returns until the transaction ends, as in
//
//	tx.Room.Query().Where(room.ID(id), dbtx.ForUpdate).Only(ctx)
//
// On SQLite it does nothing: a transaction there has the only right to write from its beginning.
func ForUpdate(s *entsql.Selector) {
	if s.Dialect() == dialect.Postgres {
		s.ForUpdate()
	}
}
