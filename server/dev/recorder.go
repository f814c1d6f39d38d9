package dev

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/alicebob/miniredis/v2"

	"github.com/usher-meet/usher/server/internal/recorder"
)

// filesFolder holds the files of recordings.
const filesFolder = "files"

// bus is the Redis over which the parts of LiveKit talk, with the recorder that stands in for its egress. It is in this
// process, and keeps nothing: what livekit-server writes down there would outlive it.
type bus struct {
	server   *miniredis.Miniredis
	password string
	recorder *recorder.Recorder
}

// startBus starts a recorder that puts its files below folder, and what it needs.
func startBus(folder, password string, log *slog.Logger) (*bus, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("folder of recordings: %w", err)
	}
	b := &bus{server: miniredis.NewMiniRedis(), password: password}
	b.server.RequireAuth(password)
	if err := b.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the Redis of LiveKit: %w", err)
	}
	b.server.ClockTTL(true)
	var err error
	b.recorder, err = recorder.Start(recorder.Config{
		RedisAddress: b.server.Addr(), RedisPassword: password, Folder: folder, Log: log,
	})
	if err != nil {
		b.server.Close()
		return nil, err
	}
	return b, nil
}

// yaml is the configuration of livekit-server.
func (b *bus) yaml() string {
	return fmt.Sprintf("redis: {address: %q, password: %q}\n", b.server.Addr(), b.password)
}

// stop ends both.
func (b *bus) stop() {
	b.recorder.Close()
	b.server.Close()
}
