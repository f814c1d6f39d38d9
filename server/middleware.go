package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

// requestIDHeader names a request in answers and logs. Clients do not choose it: it is used to find log lines.
const requestIDHeader = "X-Request-Id"

type requestIDKey struct{}

// requestID is middleware that gives every request an id.
func requestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [12]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		id := hex.EncodeToString(b[:])
		w.Header().Set(requestIDHeader, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// securityHeaders is middleware for every answer: nothing is cached, nothing is sniffed, and no other site may embed it.
// Where people reach this server by https, their browsers keep to that for a year.
func securityHeaders(https bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		if https {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// recoverPanics is middleware that turns a panic outside an RPC into an answer 500 and a log line. Panics inside RPCs never
// get here: see recovered.
func recoverPanics(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func(ctx context.Context) {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v) // how a handler asks net/http to drop the connection
			default:
				log.ErrorContext(ctx, "panic", "path", r.Pattern, "panic", v, "stack", string(debug.Stack()))
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		}(r.Context())
		next.ServeHTTP(w, r)
	})
}

// recovered turns a panic inside an RPC into INTERNAL and a log line.
func recovered(log *slog.Logger) connect.HandlerOption {
	return connect.WithRecover(func(ctx context.Context, spec connect.Spec, _ http.Header, v any) error {
		log.ErrorContext(ctx, "panic", "procedure", spec.Procedure, "panic", v, "stack", string(debug.Stack()))
		return connect.NewError(connect.CodeInternal, errors.New("internal error"))
	})
}

// isProcedure reports whether a path is that of an RPC, "/package.Service/Method". Nothing else that is served has a dot
// in its first element.
func isProcedure(path string) bool {
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return ok && method != "" && strings.Contains(service, ".")
}

// unknownProcedure answers calls of methods that do not exist, in the caller's own protocol.
func unknownProcedure(w http.ResponseWriter, r *http.Request) {
	fault.Write(w, r, fault.Connect(auth.ErrNoMethod))
}

// deadline bounds every unary call, so that none waits for ever on a database or a remote. Clients may ask for less.
type deadline time.Duration

// WrapUnary implements connect.Interceptor.
func (d deadline) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(d))
		defer cancel()
		return next(ctx, req)
	}
}

// WrapStreamingHandler implements connect.Interceptor. Streams bound themselves.
func (deadline) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements connect.Interceptor.
func (deadline) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
