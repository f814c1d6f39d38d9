package telephony

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bridgeText is what a bridge says: its node, and wrong PINs of two kinds of calls.
func bridgeText(node string, one, other int) string {
	return fmt.Sprintf(`# HELP livekit_sip_calls_active Number of currently active SIP calls
# TYPE livekit_sip_calls_active gauge
livekit_sip_calls_active{dir="in",node_id="%[1]s",to="198.51.100.1"} 2
# HELP livekit_sip_calls_terminated Number of calls terminated by SIP bridge
# TYPE livekit_sip_calls_terminated counter
livekit_sip_calls_terminated{dir="in",node_id="%[1]s",reason="hangup",to="198.51.100.1"} 500
livekit_sip_calls_terminated{dir="in",node_id="%[1]s",reason="wrong-pin",to="198.51.100.1"} %[2]d
livekit_sip_calls_terminated{dir="in",node_id="%[1]s",reason="wrong-pin",to="198.51.100.2"} %[3]d
`, node, one, other)
}

// newWatch watches two bridges, which say what the test sets.
func newWatch(t *testing.T) (w *Watch, say func(n int, status int, text string), value func(name string) float64) {
	t.Helper()
	var mu sync.Mutex
	answers := [2]struct {
		status int
		text   string
	}{}
	registry := prometheus.NewRegistry()
	w = &Watch{
		Period: 10 * time.Millisecond, HTTP: http.DefaultClient, Metrics: NewWatchMetrics(registry),
		Log: quiet(t, nil).Log,
	}
	for n := range answers {
		server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			out.WriteHeader(answers[n].status)
			fmt.Fprint(out, answers[n].text)
		}))
		t.Cleanup(server.Close)
		w.URLs = append(w.URLs, server.URL+"/metrics")
	}
	say = func(n, status int, text string) {
		mu.Lock()
		defer mu.Unlock()
		answers[n].status, answers[n].text = status, text
	}
	from := &fixture{t: t, registry: registry}
	return w, say, func(name string) float64 { return from.counted(name, "") }
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w, say, value := newWatch(t)
	w.Alert = 10
	start := time.Now()
	steps := []struct {
		name                    string
		after                   time.Duration
		first, second           string
		secondFails             bool
		total, rate, alert, bad float64
	}{
		{"what was before is no news", 0, bridgeText("a", 100, 5), bridgeText("b", 7, 0), false, 0, 0, 0, 0},
		{"both count", 15 * time.Second, bridgeText("a", 102, 6), bridgeText("b", 8, 0), false, 4, 4, 0, 0},
		{"one does not answer", 30 * time.Second, bridgeText("a", 103, 6), "", true, 5, 5, 0, 1},
		{"it tells what it missed", 45 * time.Second, bridgeText("a", 103, 6), bridgeText("b", 13, 0), false, 10, 10, 1, 1},
		{"the alarm goes on", 50 * time.Second, bridgeText("a", 103, 6), bridgeText("b", 13, 0), false, 10, 10, 1, 1},
		{"a minute later old ones do not count", 80 * time.Second, bridgeText("a", 103, 6), bridgeText("b", 14, 0), false, 11, 7, 0, 1},
		{"started again under another name", 140 * time.Second, bridgeText("a2", 1, 2), bridgeText("b", 14, 0), false, 14, 3, 0, 1},
		{"started again under the same name", 200 * time.Second, bridgeText("a2", 1, 2), bridgeText("b", 3, 0), false, 17, 3, 0, 1},
		{"an hour's come at once", 3800 * time.Second, bridgeText("a2", 1, 2), bridgeText("b", 33, 0), false, 47, 0.5, 0, 1},
	}
	for _, s := range steps {
		say(0, http.StatusOK, s.first)
		say(1, http.StatusOK, s.second)
		if s.secondFails {
			say(1, http.StatusServiceUnavailable, "")
		}
		w.look(t.Context(), start.Add(s.after))
		got := []float64{
			value("usher_wrong_pins_total"), value("usher_wrong_pins_per_minute"), value("usher_wrong_pin_alert"),
			value("usher_wrong_pin_scrape_failures_total"),
		}
		if want := []float64{s.total, s.rate, s.alert, s.bad}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: total, rate, alert, failures %v, want %v", s.name, got, want)
		}
	}
}

// What is no bridge is a failure, not a bridge without wrong PINs.
func TestWatch_notABridge(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "<html>", "go_goroutines 5\n", "livekit_sip_x{", strings.Repeat("a 1\n", maxMetrics/4+1)} {
		w, say, value := newWatch(t)
		w.URLs = w.URLs[:1]
		say(0, http.StatusOK, text)
		w.look(t.Context(), time.Now())
		if got := value("usher_wrong_pin_scrape_failures_total"); got != 1 {
			t.Errorf("%.20q: %v failures, want 1", text, got)
		}
	}
}

func TestWatch_runs(t *testing.T) {
	t.Parallel()
	w, say, value := newWatch(t)
	say(0, http.StatusOK, bridgeText("a", 1, 0))
	say(1, http.StatusOK, bridgeText("b", 1, 0))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	wrong := 1
	(&fixture{t: t}).eventually("new wrong PINs are counted", func() bool {
		wrong++
		say(0, http.StatusOK, bridgeText("a", wrong, 0))
		return value("usher_wrong_pins_total") >= 3
	})
	cancel()
	<-done
	(&Watch{}).Run(t.Context()) // without bridges there is nothing to do
}
