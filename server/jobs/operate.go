package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Job is a job as operators see it.
type Job struct {
	ID   int64
	Kind string
	// State is one of States.
	State string
	Args  json.RawMessage
	// Attempts were made, of at most MaxAttempts.
	Attempts, MaxAttempts int
	CreateTime            time.Time
	// NextTime is when it was or will be begun at the earliest.
	NextTime time.Time
	// EndTime is nil while it has not ended.
	EndTime *time.Time
	// Errors are those of the attempts that failed, the oldest first.
	Errors []Failure
}

// Failure is why an attempt failed.
type Failure struct {
	Time    time.Time
	Attempt int
	// Error holds no personal data.
	Error string
}

// States of jobs: waiting (to be done at once, or at its time), retrying (it has failed and waits), running, done, dead (it
// was given up).
var States = []string{"waiting", "retrying", "running", "done", "dead"}

// inRiver are the states of River that each of ours stands for.
var inRiver = map[string][]rivertype.JobState{
	"waiting":  {rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateScheduled},
	"retrying": {rivertype.JobStateRetryable},
	"running":  {rivertype.JobStateRunning},
	"done":     {rivertype.JobStateCompleted},
	"dead":     {rivertype.JobStateDiscarded, rivertype.JobStateCancelled},
}

// Errors of those who look after jobs.
var (
	// ErrNoJob means that no job has this id, or no longer.
	ErrNoJob = errors.New("there is no such job")
	// ErrRunning means that the job is being done at this moment.
	ErrRunning = errors.New("the job is being done: wait until it has ended")
	// ErrWaiting means that the job has not been tried.
	ErrWaiting = errors.New("the job is waiting to be done already")
)

// Filter says which jobs to list.
type Filter struct {
	// States are some of States; empty for all.
	States []string
	// Kind is one kind; empty for all.
	Kind string
	// Limit is from 1 to 10,000.
	Limit int
}

// List lists jobs, the newest first.
func (c *Client) List(ctx context.Context, f Filter) ([]Job, error) {
	var states []rivertype.JobState
	for _, s := range States {
		if len(f.States) == 0 || slices.Contains(f.States, s) {
			states = append(states, inRiver[s]...)
		}
	}
	params := river.NewJobListParams().States(states...).OrderBy(river.JobListOrderByID, river.SortOrderDesc).
		First(min(max(f.Limit, 1), 10_000))
	if f.Kind != "" {
		params = params.Kinds(f.Kind)
	}
	found, err := c.engine.JobList(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	list := make([]Job, 0, len(found.Jobs))
	for _, row := range found.Jobs {
		list = append(list, jobOf(row))
	}
	return list, nil
}

// Get finds one job. It fails with [ErrNoJob].
func (c *Client) Get(ctx context.Context, id int64) (Job, error) {
	row, err := c.engine.JobGet(ctx, id)
	if err != nil {
		return Job{}, operation("get job", err)
	}
	return jobOf(row), nil
}

// Retry has a job that failed or has ended done again, at once. It fails with [ErrNoJob], [ErrRunning] and [ErrWaiting].
func (c *Client) Retry(ctx context.Context, id int64) (Job, error) {
	job, err := c.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	switch job.State {
	case "running":
		return Job{}, ErrRunning
	case "waiting":
		return Job{}, ErrWaiting
	}
	row, err := c.engine.JobRetry(ctx, id)
	if err != nil {
		return Job{}, operation("retry job", err)
	}
	return jobOf(row), nil
}

// Delete forgets a job that is not being done. It fails with [ErrNoJob] and [ErrRunning].
func (c *Client) Delete(ctx context.Context, id int64) error {
	if _, err := c.engine.JobDelete(ctx, id); err != nil {
		return operation("delete job", err)
	}
	return nil
}

func operation(what string, err error) error {
	switch {
	case errors.Is(err, river.ErrNotFound):
		return ErrNoJob
	case errors.Is(err, rivertype.ErrJobRunning):
		return ErrRunning
	}
	return fmt.Errorf("%s: %w", what, err)
}

func jobOf(row *rivertype.JobRow) Job {
	job := Job{
		ID: row.ID, Kind: row.Kind, Args: row.EncodedArgs, Attempts: row.Attempt, MaxAttempts: row.MaxAttempts,
		CreateTime: row.CreatedAt.UTC(), NextTime: row.ScheduledAt.UTC(), EndTime: row.FinalizedAt,
	}
	for _, s := range States {
		if slices.Contains(inRiver[s], row.State) {
			job.State = s
		}
	}
	for _, e := range row.Errors {
		job.Errors = append(job.Errors, Failure{Time: e.At.UTC(), Attempt: e.Attempt, Error: e.Error})
	}
	return job
}
