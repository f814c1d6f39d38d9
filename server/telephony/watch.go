package telephony

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Wrong PINs reach nobody: LiveKit's phone bridge plays its message and hangs up, one try for each call, and tells Usher
// nothing. All that there is is a counter in its metrics, without number, PIN or room. So nothing tells those who guess from
// those who call before their meeting has begun: while any room of the trunk is open, the bridge asks them for their PIN,
// and no rule has it. Hence the count is for the operator to judge, and no PIN is changed because of it.
const (
	// terminated counts the calls that a bridge ended, wrongPIN is the reason among others, and both names begin alike.
	bridgeMetrics, terminated, wrongPIN = "livekit_sip_", "livekit_sip_calls_terminated", "wrong-pin"
	// maxMetrics is how much a bridge may answer.
	maxMetrics = 4 << 20
	// scrapeTimeout bounds one question to a bridge.
	scrapeTimeout = 5 * time.Second
	// window is the time over which wrong PINs are counted.
	window = time.Minute
)

// Watch counts the wrong PINs of the last minute, at all bridges together, for the operator to judge. Each server does it by
// itself. Every field is required.
type Watch struct {
	// URLs are where the bridges have their metrics.
	URLs []string
	// Period is how often they are asked.
	Period time.Duration
	// Alert is how many wrong PINs in a minute are too many; 0: never.
	Alert   int
	HTTP    *http.Client
	Log     *slog.Logger
	Metrics *WatchMetrics

	bridges map[string]reading
	recent  []burst
	alert   bool
}

// counters are the values of a bridge's counters, by their labels; nil as long as it was never asked.
type counters map[string]float64

// reading holds the counters of a bridge at one moment.
type reading struct {
	time     time.Time
	counters counters
}

// burst are wrong PINs that were found at one moment.
type burst struct {
	time  time.Time
	count float64
}

// WatchMetrics count wrong PINs.
type WatchMetrics struct {
	total, failures prometheus.Counter
	rate, alert     prometheus.Gauge
}

// NewWatchMetrics registers the metrics.
func NewWatchMetrics(reg prometheus.Registerer) *WatchMetrics {
	m := &WatchMetrics{
		total: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usher_wrong_pins_total", Help: "Calls that LiveKit's phone bridges ended because of a wrong PIN, since this server watches. " +
				"Whoever calls before their meeting has begun is among them.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usher_wrong_pin_scrape_failures_total", Help: "Times that a phone bridge did not tell its metrics.",
		}),
		rate: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usher_wrong_pins_per_minute", Help: "Wrong PINs in the last minute, at all phone bridges.",
		}),
		alert: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usher_wrong_pin_alert", Help: "1 while there are more wrong PINs in a minute than USHER_TELEPHONY_WRONG_PIN_ALERT allows.",
		}),
	}
	reg.MustRegister(m.total, m.failures, m.rate, m.alert)
	return m
}

// Run watches until ctx is done.
func (w *Watch) Run(ctx context.Context) {
	if len(w.URLs) == 0 {
		return
	}
	tick := time.NewTicker(w.Period)
	defer tick.Stop()
	for ctx.Err() == nil {
		w.look(ctx, time.Now())
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// look asks all bridges once.
func (w *Watch) look(ctx context.Context, now time.Time) {
	if w.bridges == nil {
		w.bridges = map[string]reading{}
	}
	recent := 0.0
	for _, url := range w.URLs {
		next, err := w.scrape(ctx, url)
		if err != nil && ctx.Err() != nil {
			return
		}
		if err != nil {
			// What happens meanwhile is in the counter when it answers again.
			w.Metrics.failures.Inc()
			w.Log.WarnContext(ctx, "a phone bridge does not tell its metrics, so wrong PINs are not seen", "err", err)
			continue
		}
		was := w.bridges[url]
		grown := since(was.counters, next)
		w.Metrics.total.Add(grown)
		// After a longer silence nobody knows when they were: an hour's are no burst, and raise no alarm as one.
		recent += grown * min(1, float64(window)/float64(now.Sub(was.time)))
		w.bridges[url] = reading{now, next}
	}
	w.recent = append(slices.DeleteFunc(w.recent, func(b burst) bool { return now.Sub(b.time) >= window }), burst{now, recent})
	rate := 0.0
	for _, b := range w.recent {
		rate += b.count
	}
	w.Metrics.rate.Set(rate)
	w.judge(ctx, rate)
}

// Check asks each bridge once, and returns why some do not tell.
func (w *Watch) Check(ctx context.Context) (problems []error) {
	for _, url := range w.URLs {
		if _, err := w.scrape(ctx, url); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// since is by how much the counters of one bridge grew. A bridge that was started again counts from 0, mostly under another
// label; what it counted before it was seen for the first time is nobody's news.
func since(was, is counters) (grown float64) {
	if was == nil {
		return 0
	}
	for labels, value := range is {
		if before := was[labels]; value >= before {
			grown += value - before
		} else {
			grown += value
		}
	}
	return grown
}

// judge tells the operator when there are too many, and when there are few again.
func (w *Watch) judge(ctx context.Context, rate float64) {
	alert := w.Alert > 0 && rate >= float64(w.Alert)
	switch {
	case alert && !w.alert:
		w.Metrics.alert.Set(1)
		w.Log.WarnContext(ctx, "many wrong PINs are typed: somebody tries PINs, or many call before their meetings have begun",
			"wrong_pins_per_minute", rate)
	case !alert && w.alert:
		w.Metrics.alert.Set(0)
		w.Log.InfoContext(ctx, "wrong PINs are few again", "wrong_pins_per_minute", rate)
	}
	w.alert = alert
}

// scrape reads the counters of wrong PINs of one bridge.
func (w *Watch) scrape(ctx context.Context, url string) (counters, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask a phone bridge: %w", err)
	}
	res, err := w.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask a phone bridge: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, res.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(res.Body, maxMetrics))
	if err != nil {
		return nil, fmt.Errorf("%s has no metrics in text form: %w", url, err)
	}
	found, bridge := counters{}, false
	for name, family := range families {
		bridge = bridge || strings.HasPrefix(name, bridgeMetrics)
		if name != terminated && name != terminated+"_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			wrong := false
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
				wrong = wrong || l.GetName() == "reason" && l.GetValue() == wrongPIN
			}
			if wrong {
				slices.Sort(labels)
				found[strings.Join(labels, ",")] += m.GetCounter().GetValue() + m.GetUntyped().GetValue()
			}
		}
	}
	if !bridge {
		return nil, errors.New(url + " has no metrics of LiveKit's phone bridge: is it the address of something else?")
	}
	return found, nil
}
