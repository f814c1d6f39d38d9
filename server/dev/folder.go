package dev

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/usher-meet/usher/server/settings"
)

// The files of the data folder.
const (
	databaseFile = "usher.db"
	redisFile    = "redis.json"
	secretsFile  = "secrets.json"
	settingsFile = "usher.env"
	lockFile     = "lock"
)

// folder is where development keeps everything. One process at a time uses it.
type folder struct {
	path string
	lock *os.File
}

// lockWait is how long to wait for another process that uses the folder: it may be just stopping.
const lockWait = 3 * time.Second

// openFolder makes the folder if need be and locks it. The lock ends with the process, however that ends.
func openFolder(ctx context.Context, path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if strings.ContainsAny(path, "?#\n") {
		return nil, fmt.Errorf("data folder %q: SQLite cannot name files there: name one without ? and # with --data", path)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		select {
		case <-retry.C:
		case <-ctx.Done():
			_ = lock.Close()
			return nil, fmt.Errorf("another `usher dev` uses the data folder %s: stop it, or name another folder with --data", path)
		}
	}
	return &folder{path: path, lock: lock}, nil
}

func (f *folder) file(name string) string { return filepath.Join(f.path, name) }

func (f *folder) close() { _ = f.lock.Close() }

// secrets are made once for each data folder, so that tokens and sessions outlive a restart.
type secrets struct {
	Secret        string `json:"secret"`
	LiveKitKey    string `json:"livekit_key"`
	LiveKitSecret string `json:"livekit_secret"`
	RedisPassword string `json:"redis_password"`
}

// secrets reads the file of secrets, or makes it.
func (f *folder) secrets() (*secrets, error) {
	path, s := f.file(secretsFile), &secrets{}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		// Two texts of 128 bits or more each make one of 256.
		random := func() string { return rand.Text() + rand.Text() }
		s = &secrets{Secret: random(), LiveKitKey: "usher-dev", LiveKitSecret: random(), RedisPassword: random()}
		if content, err = json.MarshalIndent(s, "", "  "); err == nil { //nolint:gosec // the file is for these secrets
			err = writeFile(path, content)
		}
		return s, err
	}
	if err == nil {
		err = json.Unmarshal(content, s)
	}
	if err == nil && (s.Secret == "" || s.LiveKitKey == "" || s.LiveKitSecret == "" || s.RedisPassword == "") {
		err = errors.New("one of them is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("read the secrets in %s (remove the file to make new ones): %w", path, err)
	}
	return s, nil
}

// writeSettings writes a settings file with which the other commands find what development runs.
func (f *folder) writeSettings(c *settings.Config) error {
	text := "# For the other commands while `usher dev` runs, as in: usher --config " + f.file(settingsFile) + " room list\n" +
		"USHER_PUBLIC_URL=" + c.PublicURL + "\n" +
		"USHER_LISTEN=" + c.Listen + "\n" +
		"USHER_LISTEN_INTERNAL=" + c.ListenInternal + "\n" +
		"USHER_DATABASE_URL=" + string(c.DatabaseURL) + "\n" +
		"USHER_REDIS_ADDRESSES=" + c.Redis.Addresses[0] + "\n" +
		"USHER_REDIS_PASSWORD=" + string(c.Redis.Password) + "\n" +
		"USHER_SECRET=" + string(c.Secret) + "\n" +
		"USHER_LIVEKIT_URL=" + c.LiveKit.URL + "\n" +
		"USHER_LIVEKIT_PUBLIC_URL=" + c.LiveKit.PublicURL + "\n" +
		"USHER_LIVEKIT_KEY=" + c.LiveKit.Key + "\n" +
		"USHER_LIVEKIT_SECRET=" + string(c.LiveKit.Secret) + "\n"
	return writeFile(f.file(settingsFile), []byte(text))
}
