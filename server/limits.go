package server

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

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
	// stream is how long both may take together for a call that streams.
	stream time.Duration
}

// clientTimeoutsFor leaves room for calls of the given time-out, and for streams of the 30 minutes that they may live.
func clientTimeoutsFor(call time.Duration) clientTimeouts {
	return clientTimeouts{send: 30 * time.Second, answer: call + 30*time.Second, stream: 31 * time.Minute}
}

// wrap is middleware that gives up on clients that send or read too slowly. It wants the connection's own
// http.ResponseWriter.
func (p clientTimeouts) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// HTTP/1 and HTTP/2 both have these deadlines; a transport without them does without. Those of HTTP/1 are the
		// connection's: the write deadline is set anew with each request.
		c, now := http.NewResponseController(w), time.Now()
		if isStream(r.URL.Path) {
			_ = c.SetReadDeadline(now.Add(p.stream))
			_ = c.SetWriteDeadline(now.Add(p.stream))
			next.ServeHTTP(w, r)
			return
		}
		_ = c.SetWriteDeadline(now.Add(p.send + p.answer))
		if r.ContentLength != 0 {
			// Not without a body: net/http reads ahead to notice that the client has gone, and would take a deadline that
			// passes for that and cancel the call. After a body it lifts the deadline itself.
			_ = c.SetReadDeadline(now.Add(p.send))
		}
		next.ServeHTTP(w, r)
	})
}

// boundRequest is middleware that refuses oversized requests before they are read, and those whose query cannot be read:
// Connect would call that an error of the server.
func boundRequest(next http.Handler) http.Handler {
	refuse := connect.NewErrorWriter(fault.Codecs()...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isStream(r.URL.Path) && r.ContentLength > maxRequest:
			_ = refuse.Write(w, r, fault.Connect(fault.ErrTooLarge)) // the client is gone, or it read the answer
		case !readableQuery(r):
			_ = refuse.Write(w, r, fault.Connect(fault.ErrInvalid.Saying("the message in the query is not URL-safe Base64")))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// readableQuery reports whether the message of a Connect GET can be read, which may have padding and be in Base64 or not.
func readableQuery(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return true
	}
	query := r.URL.Query()
	if query.Get("base64") != "1" {
		return true
	}
	message, encoding := query.Get("message"), base64.RawURLEncoding
	if len(message)%4 == 0 {
		encoding = base64.URLEncoding
	}
	_, err := encoding.DecodeString(message)
	return err == nil
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

// streams are the procedures that stream: those of the contract, and gRPC's reflection.
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
				found["/"+name+"/"+string(m.Name())] = true
			}
		}
	}
	return found
}()

// isStream reports whether a procedure streams.
func isStream(procedure string) bool { return streams[procedure] }
