package wellformed

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/usher-meet/usher/server/fault"
)

// body is the body of a request. Its errors are refusals already: Connect passes them on as they are.
type body struct {
	io.ReadCloser

	limit int64
	// envelopes is nil for a body that is one message by itself.
	envelopes *envelopes

	read int64
	err  error
}

func (h Handler) body(c call, arrived func()) *body {
	b := &body{ReadCloser: c.Body, limit: h.MaxBytes}
	if c.enveloped() {
		b.envelopes = &envelopes{
			limit: h.MaxBytes, many: h.Many(c.URL.Path), compressed: c.compression() != "", json: c.json(), arrived: arrived,
		}
	}
	return b
}

// failure is why there was no message; nil for anything that can be read.
func (b *body) failure() error {
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if refusal := b.look(p[:n]); refusal != nil {
		// None of it: a reader that had all that it wants would not look at the error.
		b.err = fault.Connect(refusal)
		return 0, b.err
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && n > 0:
		return n, nil // said at the next Read
	case errors.Is(err, io.EOF):
		b.err = b.end()
	default:
		b.err = broken(err)
	}
	return n, b.err
}

// look refuses what has been read for what it says.
func (b *body) look(p []byte) error {
	switch {
	case b.envelopes != nil:
		return b.envelopes.add(p)
	case b.read > b.limit:
		return fault.ErrTooLarge
	}
	return nil
}

// end is what Read returns when the body is over.
func (b *body) end() error {
	if b.envelopes != nil {
		if refusal := b.envelopes.end(); refusal != nil {
			return fault.Connect(refusal)
		}
	}
	return io.EOF
}

// broken is what Read returns when the body cannot be read to its end.
func broken(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.Connect(fault.ErrDeadline.Saying("the request did not arrive in time").Because(err))
	}
	return fault.Connect(fault.ErrInvalid.Saying("the request ended before it was complete").Because(err))
}

// envelopes looks at the envelopes of messages, piece by piece.
type envelopes struct {
	limit            int64
	many             bool
	compressed, json bool
	// arrived is called once, when the first of many messages is complete.
	arrived func()

	prefix   []byte
	left     int64
	messages int
}

const (
	// prefixSize is how long the beginning of an envelope is: flags, and the size in four bytes.
	prefixSize = 5
	// flagCompressed is the one flag that clients may set.
	flagCompressed = 1
)

// add refuses a piece that cannot follow what was there before.
func (e *envelopes) add(p []byte) error {
	for len(p) > 0 {
		if e.left > 0 {
			n := min(e.left, int64(len(p)))
			e.left, p = e.left-n, p[n:]
			e.complete()
			continue
		}
		n := min(prefixSize-len(e.prefix), len(p))
		e.prefix, p = append(e.prefix, p[:n]...), p[n:]
		if len(e.prefix) < prefixSize {
			return nil
		}
		flags, size := e.prefix[0], int64(binary.BigEndian.Uint32(e.prefix[1:]))
		if err := e.check(flags, size); err != nil {
			return err
		}
		e.prefix, e.left, e.messages = e.prefix[:0], size, e.messages+1
		e.complete()
	}
	return nil
}

// complete notices that a message is.
func (e *envelopes) complete() {
	if e.left == 0 && e.messages == 1 && e.many {
		e.arrived()
	}
}

// check refuses an envelope for its beginning.
func (e *envelopes) check(flags byte, size int64) error {
	switch {
	case e.messages > 0 && !e.many:
		return fault.ErrInvalid.Saying("there is more than one message in the request")
	case flags&^flagCompressed != 0:
		return fault.ErrInvalid.Saying("an envelope has flags that clients do not set")
	case flags == flagCompressed && !e.compressed:
		return fault.ErrInvalid.Saying("a message is compressed, and no header says how")
	case size > e.limit:
		return fault.ErrTooLarge
	case size == 0 && e.json:
		return fault.ErrInvalid.Saying("the message is empty: an empty request is {}")
	}
	return nil
}

// end refuses a body that ends here.
func (e *envelopes) end() error {
	switch {
	case e.left > 0, len(e.prefix) > 0:
		return fault.ErrInvalid.Saying("the request ends within a message")
	case e.messages == 0 && !e.many:
		return fault.ErrInvalid.Saying("there is no message in the request")
	}
	return nil
}
