package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/settings"
)

type jobsCommands struct {
	List   jobsListCommand   `cmd:"" help:"List jobs, newest first: those that have not ended, and those that were given up."`
	Show   jobsShowCommand   `cmd:"" help:"Show a job and why it failed."`
	Retry  jobsRetryCommand  `cmd:"" help:"Have a job done again, by a running server."`
	Delete jobsDeleteCommand `cmd:"" help:"Forget a job: it is not done any more."`
}

type jobView struct {
	ID          int64           `json:"id"`
	Kind        string          `json:"kind"`
	State       string          `json:"state"`
	Args        json.RawMessage `json:"args"`
	Attempts    int             `json:"attempts"`
	MaxAttempts int             `json:"max_attempts"`
	CreateTime  time.Time       `json:"create_time"`
	NextTime    time.Time       `json:"next_time"`
	EndTime     *time.Time      `json:"end_time,omitempty"`
	Errors      []jobErrorView  `json:"errors,omitempty"`
}

type jobErrorView struct {
	Time    time.Time `json:"time"`
	Attempt int       `json:"attempt"`
	Error   string    `json:"error"`
}

func viewJob(j jobs.Job) jobView {
	v := jobView{
		ID: j.ID, Kind: j.Kind, State: j.State, Args: j.Args, Attempts: j.Attempts, MaxAttempts: j.MaxAttempts,
		CreateTime: j.CreateTime, NextTime: j.NextTime, EndTime: utc(j.EndTime),
	}
	for _, e := range j.Errors {
		v.Errors = append(v.Errors, jobErrorView(e))
	}
	return v
}

// lastError is why the job failed last; empty when it never did.
func (v jobView) lastError() string {
	if len(v.Errors) == 0 {
		return ""
	}
	return v.Errors[len(v.Errors)-1].Error
}

func (v jobView) attempts() string { return fmt.Sprintf("%d of %d", v.Attempts, v.MaxAttempts) }

// openJobs opens the database and a client that does no jobs. The caller closes the database.
func (p *program) openJobs(ctx context.Context) (*jobs.Client, *dbtx.DB, error) {
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return nil, nil, err
	}
	client, err := jobs.New(db, nil, jobs.Options{})
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return client, db, nil
}

type jobsListCommand struct {
	State string `enum:"open,all,waiting,retrying,running,done,dead" default:"open" help:"One of ${enum}. Dead: given up; open: all but done."`
	Kind  string `help:"Only jobs of this kind."`
	Limit int    `default:"100" help:"At most this many."`
}

// Help adds examples.
func (jobsListCommand) Help() string {
	return `A job that fails is tried again with longer and longer pauses, and given up after an hour or what its kind says. It is
listed for as long as USHER_KEEP_JOBS says. Arguments and errors hold ids and no personal data.

Examples:
  usher jobs list --state dead
  usher jobs list --state all --kind livekit.event --json`
}

// Run implements `usher jobs list`.
func (c jobsListCommand) Run(ctx context.Context, p *program) error {
	client, db, err := p.openJobs(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	filter := jobs.Filter{Kind: c.Kind, Limit: atLeastOne(c.Limit) + 1}
	switch c.State {
	case "open":
		filter.States = []string{"waiting", "retrying", "running", "dead"}
	case "all":
	default:
		filter.States = []string{c.State}
	}
	found, err := client.List(ctx, filter)
	if err != nil {
		return err
	}
	found, more := cut(found, atLeastOne(c.Limit))
	document := struct {
		Jobs []jobView `json:"jobs"`
		More bool      `json:"more"`
	}{Jobs: []jobView{}, More: more}
	rows := [][]string{}
	for _, j := range found {
		v := viewJob(j)
		document.Jobs = append(document.Jobs, v)
		rows = append(rows, []string{
			strconv.FormatInt(v.ID, 10), v.Kind, v.State, v.attempts(), day(v.CreateTime), day(v.NextTime), v.lastError(),
		})
	}
	return p.print(document, func(w io.Writer) error {
		return listing(
			w, []string{"ID", "KIND", "STATE", "ATTEMPTS", "CREATED", "NEXT", "ERROR"}, rows, more, "--limit, --state or --kind",
		)
	})
}

type jobsShowCommand struct {
	ID int64 `arg:"" help:"Id of the job, from usher jobs list."`
}

// Run implements `usher jobs show`.
func (c jobsShowCommand) Run(ctx context.Context, p *program) error {
	client, db, err := p.openJobs(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	job, err := client.Get(ctx, c.ID)
	if err != nil {
		return err
	}
	return p.printJob(job)
}

func (p *program) printJob(job jobs.Job) error {
	v := viewJob(job)
	return p.print(v, func(w io.Writer) error {
		ended := ""
		if v.EndTime != nil {
			ended = day(*v.EndTime)
		}
		err := details(w, "id", strconv.FormatInt(v.ID, 10), "kind", v.Kind, "state", v.State, "arguments", string(v.Args),
			"attempts", v.attempts(), "created", day(v.CreateTime), "next", day(v.NextTime), "ended", ended)
		if err != nil || len(v.Errors) == 0 {
			return err
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
		rows := [][]string{}
		for _, e := range v.Errors {
			rows = append(rows, []string{strconv.Itoa(e.Attempt), day(e.Time), e.Error})
		}
		return grid(w, []string{"ATTEMPT", "TIME", "ERROR"}, rows)
	})
}

type jobsRetryCommand struct {
	ID int64 `arg:"" help:"Id of the job, from usher jobs list."`
}

// Run implements `usher jobs retry`.
func (c jobsRetryCommand) Run(ctx context.Context, p *program) error {
	client, db, err := p.openJobs(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	job, err := client.Retry(ctx, c.ID)
	if err != nil {
		return err
	}
	return p.printJob(job)
}

type jobsDeleteCommand struct {
	ID  int64 `arg:"" help:"Id of the job, from usher jobs list."`
	Yes bool  `help:"Do not ask."`
}

// Run implements `usher jobs delete`.
func (c jobsDeleteCommand) Run(ctx context.Context, p *program) error {
	client, db, err := p.openJobs(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	job, err := client.Get(ctx, c.ID)
	if err != nil {
		return err
	}
	if err := p.confirm(c.Yes, fmt.Sprintf("Delete the job %d (%s, %s)?", job.ID, job.Kind, job.State)); err != nil {
		return err
	}
	if err := client.Delete(ctx, c.ID); err != nil {
		return err
	}
	return p.print(map[string]any{"id": c.ID, "deleted": true}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "Deleted.")
		return err
	})
}
