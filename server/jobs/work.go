package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
	"unicode"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// worker does the jobs of one kind.
type worker[T Args] struct {
	river.WorkerDefaults[T]
	registry *Registry
	work     func(ctx context.Context, args T) error
	timeout  time.Duration
}

// Timeout implements river.Worker: when the engine takes a job from a server that died. Until then the handler has ended.
func (w *worker[T]) Timeout(*river.Job[T]) time.Duration { return w.timeout + rescueMargin }

// Work implements river.Worker.
func (w *worker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	err := masked(Safely(ctx, w.registry.log, job.Kind, func() error { return w.work(ctx, job.Args) }))
	outcome := outcomeOf(ctx, job.JobRow, err)
	w.registry.meter.job(job.Kind, outcome, time.Since(start))
	attributes := []any{"kind", job.Kind, "job", job.ID, "attempt", job.Attempt, "err", err}
	switch outcome {
	case outcomeFailed:
		w.registry.log.WarnContext(ctx, "job failed; it is tried again", attributes...)
	case outcomeDead:
		w.registry.log.ErrorContext(ctx, "job is dead; see usher jobs list", attributes...)
	}
	return err
}

// The outcomes of one run of a job, as metrics name them.
const (
	outcomeDone        = "done"
	outcomeFailed      = "failed"      // and is tried again
	outcomeInterrupted = "interrupted" // by a server that stops: another one does it
	outcomeDead        = "dead"
	outcomeLater       = "later" // was put off
)

func outcomeOf(ctx context.Context, job *rivertype.JobRow, err error) string {
	var permanent *river.JobCancelError
	var later *river.JobSnoozeError
	switch {
	case err == nil:
		return outcomeDone
	case errors.As(err, &later):
		return outcomeLater
	case errors.As(err, &permanent):
		return outcomeDead
	case errors.Is(ctx.Err(), context.Canceled) && errors.Is(err, context.Canceled):
		return outcomeInterrupted
	case job.Attempt >= job.MaxAttempts:
		return outcomeDead
	}
	return outcomeFailed
}

// Safely turns a panic of fn into an error. The stack goes to the log only: what is stored with a job is for operators.
func Safely(ctx context.Context, log *slog.Logger, what string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			log.ErrorContext(ctx, "panic", "work", what, "panic", mask(fmt.Sprint(v)), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return fn()
}

// maskedError is an error whose text can be stored.
type maskedError struct{ cause error }

// Error leaves out how River marks what is permanent.
func (e maskedError) Error() string {
	return mask(strings.ReplaceAll(e.cause.Error(), "JobCancelError: ", ""))
}
func (e maskedError) Unwrap() error { return e.cause }

func masked(err error) error {
	if err == nil {
		return nil
	}
	return maskedError{err}
}

// maxErrorText is how much of an error is kept, in bytes.
const maxErrorText = 1000

// personal matches what looks like a UUID (kept: it is how things are found), an e-mail address, a signed token, the
// identity of somebody on the phone, or a number with six digits or more that people dial, type or write.
var personal = regexp.MustCompile(`(?i)([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})|` +
	`[^\s@<>"']+@[^\s@<>"']+|eyJ[a-z0-9_-]+\.[a-z0-9_.-]+|\bsip_[^\s"',;:)]+|\+?\d(?:[ ()/-]{0,2}\d){5,}`)

// mask removes what an error should not have held. It is the second line: errors name ids to begin with.
func mask(text string) string {
	text = personal.ReplaceAllStringFunc(text, func(found string) string {
		if len(found) == 36 && found[8] == '-' && found[23] == '-' {
			return found
		}
		return "***"
	})
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar: // half a character, at the cut
			return -1
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, text)
}

// The pauses between two runs of a job that fails double from the first to the longest.
const (
	firstPause   = time.Second
	longestPause = 10 * time.Minute
)

// pause is how long a job waits after its nth failure, before the jitter.
func pause(n int) time.Duration { return min(firstPause<<min(n-1, 20), longestPause) }

// backoff decides when a job is tried again. The jitter keeps those that failed together from coming back together.
type backoff struct{}

// NextRetry implements river.ClientRetryPolicy.
func (backoff) NextRetry(job *rivertype.JobRow) time.Time {
	jitter := 0.75 + rand.Float64()/2 //nolint:gosec // it only spreads load
	return time.Now().Add(time.Duration(float64(pause(job.Attempt)) * jitter))
}

// attemptsWithin is how many runs a job needs to be tried for this long, even when every pause is the shortest that the
// jitter allows.
func attemptsWithin(d time.Duration) int {
	n := 1
	for tried := time.Duration(0); tried < d; n++ {
		tried += pause(n) * 3 / 4
	}
	return n
}
