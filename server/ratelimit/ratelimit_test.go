package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// servers runs a test on Redis, and on the one of `usher dev`.
func servers(t *testing.T, test func(t *testing.T, l *Limiter)) {
	t.Helper()
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		test(t, &Limiter{Redis: testenv.Redis(t).Client(t)})
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		server := miniredis.RunT(t)
		client, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{server.Addr()}, DisableCache: true, AlwaysRESP2: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		test(t, &Limiter{Redis: client})
	})
}

// everywhere runs a test on what [servers] has, and on a cluster of three nodes.
func everywhere(t *testing.T, test func(t *testing.T, l *Limiter)) {
	t.Helper()
	servers(t, test)
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: testenv.RedisCluster(t), DisableCache: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		test(t, &Limiter{Redis: client})
	})
}

// retryAfter is the wait that a refusal tells; 0 for a call that passed.
func retryAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	if err == nil {
		return 0
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || !errors.Is(err, ErrLimited) || f.RetryAfter <= 0 {
		t.Fatalf("got %v, want ErrLimited that says how long to wait", err)
	}
	return f.RetryAfter
}

func TestTake_burstThenSteady(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, l *Limiter) {
		// One call every 100 ms after the burst.
		limit := Limit{Name: "join", Burst: 5, Period: 500 * time.Millisecond}
		call := Call{Limit: limit, Key: "somebody"}
		start := time.Now()
		for i := range limit.Burst {
			if err := l.Take(t.Context(), call); err != nil {
				t.Fatalf("call %d of the burst: %v", i+1, err)
			}
		}
		passed := limit.Burst
		for passed < limit.Burst+5 {
			if time.Since(start) > 10*time.Second {
				t.Fatalf("%d calls passed in 10 s, want %d", passed, limit.Burst+5)
			}
			err := l.Take(t.Context(), call)
			if err == nil {
				passed++
				continue
			}
			wait := retryAfter(t, err)
			if f, _ := errors.AsType[*fault.Error](err); f.Meta["limit"] != "join" {
				t.Errorf("the refusal names the limit %q, want join", f.Meta["limit"])
			}
			if wait > 100*time.Millisecond {
				t.Fatalf("told to wait %v, longer than one interval", wait)
			}
			time.Sleep(wait)
		}
		// A caller that waits as told gets the next one: nothing is lost, and never more than the limit.
		most := limit.Burst + int(time.Since(start)/(100*time.Millisecond))
		if passed > most {
			t.Errorf("%d calls passed in %v, want at most %d", passed, time.Since(start), most)
		}
	})
}

// However many ask at the same moment, from however many replicas, no more pass than the limit says.
func TestTake_concurrent(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	call := Call{Limit: Limit{Name: "join", Burst: 20, Period: time.Hour}, Key: "somebody"}
	const replicas, callers = 4, 50
	var passed atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for range replicas {
		l := &Limiter{Redis: server.Client(t)}
		for range callers {
			group.Go(func() {
				<-start
				switch err := l.Take(t.Context(), call); {
				case err == nil:
					passed.Add(1)
				case !errors.Is(err, ErrLimited):
					t.Error(err)
				}
			})
		}
	}
	close(start)
	group.Wait()
	if n := passed.Load(); n != int64(call.Limit.Burst) {
		t.Errorf("%d of %d calls passed, want %d", n, replicas*callers, call.Limit.Burst)
	}
}

func TestTake_keysAndLimitsAreSeparate(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, l *Limiter) {
		join := Limit{Name: "join", Burst: 1, Period: time.Hour}
		look := Limit{Name: "look", Burst: 2, Period: time.Hour}
		both := []Call{{Limit: join, Key: "a"}, {Limit: look, Key: "a"}}
		if err := l.Take(t.Context(), both...); err != nil {
			t.Fatal(err)
		}
		if wait := retryAfter(t, l.Take(t.Context(), both...)); wait == 0 {
			t.Error("a second call of one")
		}
		if err := l.Take(t.Context(), Call{Limit: join, Key: "b"}); err != nil {
			t.Errorf("another key: %v", err)
		}
		if err := l.Take(t.Context(), Call{Limit: Limit{Name: "off"}, Key: "a"}); err != nil {
			t.Errorf("a limit that is off: %v", err)
		}
		if err := l.Take(t.Context()); err != nil {
			t.Errorf("no limits: %v", err)
		}
	})
}

// refusedTogether are calls under a limit of the caller's own, and under another that is shared with others.
func refusedTogether() map[string]func(caller int) []Call {
	few := Limit{Name: "few", Burst: 2, Period: time.Hour}
	many := Limit{Name: "many", Burst: 10, Period: time.Hour}
	return map[string]func(caller int) []Call{
		"one key": func(n int) []Call {
			return []Call{{Limit: few, Key: "room", Part: fmt.Sprint("network-", n)}, {Limit: many, Key: "room"}}
		},
		"a key each": func(n int) []Call {
			return []Call{{Limit: many, Key: "other-room"}, {Limit: few, Key: fmt.Sprint("network-", n)}}
		},
	}
}

