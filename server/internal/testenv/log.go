package testenv

import (
	"bytes"
	"sync"
)

// Log keeps what a program or a server says while others still write and read it.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// tail is the end of a long text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }
