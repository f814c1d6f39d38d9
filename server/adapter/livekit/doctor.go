package livekit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/meeting"
)

// Reach asks LiveKit for nothing, without a key, and returns by how much its clock is ahead of ours, as far as whole seconds
// tell.
func (c *Client) Reach(ctx context.Context) (ahead time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/", nil)
	if err != nil {
		return 0, fmt.Errorf("reach LiveKit: %w", err)
	}
	asked := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("reach LiveKit: %w", err)
	}
	defer res.Body.Close()
	theirs, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0, nil // a proxy took it away
	}
	// Its second began before it was cut off: anything in between fits.
	switch early, late := time.Until(theirs), theirs.Add(time.Second).Sub(asked); {
	case early > 0:
		return early, nil
	case late < 0:
		return late, nil
	}
	return 0, nil
}

// ErrKey means that LiveKit answers and does not take our key, or its secret.
var ErrKey = errors.New("LiveKit does not take the key")

// CheckKey reports whether LiveKit takes our key. It fails with [ErrKey] when it does not.
func (c *Client) CheckKey(ctx context.Context) error {
	refused := false
	grants := auth.NewAccessToken(c.config.Key, c.config.Secret).SetVideoGrant(&auth.VideoGrant{RoomList: true})
	err := c.callWith(ctx, "list rooms", grants, func(ctx context.Context) error {
		_, err := c.rooms.ListRooms(ctx, &livekit.ListRoomsRequest{Names: []string{uuid.Nil.String()}})
		te, ok := errors.AsType[twirp.Error](err)
		refused = ok && (te.Code() == twirp.Unauthenticated || te.Code() == twirp.PermissionDenied)
		return err
	})
	if refused {
		return ErrKey
	}
	return err
}

// MakeRoom makes a room that ends by itself some seconds later, for LiveKit to tell about.
func (c *Client) MakeRoom(ctx context.Context, room uuid.UUID) error {
	return c.call(ctx, "create room", &auth.VideoGrant{RoomCreate: true}, func(ctx context.Context) error {
		_, err := c.rooms.CreateRoom(ctx, &livekit.CreateRoomRequest{Name: room.String(), EmptyTimeout: 10})
		return err
	})
}

// noTrack is the id of a track that nobody has.
const noTrack = "TR_of_nobody"

// RemoteUnmute reports whether LiveKit lets the phone callers be unmuted whom a host lets in. It can only be asked about
// somebody who is in a meeting, and asks about a track that they do not have. It fails with meeting.ErrNotFound when they
// left.
func (c *Client) RemoteUnmute(ctx context.Context, room uuid.UUID, identity string) (enabled bool, err error) {
	enabled = true
	err = c.call(ctx, "unmute nothing", admin(room), func(ctx context.Context) error {
		_, err := c.rooms.MutePublishedTrack(ctx, &livekit.MuteRoomTrackRequest{
			Room: room.String(), Identity: identity, TrackSid: noTrack, Muted: false,
		})
		if te, ok := errors.AsType[twirp.Error](err); ok && strings.Contains(te.Msg(), "unmute not enabled") {
			enabled = false
			return nil
		}
		return err
	})
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return false, err
	}
	return enabled, err
}
