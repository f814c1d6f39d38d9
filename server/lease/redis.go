package lease

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/fault"
)

const (
	// keyPrefix is before the id of the room, which is the hash tag: all keys of a room are on one node of a cluster. The lobby
	// has the same prefix and other names.
	keyPrefix = "usher:1:lobby:{"
	// redisTimeout bounds the wait for Redis: it answers within milliseconds, or something is wrong.
	redisTimeout = 2 * time.Second
)

// Redis has leases of rooms. Its methods fail with fault.ErrRedis.
type Redis struct{ Client rueidis.Client }

// Take takes a lease of a room for d, unless somebody has it: then left is how much longer that is so.
func (r Redis) Take(
	ctx context.Context, room uuid.UUID, name string, d time.Duration,
) (taken bool, left time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	set := r.Client.B().Set().Key(key(room, name)).Value("1").Nx().PxMilliseconds(d.Milliseconds()).Build()
	if err = r.Client.Do(ctx, set).Error(); err == nil {
		return true, 0, nil
	}
	if !rueidis.IsRedisNil(err) {
		return false, 0, fault.ErrRedis.Because(err)
	}
	ms, err := r.Client.Do(ctx, r.Client.B().Pttl().Key(key(room, name)).Build()).AsInt64()
	if err != nil {
		return false, 0, fault.ErrRedis.Because(err)
	}
	return false, max(time.Duration(ms)*time.Millisecond, time.Millisecond), nil
}

// Release ends a lease, whoever has it.
func (r Redis) Release(ctx context.Context, room uuid.UUID, name string) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	if err := r.Client.Do(ctx, r.Client.B().Del().Key(key(room, name)).Build()).Error(); err != nil {
		return fault.ErrRedis.Because(err)
	}
	return nil
}

func key(room uuid.UUID, name string) string { return keyPrefix + room.String() + "}:" + name }
