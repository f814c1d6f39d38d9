package oidc

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/usher-meet/usher/server/tlsconfig"
)

const (
	// callTimeout bounds each call of the provider, from connecting to the end of the answer.
	callTimeout = 5 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 1 << 20
)

// httpClient calls the provider.
type httpClient struct{ *http.Client }

func newHTTPClient(caFile string) (*httpClient, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	var err error
	if transport.TLSClientConfig, err = tlsconfig.Load(caFile, "the OpenID provider"); err != nil {
		return nil, err
	}
	return &httpClient{&http.Client{Timeout: callTimeout, Transport: bounded{transport}}}, nil
}

// in makes go-oidc and oauth2 use the client.
func (c *httpClient) in(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, c.Client)
}

// bounded cuts answers that are too long.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}
