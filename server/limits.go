package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/usher-meet/usher/server/api/wellformed"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/smallstack"
)

// This file bounds what a client can make the server wait for and keep.

// maxRequest is the size of a request that is read at all. Messages over fault.MaxRequest are refused with a reason; what is
// larger than this is not even decoded.
const maxRequest = 4 * fault.MaxRequest

// minCompress is the size from which answers are compressed. A page of rooms gains; a connection is two signed tokens,
// which do not shrink, and compressing it took a sixth of the time of JoinRoom.
const minCompress = 4 << 10

// clientTimeouts is how long the server waits for a client. A deadline on the context ends neither a read nor a write.
type clientTimeouts struct {
	// send is how long a client may take to send a request, from the end of the headers.
	send time.Duration
	// answer is how long it may take from then until it has read the answer, the time to make that included.
	answer time.Duration
	// stream is how long both may take together for a call that streams. Where clients send one message, that must arrive in
	// the time for requests; where they send many, the first must.
	stream time.Duration
	// rest is how long the rest of a request may take of which the answer is known already, over HTTP/1.
	rest time.Duration
}

// clientTimeoutsFor leaves room for calls of the given time-out, and for streams of the 30 minutes that they may live.
func clientTimeoutsFor(call time.Duration) clientTimeouts {
	return clientTimeouts{
		send: 30 * time.Second, answer: call + 30*time.Second, stream: 31 * time.Minute, rest: time.Second,
	}
}

// wrap is middleware that gives up on clients that send or read too slowly. It wants the connection's own
// http.ResponseWriter.
func (p clientTimeouts) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// HTTP/1 and HTTP/2 both have these deadlines; a transport without them does without. Those of HTTP/1 are the
		// connection's: the write deadline is set anew with each request.
		c, now := http.NewResponseController(w), time.Now()
		body := &watchedBody{ReadCloser: r.Body}
		answer := p.send + p.answer
		if isStream(r.URL.Path) {
			answer = p.stream
		}
		_ = c.SetWriteDeadline(now.Add(answer))
		if r.ContentLength != 0 {
			// Not without a body: net/http reads ahead to notice that the client has gone, and would take a deadline that
			// passes for that and cancel the call. After a body it lifts the deadline itself.
			_ = c.SetReadDeadline(now.Add(p.send))
		}
		read := r.WithContext(r.Context()) // a copy: the body is not the caller's to change
		read.Body = body
		next.ServeHTTP(w, read)
		if r.ProtoMajor == 1 && r.ContentLength != 0 && !body.ended {
			// It was refused before all of it was read. net/http waits for the rest before it answers, so that the connection
			// can be used again: for what is under way, and not for a client that sends nothing.
			_ = c.SetReadDeadline(time.Now().Add(p.rest))
		}
	})
}

// watchedBody knows whether it was read to its end.
type watchedBody struct {
	io.ReadCloser

	ended bool
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

// wellFormed is middleware that refuses calls in which no message can be found.
func wellFormed(next http.Handler, observed *observer, timeouts clientTimeouts) http.Handler {
	return wellformed.Handler{
		Next: next, MaxBytes: maxRequest, Streams: isStream, Many: sendsMany,
		Arrived: func(w http.ResponseWriter) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeouts.stream))
		},
		Refused: func(ctx context.Context, procedure string, code connect.Code) {
			observed.refused(ctx, procedure, auth.FromContext(ctx), code)
		},
	}
}

// smallStack has streams receive on another stack, decoding and validation included: they keep their own for as long as they
// are open. It is the innermost interceptor.
type smallStack struct{}

// WrapUnary implements connect.Interceptor.
func (smallStack) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingHandler implements connect.Interceptor.
func (smallStack) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return next(ctx, smallStackConn{conn})
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (smallStack) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

type smallStackConn struct{ connect.StreamingHandlerConn }

// Receive implements connect.StreamingHandlerConn.
func (c smallStackConn) Receive(message any) (err error) {
	smallstack.Call(func() { err = c.StreamingHandlerConn.Receive(message) })
	return err
}

// streams are the procedures that stream, those of the contract and gRPC's reflection, and whether clients send many
// messages.
var streams = func() map[string]bool {
	found := map[string]bool{
		"/" + grpcreflect.ReflectV1ServiceName + "/ServerReflectionInfo":      true,
		"/" + grpcreflect.ReflectV1AlphaServiceName + "/ServerReflectionInfo": true,
	}
	for _, name := range Services {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			panic(err) // this binary mounts a service whose generated code it lacks
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			if m := methods.Get(i); m.IsStreamingServer() || m.IsStreamingClient() {
				found["/"+name+"/"+string(m.Name())] = m.IsStreamingClient()
			}
		}
	}
	return found
}()

// isStream reports whether a procedure streams.
func isStream(procedure string) bool { _, ok := streams[procedure]; return ok }

// sendsMany reports whether clients send a procedure many messages.
func sendsMany(procedure string) bool { return streams[procedure] }
