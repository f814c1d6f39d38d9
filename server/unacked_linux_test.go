package server

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// A client that takes nothing any more, though its machine keeps the connection, is given up after a while: without a limit
// Linux would go on asking it for good. So a guest behind HTTP/1.1, where no pings are, does not wait for ever.
func TestListen_clientTakesNothing(t *testing.T) {
	t.Parallel()
	l, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() // and never reads
	served, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	if err := served.SetWriteDeadline(time.Now().Add(90 * time.Second)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	message := make([]byte, 1<<20)
	for err == nil {
		_, err = served.Write(message)
	}
	if !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("after %v: %v, want that the connection timed out", time.Since(began).Round(time.Second), err)
	}
}
