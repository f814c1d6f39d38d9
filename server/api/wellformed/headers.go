package wellformed

import (
	"encoding/base64"
	"net/http"
	"regexp"

	"connectrpc.com/connect"

	"github.com/usher-meet/usher/server/fault"
)

// call is a request in a protocol.
type call struct {
	*http.Request
	protocol protocol
}

// enveloped reports whether each message has its size in front.
func (c call) enveloped() bool {
	return c.protocol == connectStream || c.protocol == grpc || c.protocol == grpcWeb
}

// json reports whether messages are in JSON.
func (c call) json() bool {
	switch mediaType(c.Request) {
	case "application/json", "application/connect+json", "application/grpc+json", "application/grpc-web+json":
		return c.Method == http.MethodPost
	}
	return false
}

// What Connect and gRPC take for a time-out.
var (
	milliseconds = regexp.MustCompile(`^[0-9]{1,10}$`)
	grpcTimeout  = regexp.MustCompile(`^[0-9]{1,8}[HMSmun]$`)
)

func (c call) checkTimeout() error {
	name, form, means := "Connect-Timeout-Ms", milliseconds, "at most ten digits"
	if c.protocol == grpc || c.protocol == grpcWeb {
		name, form, means = "Grpc-Timeout", grpcTimeout, "at most eight digits and one of the units H, M, S, m, u and n"
	}
	if sent := c.Header.Get(name); sent != "" && !form.MatchString(sent) {
		return fault.ErrInvalid.Saying("the header %s must be %s", name, means)
	}
	return nil
}

// encodingHeaders name the compression of messages by protocol, and the one in which servers tell what they take.
var encodingHeaders = map[protocol]struct{ sent, taken string }{
	connectUnary:  {"Content-Encoding", "Accept-Encoding"},
	connectStream: {"Connect-Content-Encoding", "Connect-Accept-Encoding"},
	grpc:          {"Grpc-Encoding", "Grpc-Accept-Encoding"},
	grpcWeb:       {"Grpc-Encoding", "Grpc-Accept-Encoding"},
}

// compression is that of messages; "" for none.
func (c call) compression() string {
	sent := c.Header.Get(encodingHeaders[c.protocol].sent)
	if c.Method == http.MethodGet {
		sent = c.URL.Query().Get("compression")
	}
	if sent == "identity" {
		return ""
	}
	return sent
}

// tellCompressions says in the answer which compressions are served.
func (c call) tellCompressions(h http.Header) {
	if names, ok := encodingHeaders[c.protocol]; ok {
		h.Set(names.taken, "gzip")
	}
}

// errCompression has the code that Connect and gRPC want for it.
var errCompression = func() *fault.Error {
	e := *fault.ErrInvalid.Saying("this compression is not served: only gzip is")
	e.Code = connect.CodeUnimplemented
	return &e
}()

func (c call) checkCompression() error {
	if sent := c.compression(); sent != "" && sent != "gzip" {
		return errCompression
	}
	return nil
}

func (c call) checkVersion() error {
	switch {
	case c.protocol != connectUnary && c.protocol != connectStream:
	case c.Method == http.MethodGet:
		if sent := c.URL.Query().Get("connect"); sent != "" && sent != "v1" {
			return fault.ErrInvalid.Saying(`the parameter connect must be "v1"`)
		}
	default:
		if sent := c.Header.Get("Connect-Protocol-Version"); sent != "" && sent != "1" {
			return fault.ErrInvalid.Saying(`the header Connect-Protocol-Version must be "1"`)
		}
	}
	return nil
}

// checkQuery refuses a GET whose message cannot be read, which may have padding and be in Base64 or not.
func (c call) checkQuery() error {
	if c.Method != http.MethodGet {
		return nil
	}
	query := c.URL.Query()
	switch {
	case !query.Has("encoding"), !query.Has("message"):
		return fault.ErrInvalid.Saying("a GET needs the parameters encoding and message")
	case query.Get("base64") != "1":
		return nil
	}
	message, encoding := query.Get("message"), base64.RawURLEncoding
	if len(message)%4 == 0 {
		encoding = base64.URLEncoding
	}
	if _, err := encoding.DecodeString(message); err != nil {
		return fault.ErrInvalid.Saying("the message in the query is not URL-safe Base64")
	}
	return nil
}
