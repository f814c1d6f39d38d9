// Package sqltx is the transaction below an Ent client.
//
// Ent hides it, and a library that has its own rows to write in the same transaction needs it. The generated client carries
// one as its field SQL, which server/dbtx fills and server/jobs reads. Nothing else should.
package sqltx

import "database/sql"

// Tx is a transaction that goes on, and the connection that it is on.
type Tx struct {
	Tx   *sql.Tx
	Conn *sql.Conn
}