// Calls that one limit refuses leave the others as they are, so that one caller cannot use up what is meant for all.
func TestTake_refusedCostsNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, l *Limiter) {
		for name, calls := range refusedTogether() {
			t.Run(name, func(t *testing.T) {
				passed := 0
				for range 100 {
					if retryAfter(t, l.Take(t.Context(), calls(0)...)) == 0 {
						passed++
					}
				}
				if passed != 2 {
					t.Errorf("%d calls of one caller passed, want 2", passed)
				}
				for n := 1; n <= 8; n++ {
					if wait := retryAfter(t, l.Take(t.Context(), calls(n)...)); wait != 0 {
						t.Fatalf("caller %d of 8 has to wait %v, because of calls that were refused", n, wait)
					}
				}
				err := l.Take(t.Context(), calls(9)...)
				if f, _ := errors.AsType[*fault.Error](err); f == nil || f.Meta["limit"] != "many" {
					t.Errorf("the eleventh of ten: %v, want a refusal by many", err)
				}
			})
		}
	})
}

// What calls give back at the same moment is neither lost nor given back twice.
func TestTake_refusedAtOnce(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, l *Limiter) {
		for name, calls := range refusedTogether() {
			t.Run(name, func(t *testing.T) {
				if err := l.Take(t.Context(), calls(0)[0], calls(0)[1]); err != nil {
					t.Fatal(err)
				}
				var group sync.WaitGroup
				for range 50 {
					group.Go(func() {
						if err := l.Take(t.Context(), calls(0)...); err != nil && !errors.Is(err, ErrLimited) {
							t.Error(err)
						}
					})
				}
				group.Wait()
				left := 0
				for n := 1; n <= 20; n++ {
					if retryAfter(t, l.Take(t.Context(), calls(n)...)) == 0 {
						left++
					}
				}
				// On a cluster the second call of the caller may meet the shared limit while it counts refused ones.
				if left < 8 || left > 9 || left == 9 && l.Redis.Mode() != rueidis.ClientModeCluster {
					t.Errorf("%d calls were left of 10 for others, want 8", left)
				}
			})
		}
	})
}

// A refusal is one command where the keys allow it. On a cluster a second round trip gives back.
func TestTake_roundTrips(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, l *Limiter) {
		if t.Name() == "TestTake_roundTrips/miniredis" {
			return // it does not count commands
		}
		for name, calls := range refusedTogether() {
			for range 3 {
				_ = l.Take(t.Context(), calls(0)...)
			}
			before := scripts(t, l.Redis)
			for range 10 {
				retryAfter(t, l.Take(t.Context(), calls(0)...))
			}
			want := 10
			if name == "a key each" && l.Redis.Mode() == rueidis.ClientModeCluster {
				want = 30 // two keys, and one that is given back
			}
			if n := scripts(t, l.Redis) - before; n != want {
				t.Errorf("%s: %d scripts for 10 refusals, want %d", name, n, want)
			}
		}
	})
}

