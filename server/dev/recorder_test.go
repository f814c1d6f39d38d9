package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
)

// said is what `usher dev` prints.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// token is the one that the welcome shows.
var token = regexp.MustCompile(`Bearer ([^']+)'`)

// In development a meeting can be recorded, by a stand-in that says so, and the file fetched.
func TestRun_recording(t *testing.T) {
	t.Parallel()
	o, out := options(t), &said{}
	o.LiveKitServer, o.Out = os.Getenv("USHER_TEST_LIVEKIT_SERVER"), out
	o.Config.LiveKit.TokenLife, o.Config.LiveKit.SessionLife = time.Minute, time.Hour
	o.Config.Recording.Folder, o.Config.Recording.Sweep = "recordings", time.Second
	o.Config.Recording.Modes = append(o.Config.Recording.Modes, 1)
	o.Config.RequestTimeout, o.Config.DrainTimeout, o.Config.Keep.Jobs = 20*time.Second, 5*time.Second, time.Hour
	o.Config.Keep.Idempotency = time.Hour
	o.Config.Telephony.Sweep = 30 * time.Second
	o.Config.Rooms.UsersCreate, o.Config.Rooms.AccessLevel, o.Config.Languages = true, 1, []string{"en"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	wait(t, "the welcome", func() bool { return token.MatchString(out.String()) })
	if !strings.Contains(out.String(), "stand-in") {
		t.Errorf("the welcome does not say who records:\n%s", out)
	}
	c := caller{t, "http://127.0.0.1:" + strconv.Itoa(o.Port), token.FindStringSubmatch(out.String())[1]}

	checkPages(t, c.url)

	room := c.call("RoomsService/CreateRoom", `{"name": "Recorded"}`)["room"].(map[string]any)["id"].(string)
	connection := c.call("RoomsService/JoinRoom", `{"room": "`+room+`", "displayName": "Ada"}`)["connection"].(map[string]any)
	participant.Join(t, connection["serverUrl"].(string), connection["token"].(string))
	recording := c.call("RecordingsService/StartRecording", `{"room": "`+room+`", "mode": "RECORDING_MODE_SCREEN_RECORDING"}`)
	id := recording["recording"].(map[string]any)["id"].(string)
	status := func() any {
		got := c.call("RecordingsService/GetRecording", `{"recordingId": "`+id+`"}`)
		return got["recording"].(map[string]any)["status"]
	}
	wait(t, "it records", func() bool { return status() == "RECORDING_STATUS_ACTIVE" })
	c.call("RecordingsService/StopRecording", `{"room": "`+room+`"}`)
	wait(t, "it is saved", func() bool { return status() == "RECORDING_STATUS_SAVED" })
	film, err := os.ReadFile(filepath.Join(o.Data, filesFolder, "recordings", id+".mp4"))
	if err != nil || !bytes.Equal(film, recorder.Film) {
		t.Errorf("the file: %d bytes, %v", len(film), err)
	}
	address := c.call("RecordingsService/CreateDownloadUrl", `{"recordingId": "`+id+`"}`)["url"].(string)
	res, err := http.Get(strings.Replace(address, "localhost", "127.0.0.1", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !bytes.Equal(body, recorder.Film) {
		t.Errorf("the download: %d, %d bytes, %v", res.StatusCode, len(body), err)
	}
}

// checkPages looks at the pages for developers, at the addresses that others link to.
func checkPages(t *testing.T, server string) {
	t.Helper()
	for path, want := range map[string]string{"/-/development": "Usher is running", "/-/development/mail": "There is none yet"} {
		res, err := http.Get(server + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %.200s, want %q", path, res.StatusCode, body, want)
		}
	}
}

// caller calls the API as the developer.
type caller struct {
	t          *testing.T
	url, token string
}

func (c caller) call(method, body string) map[string]any {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+"/usher.v1."+method, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %d %v %v", method, res.StatusCode, answer, err)
	}
	return answer
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
