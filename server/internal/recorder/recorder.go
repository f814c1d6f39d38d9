// Package recorder stands in for LiveKit's egress, in tests and under `usher dev`: it takes orders from a real
// livekit-server, over its Redis, and stores a film of two seconds instead of a meeting.
//
// What livekit-server sees of it, and therefore what it lists and the webhooks it sends, is what it would see of an egress.
// In tests it can also do what an egress does on a bad day: see [Script].
package recorder

import (
	"context"
	_ "embed" // the film
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/redis"
	"github.com/livekit/protocol/rpc"
	"github.com/livekit/psrpc"
	"github.com/livekit/psrpc/pkg/bus/redisbus"
	"google.golang.org/protobuf/proto"
)

// The film that every recording is, with and without pictures: two seconds of a tone.
var (
	//go:embed standin.mp4
	Film []byte
	//go:embed standin.ogg
	Sound []byte
)

// length of the film.
const length = 2 * time.Second

// Ending is how a recording ends.
type Ending int

// The ways in which a recording ends.
const (
	// Complete stores the file.
	Complete Ending = iota
	// LimitReached stores the file, and says that it was cut.
	LimitReached
	// Aborted stores nothing, and says that recording never began.
	Aborted
	// Failed stores nothing.
	Failed
	// FailedPartial stores half of the file, and fails.
	FailedPartial
	// FileLost says that all is well, and stores nothing.
	FileLost
	// Died says nothing and stores nothing.
	Died
	// DiedStored stores the file, and says nothing.
	DiedStored
)

// Script is how one recorder behaves. The zero value does everything right, until it is stopped.
type Script struct {
	// Refuse answers that it will not record.
	Refuse bool
	// AnswerAfter is how long the answer to the order takes. The recorder begins at once.
	AnswerAfter time.Duration
	// NeverActive stays as it is when it was ordered.
	NeverActive bool
	// EndAfter ends by itself. 0: when it is stopped.
	EndAfter time.Duration
	// Ending is how.
	Ending Ending
	// DeafToStop does not answer when it is to stop, and goes on.
	DeafToStop bool
	// SilentEnd ends without telling LiveKit, though it still answers.
	SilentEnd bool
}

// Config says where a recorder gets its orders.
type Config struct {
	// RedisAddress is that of livekit-server's Redis, host:port. Required.
	RedisAddress, RedisPassword string
	// Folder is where files go that are not for a bucket. Empty: nowhere.
	Folder string
	Log    *slog.Logger
}

// Recorder takes orders until it is closed.
type Recorder struct {
	config  Config
	bus     psrpc.MessageBus
	close   func()
	server  rpc.EgressInternalServer
	io      rpc.IOInfoClient
	ctx     context.Context //nolint:containedctx // the life of what it records
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	script func(room string) Script
	jobs   map[string]*job
	closed bool
}

// Start connects to Redis and waits for orders.
func Start(c Config) (*Recorder, error) {
	client, err := redis.GetRedisClient(&redis.RedisConfig{Address: c.RedisAddress, Password: c.RedisPassword})
	if err != nil {
		return nil, fmt.Errorf("stand-in recorder: connect to Redis: %w", err)
	}
	r := &Recorder{
		config: c,
		bus:    redisbus.New(client),
		jobs:   map[string]*job{},
		script: func(string) Script { return Script{} },
	}
	r.close = func() { _ = client.Close() } // nothing was written
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if r.io, err = rpc.NewIOInfoClient(r.bus, psrpc.WithClientTimeout(5*time.Second)); err == nil {
		if r.server, err = rpc.NewEgressInternalServer(r, r.bus); err == nil {
			err = r.server.RegisterStartEgressTopic("")
		}
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("stand-in recorder: register: %w", err)
	}
	return r, nil
}

// Close ends everything at once, as a crash would: what is being recorded is never heard of again.
func (r *Recorder) Close() {
	if r.server != nil {
		r.server.Kill()
	}
	r.mu.Lock()
	r.closed = true // an order that is being taken comes too late
	r.mu.Unlock()
	r.cancel()
	r.running.Wait()
	if r.io != nil {
		r.io.Close()
	}
	r.close()
}

// Behave says how the recorders behave that are ordered from now on.
func (r *Recorder) Behave(s Script) { r.BehaveIn(func(string) Script { return s }) }

