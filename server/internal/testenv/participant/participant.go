// Package participant puts real people into real meetings for tests: Go SDK clients of LiveKit that publish sound and count
// what they hear. It is apart from testenv because LiveKit's SDK takes long to build.
package participant

import (
	"bytes"
	"sync"
	"testing"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	webrtcmedia "github.com/pion/webrtc/v4/pkg/media"
)

// patience is how long a test waits for something that LiveKit does in milliseconds.
const patience = 20 * time.Second

// speech is a frame as participants send it. What is in it matters to nobody, but that it arrives: LiveKit sends frames of
// silence of its own in the place of tracks that are muted.
var speech = []byte{0xf8, 0xff, 0xfe, 's', 'o', 'u', 'n', 'd'}

// Participant is somebody in a meeting, until the end of the test.
type Participant struct {
	t    testing.TB
	Room *lksdk.Room
	// Disconnected is closed when the connection ends, whoever ended it.
	Disconnected chan struct{}

	mu    sync.Mutex
	heard map[string]int // packets by identity
	news  chan struct{}  // closed and made anew whenever heard changes
	// listening is true of somebody who subscribes by themselves.
	listening bool
}

// Join connects to LiveKit at url with a participant's token.
func Join(t testing.TB, url, token string) *Participant {
	t.Helper()
	p, err := TryJoin(t, url, token)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	return p
}

// TryJoin is [Join] for a connection that may be refused, or is made in another way than browsers do.
func TryJoin(t testing.TB, url, token string, options ...lksdk.ConnectOption) (*Participant, error) {
	p := &Participant{t: t, Disconnected: make(chan struct{}), heard: map[string]int{}, news: make(chan struct{})}
	once := sync.OnceFunc(func() { close(p.Disconnected) })
	room, err := lksdk.ConnectToRoomWithToken(url, token, &lksdk.RoomCallback{
		OnDisconnected: once,
		ParticipantCallback: lksdk.ParticipantCallback{
			OnTrackPublished: func(publication *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.listening {
					_ = publication.SetSubscribed(true) // asks only: the answer is OnTrackSubscribed
				}
			},
			OnTrackSubscribed: func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant) {
				go p.listen(track, from.Identity())
			},
		},
	}, options...)
	if err != nil {
		return nil, err
	}
	p.Room = room
	t.Cleanup(func() { room.Disconnect(); once() }) // the SDK does not always tell of what we ended ourselves
	return p, nil
}

func (p *Participant) listen(track *webrtc.TrackRemote, from string) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if !bytes.Equal(packet.Payload, speech) {
			continue
		}
		p.mu.Lock()
		p.heard[from]++
		close(p.news)
		p.news = make(chan struct{})
		p.mu.Unlock()
	}
}

// Listen subscribes to all who publish now and later, for somebody who connected without.
func (p *Participant) Listen() {
	p.mu.Lock()
	p.listening = true
	p.mu.Unlock()
	for _, other := range p.Room.GetRemoteParticipants() {
		for _, publication := range other.TrackPublications() {
			if remote, ok := publication.(*lksdk.RemoteTrackPublication); ok {
				_ = remote.SetSubscribed(true) // asks only: the answer is OnTrackSubscribed
			}
		}
	}
}

// Heard is how many frames of speech the participant has received from identity so far.
func (p *Participant) Heard(identity string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard[identity]
}

// Identity is the participant's identity.
func (p *Participant) Identity() string { return p.Room.LocalParticipant.Identity() }

// Speak publishes a microphone track and sends sound on it until the end of the test.
func (p *Participant) Speak() {
	p.t.Helper()
	if err := p.TrySpeak(); err != nil {
		p.t.Fatalf("publish: %v", err)
	}
}

// TrySpeak is [Participant.Speak] for somebody who may be refused.
func (p *Participant) TrySpeak() error {
	track, err := lksdk.NewLocalTrack(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2})
	if err != nil {
		return err
	}
	if _, err := p.Room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: "microphone"}); err != nil {
		return err
	}
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.Disconnected:
				return
			case <-tick.C:
			}
			_ = track.WriteSample(webrtcmedia.Sample{Data: speech, Duration: 20 * time.Millisecond}, nil)
		}
	}()
	return nil
}

// Hears waits until the participant has received packets from identity, besides what came before.
func (p *Participant) Hears(identity string) {
	p.t.Helper()
	p.mu.Lock()
	before := p.heard[identity]
	p.mu.Unlock()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		n, news := p.heard[identity]-before, p.news
		p.mu.Unlock()
		if n >= 10 {
			return
		}
		select {
		case <-news:
		case <-deadline:
			p.t.Fatalf("%s heard %d packets from %s in %v, want 10", p.Identity(), n, identity, patience)
		}
	}
}

// WaitGone waits until the connection was ended.
func (p *Participant) WaitGone() {
	p.t.Helper()
	select {
	case <-p.Disconnected:
	case <-time.After(patience):
		p.t.Fatalf("%s is still in the meeting after %v", p.Identity(), patience)
	}
}
