package fault

import (
	"compress/gzip"
	"errors"
	"io"

	"connectrpc.com/connect"
)

// This file reads compressed requests. Connect's own decompressor refuses without a reason, and inflates a message that is
// too large to its end, to tell its size.

// compression is the handler option for gzip, the one compression that is served.
func compression() connect.HandlerOption {
	return connect.WithCompression(
		"gzip",
		func() connect.Decompressor { return &inflater{} },
		func() connect.Compressor { return gzip.NewWriter(io.Discard) },
	)
}

// inflater inflates one message after another, each to no more than [MaxRequest]. Its errors are refusals already: Connect
// passes them on as they are when they come from Read, and only then.
type inflater struct {
	gzip gzip.Reader
	left int
	err  error
}

// Reset implements connect.Decompressor. What it finds is for Read to say.
func (i *inflater) Reset(source io.Reader) error {
	i.left, i.err = MaxRequest, notGzip(i.gzip.Reset(source))
	return nil
}

// Read implements io.Reader.
func (i *inflater) Read(b []byte) (int, error) {
	switch {
	case i.err != nil:
		return 0, i.err
	case len(b) > i.left+1:
		b = b[:i.left+1]
	}
	n, err := i.gzip.Read(b)
	if i.left -= n; i.left < 0 {
		i.err = Connect(ErrTooLarge)
		return 0, i.err
	}
	if !errors.Is(err, io.EOF) {
		i.err = notGzip(err)
		return n, i.err
	}
	return n, err
}

// Close implements connect.Decompressor.
func (i *inflater) Close() error { return nil }

// notGzip is the refusal of what cannot be inflated.
func notGzip(err error) error {
	if err == nil {
		return nil
	}
	return Connect(ErrInvalid.Saying("the message is not what gzip makes").Because(err))
}
