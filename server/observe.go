package server

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/usher-meet/usher/server/auth"
)

// logHandler adds the request id to each line that is logged with a request's context, and hides who called by phone:
// LiveKit makes their identities from their numbers, and its errors name them.
type logHandler struct {
	slog.Handler
	keys *auth.Keys
}

func (h logHandler) Handle(ctx context.Context, record slog.Record) error {
	line := slog.NewRecord(record.Time, record.Level, h.keys.HideCallers(record.Message), record.PC)
	record.Attrs(func(a slog.Attr) bool {
		line.AddAttrs(h.hide(a))
		return true
	})
	if id, ok := ctx.Value(requestIDKey{}).(string); ok {
		line.AddAttrs(slog.String("request", id))
	}
	return h.Handler.Handle(ctx, line)
}

// hide is an attribute without the identities of people on the phone.
func (h logHandler) hide(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	case []string:
		text = strings.Join(v, " ")
	case []slog.Attr:
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(h.hideAll(v)...)}
	}
	if hidden := h.keys.HideCallers(text); hidden != text {
		return slog.String(a.Key, hidden)
	}
	return a
}

func (h logHandler) hideAll(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = h.hide(a)
	}
	return out
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(h.hideAll(attrs)), h.keys}
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name), h.keys}
}

// connectionLog is where net/http tells what goes wrong on connections. Its texts name the addresses of clients, which
// belong in no log.
type connectionLog struct{ slog.Handler }

// clientAddress is an address as net/http writes those of peers.
var clientAddress = regexp.MustCompile(`(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+(%[^\]]*)?\])(:\d+)?`)

// Enabled implements slog.Handler: Handle decides.
func (connectionLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler. That nobody can connect any more is the operator's business; the rest is that of clients.
func (c connectionLog) Handle(ctx context.Context, record slog.Record) error {
	record.Message, record.Level = clientAddress.ReplaceAllString(record.Message, "(address)"), slog.LevelDebug
	if strings.HasPrefix(record.Message, "http: Accept error") {
		record.Level = slog.LevelWarn
	}
	if !c.Handler.Enabled(ctx, record.Level) {
		return nil
	}
	return c.Handler.Handle(ctx, record)
}

// countInFlight is middleware that shows how many requests are being served.
func countInFlight(reg prometheus.Registerer, next http.Handler) http.Handler {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "usher_http_requests_in_flight", Help: "Requests of the API port that are being served.",
	})
	reg.MustRegister(gauge)
	return promhttp.InstrumentHandlerInFlight(gauge, next)
}

// observer counts, times and logs every RPC. It is the outermost interceptor, so that it sees the code that the client gets;
// of calls that are refused before they reach their service it is told.
type observer struct {
	log      *slog.Logger
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newObserver(log *slog.Logger, reg prometheus.Registerer) *observer {
	o := &observer{
		log: log,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_rpc_requests_total", Help: "RPCs by procedure, Connect code and kind of caller.",
		}, []string{"procedure", "code", "caller"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "usher_rpc_duration_seconds", Help: "Time from the decoded request to the answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"procedure"}),
	}
	reg.MustRegister(o.requests, o.duration)
	return o
}

// WrapUnary implements connect.Interceptor.
func (o *observer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		start := time.Now()
		res, err := next(ctx, req)
		o.observe(ctx, req.Spec().Procedure, start, err)
		return res, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (o *observer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		start := time.Now()
		err := next(ctx, conn)
		o.observe(ctx, conn.Spec().Procedure, start, err)
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (*observer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// refused counts and logs a call that was refused for its caller. Any path may be asked for: those that the policy lacks
// share one name, or strangers could fill the metrics.
func (o *observer) refused(ctx context.Context, procedure string, caller *auth.Caller, code connect.Code) {
	if !auth.Known(procedure) {
		procedure = "unknown"
	}
	o.requests.WithLabelValues(procedure, code.String(), caller.Kind.String()).Inc()
	o.log.LogAttrs(
		ctx, slog.LevelInfo, "rpc refused", slog.String("procedure", procedure), slog.String("code", code.String()),
		slog.String("caller", caller.Kind.String()),
	)
}

func (o *observer) observe(ctx context.Context, procedure string, start time.Time, err error) {
	code, caller, took := "ok", auth.FromContext(ctx), time.Since(start)
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	o.requests.WithLabelValues(procedure, code, caller.Kind.String()).Inc()
	o.duration.WithLabelValues(procedure).Observe(took.Seconds())
	if o.log.Enabled(ctx, slog.LevelInfo) {
		o.log.LogAttrs(ctx, slog.LevelInfo, "rpc", slog.String("procedure", procedure), slog.String("code", code),
			slog.String("caller", caller.Kind.String()), slog.Duration("took", took))
	}
}
