package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/dbtx"
)

// readyPause is how long an answer of the parts is good. Strangers may ask for it as often as they like.
const readyPause = 200 * time.Millisecond

// readyTimeout bounds each question that readiness asks. Probes commonly give up after a second or two.
const readyTimeout = time.Second

// permittedPause is for how long Redis is believed to refuse nothing: permissions change seldom, and trying them writes.
const permittedPause = 10 * time.Second

// errRedisRefuses is a Redis whose user may not do all that Usher needs.
var errRedisRefuses = errors.New("Redis refuses commands")

// health answers whether the server lives and whether it can serve.
//
// Ready means that the database and Redis answer and the server is not stopping. LiveKit is reported but not required:
// without it rooms can still be managed, and a restart of LiveKit must not take every replica out of the balancer.
type health struct {
	db       *dbtx.DB
	redis    rueidis.Client
	livekit  interface{ Ping(context.Context) error }
	stopping atomic.Bool

	// mu is held while the parts are asked: who comes meanwhile waits for the same answer.
	mu    sync.Mutex
	asked time.Time
	parts map[string]string
	well  bool
	// permitted is when Redis last let Usher do all that it needs.
	permitted time.Time
}

// check says how each part is, as of a moment ago.
func (h *health) check(ctx context.Context) (parts map[string]string, ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.asked) > readyPause {
		h.parts, h.well = h.ask(context.WithoutCancel(ctx)) // others wait for it
		h.asked = time.Now()
	}
	parts, ready = maps.Clone(h.parts), h.well
	if h.stopping.Load() {
		parts["server"], ready = "is stopping", false
	}
	return parts, ready
}

// ask asks every part.
func (h *health) ask(ctx context.Context) (parts map[string]string, ready bool) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	type result struct {
		part string
		err  error
	}
	results := make(chan result, 3)
	for part, ask := range map[string]func(context.Context) error{
		"database": h.db.Ping,
		"redis":    h.askRedis,
		"livekit":  h.livekit.Ping,
	} {
		go func() { results <- result{part, ask(ctx)} }()
	}
	parts, ready = make(map[string]string, 4), true
	for range 3 {
		r := <-results
		parts[r.part] = "ok"
		if r.err != nil {
			parts[r.part] = "does not answer"
			if errors.Is(r.err, errRedisRefuses) {
				parts[r.part] = "refuses commands: usher doctor says which"
			}
			ready = ready && r.part == "livekit"
		}
	}
	return parts, ready
}

// askRedis asks whether Redis answers and, now and then, whether it lets Usher do all that Usher needs. After a refusal it
// does so each time, so that the server is ready as soon as the operator has mended it.
func (h *health) askRedis(ctx context.Context) error {
	if time.Since(h.permitted) < permittedPause {
		return h.redis.Do(ctx, h.redis.B().Ping().Build()).Error()
	}
	refused, err := probeRedis(ctx, h.redis)
	if err != nil {
		return err
	}
	// A full Redis still serves those who are signed in. To take every replica out of the balancer would not help.
	refused = slices.DeleteFunc(refused, func(what string) bool { return strings.Contains(what, "(OOM ") })
	if len(refused) > 0 {
		return errRedisRefuses
	}
	h.permitted = time.Now()
	return nil
}

// live is GET /healthz: the process serves requests.
func (*health) live(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// ready is GET /readyz of the API port: yes or no, because strangers reach it.
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	if _, ready := h.check(r.Context()); !ready {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// readyDetail is GET /readyz of the internal port: which part is missing.
func (h *health) readyDetail(w http.ResponseWriter, r *http.Request) {
	parts, ready := h.check(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(parts) // the prober has gone
}

// Check implements grpchealth.Checker. Every service stands on the same parts, so all answer alike.
func (h *health) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && !slices.Contains(Services, req.Service) {
		// What the gRPC health protocol asks for: a service that is not here is not found.
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no such service"))
	}
	if _, ready := h.check(ctx); !ready {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}
