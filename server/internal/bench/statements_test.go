package bench

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
)

// statements counts what a program asks PostgreSQL, on the wire between them, so that nothing in the program needs to be
// changed or believed.
type statements struct {
	n atomic.Int64
	// rows are those that PostgreSQL returned.
	rows atomic.Int64
}

// listen puts a proxy in front of the server of a database and returns the database's address through it.
func (s *statements) listen(b *testing.B, database string) string {
	b.Helper()
	target, err := url.Parse(database)
	if err != nil {
		b.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	server := target.Host
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go s.forward(client, server)
		}
	}()
	target.Host = listener.Addr().String()
	return target.String()
}

func (s *statements) forward(client net.Conn, server string) {
	defer client.Close()
	up, err := (&net.Dialer{}).Dial("tcp", server)
	if err != nil {
		return
	}
	defer up.Close()
	go func() { s.answers(client, up); _ = client.Close() }()
	// The first message has no type; every later one is a type, and a length that counts itself.
	if !pass(client, up, nil) {
		return
	}
	for {
		kind := make([]byte, 1)
		if _, err := io.ReadFull(client, kind); err != nil || !pass(client, up, kind) {
			return
		}
		if kind[0] == 'E' || kind[0] == 'Q' { // Execute, or a simple Query
			s.n.Add(1)
		}
	}
}

// pass copies one message whose type was read already.
func pass(from io.Reader, to io.Writer, kind []byte) bool {
	length := make([]byte, 4)
	if _, err := io.ReadFull(from, length); err != nil {
		return false
	}
	size := binary.BigEndian.Uint32(length)
	if size < 4 || size > 1<<26 {
		return false
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(from, body); err != nil {
		return false
	}
	_, err := to.Write(append(append(kind, length...), body...))
	return err == nil
}

// answers copies what the server says, and counts the rows in it.
func (s *statements) answers(client io.Writer, up io.Reader) {
	for {
		kind := make([]byte, 1)
		if _, err := io.ReadFull(up, kind); err != nil || !pass(up, client, kind) {
			return
		}
		if kind[0] == 'D' { // DataRow
			s.rows.Add(1)
		}
	}
}
