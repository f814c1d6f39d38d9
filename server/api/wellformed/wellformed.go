// Package wellformed refuses calls that go wrong before there is a message: headers that cannot be read, and bodies that are
// no message. They get the answer that all refusals have. Connect would refuse them without a reason, and say of some that
// the server is to blame.
package wellformed

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/server/fault"
)

// Handler is middleware for calls. Every field is required.
type Handler struct {
	// Next serves calls with Connect, and with [fault.Codecs].
	Next http.Handler
	// MaxBytes is the size of a message that is read at all.
	MaxBytes int64
	// Streams reports whether a procedure streams, and Many whether clients may send it several messages.
	Streams, Many func(procedure string) bool
	// Arrived is told when the first message of a procedure has arrived to which clients may send several.
	Arrived func(w http.ResponseWriter)
	// Refused is told of each call that Next does not see, or sees no message of.
	Refused func(ctx context.Context, procedure string, code connect.Code)
}

// ServeHTTP implements http.Handler.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, procedure := r.Context(), r.URL.Path
	c := call{Request: r, protocol: protocolOf(r, h.Streams(procedure))}
	if refusal := h.check(c); refusal != nil {
		c.tellCompressions(w.Header())
		ce := fault.Connect(refusal)
		h.Refused(ctx, procedure, ce.Code())
		fault.Write(w, r, ce)
		return
	}
	body := h.body(c, func() { h.Arrived(w) })
	r = r.WithContext(ctx) // a copy: the body is not the caller's to change
	r.Body = body
	h.Next.ServeHTTP(&explained{ResponseWriter: w, request: r}, r)
	if ce, ok := errors.AsType[*connect.Error](body.failure()); ok && !h.Streams(procedure) {
		// Connect gives up on it before any interceptor runs; those of streams see it.
		h.Refused(ctx, procedure, ce.Code())
	}
}

// check refuses a call for its headers.
func (h Handler) check(c call) error {
	if c.protocol == unknown {
		return nil // Connect refuses it, and explained says why
	}
	if c.enveloped() || c.Method == http.MethodGet || c.ContentLength <= h.MaxBytes {
		return cmp.Or(c.checkTimeout(), c.checkCompression(), c.checkVersion(), c.checkQuery())
	}
	return fault.ErrTooLarge
}

// protocol is one in which clients call.
type protocol int

const (
	unknown protocol = iota
	connectUnary
	connectStream
	grpc
	grpcWeb
)

// protocolOf is the protocol of a request, as Connect finds it.
func protocolOf(r *http.Request, stream bool) protocol {
	kind := mediaType(r)
	switch {
	case r.Method == http.MethodGet && !stream:
		return connectUnary
	case r.Method != http.MethodPost:
		return unknown
	case kind == "application/grpc", strings.HasPrefix(kind, "application/grpc+"):
		return grpc
	case kind == "application/grpc-web", strings.HasPrefix(kind, "application/grpc-web+"):
		return grpcWeb
	case strings.HasPrefix(kind, "application/connect+") && stream:
		return connectStream
	case (kind == "application/json" || kind == "application/proto") && !stream:
		return connectUnary
	}
	return unknown
}

// mediaType is the Content-Type without its parameters.
func mediaType(r *http.Request) string {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// explained gives a body to what Connect refuses with a status only: a method or media type of HTTP that a procedure does
// not take, and streams in both directions over HTTP/1.
type explained struct {
	http.ResponseWriter
	request *http.Request
}

// statuses are those with which Connect refuses, and why.
var statuses = map[int]string{
	http.StatusMethodNotAllowed:        "call this method with POST: see the header Allow",
	http.StatusUnsupportedMediaType:    "this media type is not served here: see the header Accept-Post",
	http.StatusHTTPVersionNotSupported: "this method streams in both directions, for which HTTP/2 is needed",
}

// WriteHeader implements http.ResponseWriter.
func (e *explained) WriteHeader(status int) {
	why, ok := statuses[status]
	if !ok {
		e.ResponseWriter.WriteHeader(status)
		return
	}
	// As JSON, unless a client of gRPC asks, which looks for the reason elsewhere.
	plain, w := e.request, http.ResponseWriter(withStatus{e.ResponseWriter, status})
	switch protocolOf(e.request, false) {
	case grpc, grpcWeb:
		w = e.ResponseWriter
	default:
		plain = &http.Request{Method: http.MethodPost, Header: http.Header{}, URL: e.request.URL}
	}
	fault.Write(w, plain, fault.Connect(fault.ErrInvalid.Saying("%s", why)))
}

// Flush implements http.Flusher, without which Connect serves no streams.
func (e *explained) Flush() { _ = http.NewResponseController(e.ResponseWriter).Flush() }

// Unwrap lets http.ResponseController find what is below.
func (e *explained) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// withStatus sends a status instead of another one.
type withStatus struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w withStatus) WriteHeader(int) { w.ResponseWriter.WriteHeader(w.status) }