// BehaveIn is [Recorder.Behave] with a choice for each room, by its name in LiveKit.
func (r *Recorder) BehaveIn(script func(room string) Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = script
}

// Recording are the egresses that go on: neither ended, nor dead, nor silent at their end.
func (r *Recorder) Recording() (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, j := range r.jobs {
		if !j.over.Load() {
			ids = append(ids, id)
		}
	}
	return ids
}

// errRefused is the answer of a recorder that refuses an order.
var errRefused = psrpc.NewErrorf(psrpc.InvalidArgument, "the stand-in recorder was told to refuse")

// errClosed is the answer of a recorder that is shutting down.
var errClosed = errors.New("the stand-in recorder is closed")

// StartEgress takes an order. It implements rpc.EgressInternalServerImpl, as do the next two.
func (r *Recorder) StartEgress(ctx context.Context, req *rpc.StartEgressRequest) (*livekit.EgressInfo, error) {
	order, ok := req.GetRequest().(*rpc.StartEgressRequest_RoomComposite)
	if !ok || len(order.RoomComposite.GetFileOutputs()) != 1 {
		return nil, psrpc.NewErrorf(psrpc.InvalidArgument, "the stand-in recorder makes one file of a whole room only")
	}
	r.mu.Lock()
	behaviour := r.script
	r.mu.Unlock()
	script := behaviour(order.RoomComposite.GetRoomName())
	if script.Refuse {
		return nil, errRefused
	}
	j := &job{
		recorder: r, script: script, output: order.RoomComposite.GetFileOutputs()[0], stop: make(chan struct{}),
		info: &livekit.EgressInfo{
			EgressId: req.GetEgressId(), RoomId: req.GetRoomId(), RoomName: order.RoomComposite.GetRoomName(),
			Status: livekit.EgressStatus_EGRESS_STARTING, UpdatedAt: time.Now().UnixNano(),
			Request: &livekit.EgressInfo_RoomComposite{RoomComposite: redact(order.RoomComposite)},
		},
	}
	answer := proto.CloneOf(j.info)
	// LiveKit's egress does so before it answers: an order whose answer is lost is listed all the same.
	if _, err := r.io.CreateEgress(ctx, answer); err != nil {
		return nil, psrpc.NewError(psrpc.Internal, err)
	}
	if err := r.begin(j); err != nil {
		return nil, psrpc.NewError(psrpc.Internal, err)
	}
	if script.AnswerAfter > 0 {
		select {
		case <-time.After(script.AnswerAfter):
		case <-ctx.Done():
		case <-r.ctx.Done():
		}
	}
	return answer, nil
}

// redact takes the credentials out, as LiveKit's egress does: what it tells is stored and sent around.
func redact(order *livekit.RoomCompositeEgressRequest) *livekit.RoomCompositeEgressRequest {
	shown := proto.CloneOf(order)
	for _, f := range shown.GetFileOutputs() {
		if s3 := f.GetS3(); s3 != nil {
			s3.AccessKey, s3.Secret = "{access_key}", "{secret}"
		}
	}
	return shown
}

// begin records in the background.
func (r *Recorder) begin(j *job) error {
	server, err := rpc.NewEgressHandlerServer(j, r.bus)
	if err != nil {
		return err
	}
	id := j.info.GetEgressId()
	if err := errors.Join(server.RegisterStopEgressTopic(id), server.RegisterUpdateStreamTopic(id)); err != nil {
		server.Kill()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		server.Kill()
		return errClosed
	}
	r.jobs[id] = j
	r.running.Go(func() {
		j.run(r.ctx)
		server.Kill()
		r.mu.Lock()
		delete(r.jobs, id)
		r.mu.Unlock()
	})
	return nil
}

// StartEgressAffinity says that this recorder has time.
func (r *Recorder) StartEgressAffinity(context.Context, *rpc.StartEgressRequest) float32 { return 1 }

// ListActiveEgress lists what is being recorded.
func (r *Recorder) ListActiveEgress(context.Context, *rpc.ListActiveEgressRequest) (*rpc.ListActiveEgressResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &rpc.ListActiveEgressResponse{}
	for id := range r.jobs {
		res.EgressIds = append(res.EgressIds, id)
	}
	return res, nil
}
