package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// childVariable makes the test program a server with the settings in its value, to be killed.
const childVariable = "USHER_TEST_SERVER_CHILD"

// childSettings are those of a server that is a process of its own.
type childSettings struct {
	Listen string
	Sweep  time.Duration
	Places places
	// ClientURL is where participants find LiveKit.
	ClientURL string
	// Recording is what it needs for recordings; without it nothing is recorded.
	Recording recordingParts
	// MailPort is that of the mail server; 0 for none.
	MailPort int
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testenv.Main(m)
}

func child(text string) error {
	var s childSettings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	config := testConfig(s.Places)
	config.Listen, config.LiveKit.Sweep, config.LiveKit.PublicURL = s.Listen, s.Sweep, s.ClientURL
	if s.Recording.S3 != "" {
		s.Recording.configure(&config)
		inAHurry(&config)
	}
	if s.MailPort != 0 {
		mailThrough(s.MailPort)(&config)
	}
	log := slog.New(slog.NewTextHandler(io.Writer(os.Stderr), nil))
	return server.Run(context.Background(), server.Options{Config: config, Log: log})
}