// scripts is how many scripts Redis has run, on all nodes.
func scripts(t *testing.T, redis rueidis.Client) (n int) {
	t.Helper()
	for _, node := range redis.Nodes() {
		stats, err := node.Do(t.Context(), node.B().Info().Section("commandstats").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`).FindAllStringSubmatch(stats, -1) {
			calls, err := strconv.Atoi(found[1])
			if err != nil {
				t.Fatal(err)
			}
			n += calls
		}
	}
	return n
}

// A refusal tells the longest wait of all limits: whoever waits as told is let through.
func TestTake_longestWait(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, l *Limiter) {
		short := Call{Limit: Limit{Name: "short", Burst: 1, Period: time.Minute}, Key: "a"}
		long := Call{Limit: Limit{Name: "long", Burst: 1, Period: time.Hour}, Key: "a"}
		for _, other := range []string{"a", "b"} {
			long.Key = other
			if err := errors.Join(l.Take(t.Context(), short), l.Take(t.Context(), long)); err != nil && other == "a" {
				t.Fatal(err)
			}
			if wait := retryAfter(t, l.Take(t.Context(), short, long)); wait < 50*time.Minute {
				t.Errorf("told to wait %v, want as long as the longer limit", wait)
			}
		}
	})
}

func TestTake_peekAndForce(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, l *Limiter) {
		limit := Limit{Name: "unknown", Burst: 2, Period: time.Hour}
		count, peek, force := Call{Limit: limit, Key: "a"}, Call{Limit: limit, Key: "a", Peek: true}, Call{Limit: limit, Key: "a", Force: true}
		for range 10 {
			if err := l.Take(t.Context(), peek); err != nil {
				t.Fatalf("looking uses the limit up: %v", err)
			}
		}
		for range limit.Burst {
			if err := l.Take(t.Context(), count); err != nil {
				t.Fatal(err)
			}
		}
		before := retryAfter(t, l.Take(t.Context(), peek))
		if before == 0 {
			t.Fatal("looking passes although the limit is used up")
		}
		// What has happened already is counted even over the limit, but held against the key for ten periods at most.
		if err := l.Take(t.Context(), force); err != nil {
			t.Errorf("forced: %v", err)
		}
		if after := retryAfter(t, l.Take(t.Context(), peek)); after <= before {
			t.Errorf("the wait was %v before and is %v after a forced call, want more", before, after)
		}
		for range 100 {
			if err := l.Take(t.Context(), force); err != nil {
				t.Fatal(err)
			}
		}
		if wait := retryAfter(t, l.Take(t.Context(), peek)); wait > 10*limit.Period {
			t.Errorf("the wait grew to %v, want ten periods at most", wait)
		}
	})
}

// What is not used any more leaves nothing in Redis.
func TestTake_expires(t *testing.T) {
	t.Parallel()
	l := &Limiter{Redis: testenv.Redis(t).Client(t)}
	limit := Limit{Name: "join", Burst: 10, Period: 100 * time.Millisecond}
	for i := range 50 {
		if err := l.Take(t.Context(), Call{Limit: limit, Key: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n, err := l.Redis.Do(t.Context(), l.Redis.B().Dbsize().Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d keys are left", n)
		}
	}
}

// Redis killed: a clear refusal, soon. Started again: limits count on, even though Redis has forgotten the script.
func TestTake_redisGone(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	l := &Limiter{Redis: server.Client(t)}
	call := Call{Limit: Limit{Name: "join", Burst: 2, Period: time.Hour}, Key: "somebody"}
	if err := l.Take(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	start := time.Now()
	err := l.Take(t.Context(), call)
	if !errors.Is(err, fault.ErrRedis) {
		t.Errorf("got %v, want fault.ErrRedis", err)
	}
	if took := time.Since(start); took > 5*timeout {
		t.Errorf("the refusal took %v", took)
	}
	if err := Lenient(err); err != nil {
		t.Errorf("Lenient: got %v, want it to pass", err)
	}
	server.Restart()
	// The client has several connections, and each notices by itself that the old server is gone.
	take := func() (err error) {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if err = l.Take(t.Context(), call); !errors.Is(err, fault.ErrRedis) || time.Now().After(deadline) {
				return err
			}
		}
	}
	if err := take(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if err := take(); !errors.Is(err, ErrLimited) || Lenient(err) == nil {
		t.Errorf("the third call: got %v, want ErrLimited, which is not let pass", err)
	}
}

// While Redis hangs, calls that can go without a limit wait for it a few times and then no more. Those that cannot wait and
// are refused. Soon after Redis answers again limits hold.
func TestAllow_hangs(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	l := &Limiter{Redis: server.Client(t)}
	call := Call{Limit: Limit{Name: "join", Burst: 1, Period: time.Hour}, Key: "somebody"}
	if err := l.Allow(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(server.Pid(), s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	for n := range hangsAfter {
		if err := l.Allow(t.Context(), call); err != nil || n < hangsAfter-1 && l.Hangs() {
			t.Errorf("call %d of a Redis that hangs: %v, and it is found to hang: %t", n, err, l.Hangs())
		}
	}
	start := time.Now()
	for range 5 {
		if err := l.Allow(t.Context(), call); err != nil {
			t.Errorf("a call that can go without: %v", err)
		}
	}
	if took := time.Since(start); took > timeout {
		t.Errorf("5 calls waited %v for a Redis that hangs", took)
	}
	start = time.Now()
	if err := l.Take(t.Context(), call); !errors.Is(err, fault.ErrRedis) || time.Since(start) < timeout/2 {
		t.Errorf("a call that cannot go without: %v after %v, want fault.ErrRedis after a wait", err, time.Since(start))
	}
	signal(syscall.SIGCONT)
	for deadline := time.Now().Add(20 * time.Second); l.Hangs(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Redis answers, and is not found to")
		}
		_ = l.Allow(t.Context(), call)
	}
	if err := l.Allow(t.Context(), call); !errors.Is(err, ErrLimited) {
		t.Errorf("the second call of one an hour: %v, want ErrLimited", err)
	}
}

// A caller that gives up learns that, and not that Redis is gone.
func TestTake_callerGone(t *testing.T) {
	t.Parallel()
	l := &Limiter{Redis: testenv.Redis(t).Client(t)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := l.Take(ctx, Call{Limit: Limit{Name: "join", Burst: 2, Period: time.Hour}, Key: "somebody"})
	if !errors.Is(err, context.Canceled) || errors.Is(err, fault.ErrRedis) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
