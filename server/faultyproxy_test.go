package server_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// proxyFault is what becomes of one request. The zero value passes it on.
type proxyFault struct {
	// hold keeps the request back, and until does so until it is closed. It is passed on all the same when its sender has
	// gone meanwhile.
	hold  time.Duration
	until <-chan struct{}
	// lose ends the connection without passing the request on; status answers instead of that, unless it is 0.
	lose   bool
	status int
	// ahead answers 200 at once, before the request is passed on.
	ahead bool
	// again passes the request on twice.
	again bool
	// loseAnswer ends the connection once there is an answer.
	loseAnswer bool
	// then is done once there is an answer, before anybody has it.
	then func()
}

// faultyProxy stands between a client and an HTTP server, and decides about each request.
type faultyProxy struct {
	URL string

	mu     sync.Mutex
	target string
	decide func(*http.Request) proxyFault
	client *http.Client
	late   sync.WaitGroup
}

// newFaultyProxy passes everything on to target, to begin with.
func newFaultyProxy(t testing.TB, target string) *faultyProxy {
	t.Helper()
	transport := &http.Transport{}
	m := &faultyProxy{target: target, client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	server := httptest.NewServer(m)
	m.URL = server.URL
	t.Cleanup(func() { server.Close(); m.late.Wait(); transport.CloseIdleConnections() })
	return m
}

// set says what becomes of requests from now on. nil passes them on.
func (m *faultyProxy) set(decide func(*http.Request) proxyFault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.decide = decide
}

// ServeHTTP implements http.Handler.
func (m *faultyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client was killed
	}
	m.mu.Lock()
	decide := m.decide
	m.mu.Unlock()
	var d proxyFault
	if decide != nil {
		d = decide(r)
	}
	switch {
	case d.status != 0:
		w.WriteHeader(d.status)
		return
	case d.lose:
		panic(http.ErrAbortHandler)
	case d.ahead:
		m.late.Go(func() { _, _ = m.pass(r, body, d) })
		return
	}
	res, err := m.pass(r, body, d)
	if d.then != nil {
		d.then()
	}
	if d.loseAnswer {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadGateway) // the server is not there
		return
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(res.body) // the client may have gone
}

// answer is a response with its whole body.
type answer struct {
	*http.Response
	body []byte
}

// pass passes a request on, as often as it is to be, and returns the first answer.
func (m *faultyProxy) pass(r *http.Request, body []byte, d proxyFault) (*answer, error) {
	time.Sleep(d.hold)
	if d.until != nil {
		<-d.until
	}
	first, err := m.send(r, body)
	if d.again {
		_, _ = m.send(r, body)
	}
	return first, err
}

func (m *faultyProxy) send(r *http.Request, body []byte) (*answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
	defer cancel()
	target, err := url.Parse(m.target)
	if err != nil {
		return nil, err
	}
	req := r.Clone(ctx)
	// The host stays: signatures are for it.
	req.RequestURI, req.URL.Scheme, req.URL.Host = "", target.Scheme, target.Host
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	whole, err := io.ReadAll(res.Body)
	return &answer{res, whole}, err
}
