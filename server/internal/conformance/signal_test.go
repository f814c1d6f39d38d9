//go:build conformance

package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	"github.com/livekit/server-sdk-go/v2/signalling"
	"github.com/pion/webrtc/v4"
	"google.golang.org/protobuf/proto"
)

// signal is a connection to LiveKit without media: what LiveKit says is kept, and nothing is answered.
type signal struct {
	transport signalling.SignalTransport
	said      chan *livekit.SignalResponse
}

// trySignal connects with a token, which LiveKit may refuse.
func (f *fixture) trySignal(t *testing.T, token string) (*signal, error) {
	t.Helper()
	s := &signal{said: make(chan *livekit.SignalResponse, 100)}
	s.transport = signalling.NewSignalTransportWebSocket(signalling.SignalTransportWebSocketParams{
		Logger: logger.GetDiscardLogger(), Version: "2.0.0", Protocol: 16, SignalTransportHandler: s, SignalHandler: s,
		Signalling: signalling.NewSignalling(signalling.SignallingParams{Logger: logger.GetDiscardLogger()}),
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := s.transport.Join(ctx, f.lk.URL, token, signalling.ConnectParams{}, nil, webrtc.SessionDescription{})
	if err != nil {
		return nil, err
	}
	s.transport.Start()
	t.Cleanup(s.transport.Close)
	return s, nil
}

// signal connects with a token.
func (f *fixture) signal(t *testing.T, token string) *signal {
	t.Helper()
	s, err := f.trySignal(t, token)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return s
}

// await waits for something that LiveKit says.
func (s *signal) await(t *testing.T, what string, is func(*livekit.SignalResponse) bool) *livekit.SignalResponse {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case m := <-s.said:
			if is(m) {
				return m
			}
		case <-deadline:
			t.Fatalf("not within %v: LiveKit says %s", patience, what)
		}
	}
}

// joined waits until LiveKit has let the connection in.
func (s *signal) joined(t *testing.T) *livekit.JoinResponse {
	t.Helper()
	return s.await(t, "welcome", func(m *livekit.SignalResponse) bool { return m.GetJoin() != nil }).GetJoin()
}

// HandleMessage implements signalling.SignalHandler, as does the next.
func (s *signal) HandleMessage(m proto.Message) error {
	if response, ok := m.(*livekit.SignalResponse); ok {
		select {
		case s.said <- response:
		default: // more than anybody waits for
		}
	}
	return nil
}

// SetLogger says nothing anywhere.
func (*signal) SetLogger(logger.Logger) {}

// OnTransportClose implements signalling.SignalTransportHandler.
func (*signal) OnTransportClose() {}
