// Package livekit is the only place that knows LiveKit: it signs its tokens and calls its API.
//
// The rest of the server speaks of meetings in the terms of server/meeting. Every call has a deadline, and fails with
// meeting.ErrNotFound when the room or participant is not there, or with meeting.ErrUnavailable when LiveKit cannot be used,
// for whatever reason; the reason is in the text, for the log.
//
// It decides nothing: who may do what is settled before it is called, and what an event means is settled by whoever
// [Webhook] hands it to.
package livekit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/tlsconfig"
)

// callTimeout bounds each call. LiveKit itself gives up on its nodes after 3 s.
const callTimeout = 5 * time.Second

// apiTokenLife is how long the token of one API call is good: the call itself, and clocks that differ.
const apiTokenLife = 10 * time.Minute

// Config says where LiveKit is and what its tokens are like.
type Config struct {
	// URL is the address of the API: http, https, ws or wss. Required.
	URL string
	// Key and Secret are a pair of LiveKit's keys. Required.
	Key, Secret string
	// CAFile has the certificate authorities, in PEM, that are trusted instead of the system's.
	CAFile string
	// TokenLife is for how long a token can be used to connect. The default is 10 minutes.
	TokenLife time.Duration
	// EmptyTimeout is how long LiveKit keeps a room that nobody joined, and DepartureTimeout one that everybody left, in
	// whole seconds. With 0, LiveKit's own setting counts.
	EmptyTimeout, DepartureTimeout time.Duration
	// MaxParticipants in one room; 0 for LiveKit's own setting.
	MaxParticipants int
	// Egress is where recordings go. The zero value is for servers that record nothing.
	Egress EgressStorage
	// SnapshotAge is how old the answer of [Client.Live] is before LiveKit is asked again. The default is 2 s.
	SnapshotAge time.Duration
}

// Client talks to LiveKit. It is safe for concurrent use.
type Client struct {
	config   Config
	rooms    livekit.RoomService
	sip      livekit.SIP
	address  string
	egress   livekit.Egress
	http     *http.Client
	snapshot snapshot
}

// New checks the configuration and reads the CA file. It does not connect: Usher starts while LiveKit is down.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("the LiveKit address cannot be read as a URL")
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, errors.New("the LiveKit address must begin with https://, http://, wss:// or ws://")
	}
	if u.Host == "" {
		return nil, errors.New("the LiveKit address names no host")
	}
	if c.Key == "" || c.Secret == "" {
		return nil, errors.New("LiveKit needs a key and a secret")
	}
	if c.TokenLife == 0 {
		c.TokenLife = 10 * time.Minute
	}
	if c.SnapshotAge == 0 {
		c.SnapshotAge = 2 * time.Second
	}
	client, err := httpClient(c)
	if err != nil {
		return nil, err
	}
	address := strings.TrimSuffix(u.String(), "/")
	return &Client{
		config: c, http: client, address: address,
		rooms: livekit.NewRoomServiceProtobufClient(address, client), sip: livekit.NewSIPProtobufClient(address, client),
		egress: livekit.NewEgressProtobufClient(address, client),
	}, nil
}

func httpClient(c Config) (*http.Client, error) {
	config, err := tlsconfig.Load(c.CAFile, "LiveKit")
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   callTimeout,
		ResponseHeaderTimeout: callTimeout,
		TLSClientConfig:       config,
	}}, nil
}

// Close stops what goes on in the background and closes idle connections.
func (c *Client) Close() {
	c.snapshot.close()
	c.http.CloseIdleConnections()
}

// call runs one API call under a deadline, with a token that allows just that call.
func (c *Client) call(ctx context.Context, what string, grant *auth.VideoGrant, fn func(context.Context) error) error {
	return c.callWith(ctx, what, auth.NewAccessToken(c.config.Key, c.config.Secret).SetVideoGrant(grant), fn)
}

// callWith is [Client.call] with a token that has its grants.
func (c *Client) callWith(ctx context.Context, what string, grants *auth.AccessToken, fn func(context.Context) error) error {
	token, err := grants.SetValidFor(apiTokenLife).ToJWT()
	if err != nil {
		return fmt.Errorf("%s: sign: %w", what, err)
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	bounded, err = twirp.WithHTTPRequestHeaders(bounded, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err = fn(bounded)
	if err != nil && ctx.Err() != nil {
		// The caller gave up: that says nothing about LiveKit.
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return translate(what, err)
}

// translate puts LiveKit's errors in the terms of server/meeting. What LiveKit said is kept as text only, so that nobody can
// come to depend on it.
func translate(what string, err error) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[refusedError](err); ok {
		return fmt.Errorf("%s: %w: %v", what, meeting.ErrRefused, r.error) //nolint:errorlint // kept as text on purpose
	}
	if te, ok := errors.AsType[twirp.Error](err); ok {
		if te.Code() == twirp.NotFound {
			return fmt.Errorf("%s: %w", what, meeting.ErrNotFound)
		}
		return fmt.Errorf("%s: %w: %s: %s", what, meeting.ErrUnavailable, te.Code(), te.Msg())
	}
	return fmt.Errorf("%s: %w: %v", what, meeting.ErrUnavailable, err) //nolint:errorlint // kept as text on purpose
}

// ignoreNotFound is nil for what is not there any more: the outcome that was wanted.
func ignoreNotFound(err error) error {
	if errors.Is(err, meeting.ErrNotFound) {
		return nil
	}
	return err
}
