package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
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

// forTokens makes oauth2 use the client for a call of the token endpoint, and see only the text in its answer.
func (c *httpClient) forTokens(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, &http.Client{Timeout: c.Timeout, Transport: textOnly{c.Transport}})
}

// textOnly leaves out of a JSON object what is not text. oauth2 gives up an answer of which one member has another type,
// such as seconds that are no whole number; all that is used here, tokens and error codes, is text.
type textOnly struct{ next http.RoundTripper }

func (t textOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var members map[string]any
	if json.Unmarshal(body, &members) == nil {
		maps.DeleteFunc(members, func(_ string, v any) bool {
			_, isText := v.(string)
			return !isText
		})
		delete(members, "expires_in") // some write it as text, and nothing here looks at it
		if body, err = json.Marshal(members); err != nil {
			return nil, err
		}
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return res, nil
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
