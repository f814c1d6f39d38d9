package livekit

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/livekit/protocol/livekit"

	"github.com/usher-meet/usher/server/meeting"
)

// SendData sends a reliable message under a topic to some participants of a live room. It has no sender, by which clients
// tell it from what participants send. Without identities nothing is sent: to LiveKit that would mean everybody. It fails
// with meeting.ErrNotFound when the room has no meeting.
func (c *Client) SendData(ctx context.Context, room uuid.UUID, identities []string, topic string, message []byte) error {
	if len(identities) == 0 {
		return nil
	}
	err := c.call(ctx, "send data", admin(room), func(ctx context.Context) error {
		_, err := c.rooms.SendData(ctx, &livekit.SendDataRequest{
			Room: room.String(), Data: message, Kind: livekit.DataPacket_RELIABLE, DestinationIdentities: identities, Topic: &topic,
		})
		return err
	})
	if !errors.Is(err, meeting.ErrUnavailable) {
		return err
	}
	// That is also what LiveKit says, after some seconds, of a room that is not there.
	if _, listErr := c.Meeting(ctx, room); errors.Is(listErr, meeting.ErrNotFound) {
		return listErr
	}
	return err
}
