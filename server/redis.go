package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/redis/rueidis"
)

// ErrNoRedis means that no Redis answers, or that it wants another password.
var ErrNoRedis = errors.New("connect to Redis")

// OpenRedis connects to Redis: one server, a cluster, or the master that sentinels name. It fails with [ErrNoRedis].
func OpenRedis(c RedisConfig) (rueidis.Client, error) {
	option := rueidis.ClientOption{
		InitAddress: c.Addresses,
		Username:    c.Username,
		Password:    string(c.Password),
		// Nothing here is read often enough for client-side caching to pay, and the in-process Redis lacks it.
		DisableCache: true,
		AlwaysRESP2:  c.Embedded,
	}
	if c.TLS {
		roots, err := rootCAs(c.CAFile)
		if err != nil {
			return nil, err
		}
		option.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
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

// rootCAs reads a PEM file of certificate authorities; nil, the system's, without one.
func rootCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("read certificate authorities: no certificate in " + file)
	}
	return pool, nil
}
