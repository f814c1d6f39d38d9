package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"entgo.io/ent/dialect"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"

	"github.com/usher-meet/usher/ent/sqltx"
	"github.com/usher-meet/usher/server/dbtx"
)

// engine hides which transactions River works with: those of pgx, or those of database/sql.
type engine interface {
	// insert reports whether there was no such job already.
	insert(ctx context.Context, tx *sqltx.Tx, args Args, o *river.InsertOpts) (fresh bool, err error)
	maintained
}

// maintained are the methods of River's client that do not depend on the kind of transaction.
type maintained interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
	JobList(ctx context.Context, params *river.JobListParams) (*river.JobListResult, error)
	JobGet(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobRetry(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobDelete(ctx context.Context, id int64) (*rivertype.JobRow, error)
}

func newEngine(db *dbtx.DB, config *river.Config) (engine, error) {
	if db.Dialect == dialect.Postgres {
		client, err := river.NewClient(riverpgxv5.New(db.Pool), config)
		return postgres{client}, err
	}
	// The handle with the one connection that writes: with one of its own River would meet SQLITE_BUSY, or cause it.
	client, err := river.NewClient(riversqlite.New(db.SQL()), config)
	return sqlite{client}, err
}

type sqlite struct{ *river.Client[*sql.Tx] }

func (e sqlite) insert(ctx context.Context, tx *sqltx.Tx, args Args, o *river.InsertOpts) (fresh bool, err error) {
	return isFresh(e.InsertTx(ctx, tx.Tx, args, o))
}

func isFresh(r *rivertype.JobInsertResult, err error) (fresh bool, _ error) {
	return err == nil && !r.UniqueSkippedAsDuplicate, err
}

type postgres struct{ *river.Client[pgx.Tx] }

// insert lends River the connection on which the transaction goes on. database/sql keeps everybody else from it meanwhile.
func (e postgres) insert(ctx context.Context, tx *sqltx.Tx, args Args, o *river.InsertOpts) (fresh bool, err error) {
	err = tx.Conn.Raw(func(driver any) error {
		conn, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("the connection is a %T", driver)
		}
		// Outside a transaction the job would be there whatever becomes of the decision.
		switch status := conn.Conn().PgConn().TxStatus(); status {
		case 'T':
			fresh, err = isFresh(e.InsertTx(ctx, lent{conn.Conn()}, args, o))
			return err
		case 'E':
			return errors.New("a statement of the transaction has failed")
		default:
			return sql.ErrTxDone
		}
	})
	return fresh, err
}

// lent is a transaction that somebody else begins and ends.
type lent struct{ connection }

// connection has the methods of a pgx.Conn that a pgx.Tx has too.
type connection interface {
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Prepare(ctx context.Context, name, statement string) (*pgconn.StatementDescription, error)
	Exec(ctx context.Context, statement string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, statement string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, statement string, args ...any) pgx.Row
}

var errLent = errors.New("this transaction is ended by whoever began it")

// Begin is refused: it would be a savepoint, which nothing here needs.
func (lent) Begin(context.Context) (pgx.Tx, error) { return nil, errLent }

// Commit is refused.
func (lent) Commit(context.Context) error { return errLent }

// Rollback is refused.
func (lent) Rollback(context.Context) error { return errLent }

// Conn is not lent: with it one could do all of the above.
func (lent) Conn() *pgx.Conn { return nil }

// LargeObjects are not supported.
func (lent) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }
