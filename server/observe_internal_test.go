package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/usher-meet/usher/server/auth"
)

// Whatever names somebody on the phone, the log does not: their identity comes from their number.
func TestLogHandler_callers(t *testing.T) {
	t.Parallel()
	const caller = "sip_bf97e33ee09d0e8d"
	keys := auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil)
	var out bytes.Buffer
	log := slog.New(logHandler{slog.NewTextHandler(&out, nil), keys})
	log.Info("participant "+caller+" left", "participant", caller, "caller", "user:1",
		"err", errors.New("mute: participant "+caller+" does not exist"), "all", []string{"p_1", caller},
		slog.Group("livekit", "identity", caller), "n", 5)
	log.With("participant", caller).WithGroup("more").Info("again")
	text := out.String()
	if strings.Contains(text, "sip_") || strings.Contains(text, "bf97e33e") {
		t.Errorf("the log tells who called:\n%s", text)
	}
	if n := strings.Count(text, keys.Pseudonym(caller)); n != 6 || !strings.Contains(text, "caller=user:1") || !strings.Contains(text, "n=5") {
		t.Errorf("%d pseudonyms, want 6, and the rest as it is:\n%s", n, text)
	}
}
