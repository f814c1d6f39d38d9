package server

import (
	"errors"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/tlsconfig"
)

// ErrNoRedis means that no Redis answers, or that it wants another password.
var ErrNoRedis = errors.New("connect to Redis")

// OpenRedis connects to Redis: one server, a cluster, or the master that sentinels name. It fails with [ErrNoRedis].
func OpenRedis(c settings.RedisConfig) (rueidis.Client, error) {
	option := rueidis.ClientOption{
		InitAddress: c.Addresses,
		Username:    c.Username,
		Password:    string(c.Password),
		// Nothing here is read often enough for client-side caching to pay, and the in-process Redis lacks it.
		DisableCache: true,
		AlwaysRESP2:  c.Embedded,
	}
	if c.TLS {
		var err error
		if option.TLSConfig, err = tlsconfig.Load(c.CAFile, "Redis"); err != nil {
			return nil, err
		}
	}
	if c.SentinelMaster != "" {
		option.Sentinel = rueidis.SentinelOption{
			MasterSet: c.SentinelMaster, Username: c.Username, Password: string(c.Password), TLSConfig: option.TLSConfig,
		}
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRedis, err)
	}
	return client, nil
}
