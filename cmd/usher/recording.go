package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/rooms"
	"github.com/usher-meet/usher/server/settings"
)

type recordingCommands struct {
	List   recordingListCommand   `cmd:"" help:"List recordings, newest first."`
	Resend recordingResendCommand `cmd:"" help:"Tell its owners again that a recording is there."`
	Fail   recordingFailCommand   `cmd:"" help:"Give up a recording that does not end: its room is free."`
}

// operatorRecordings is the part of the recordings that needs the database only. What follows is done by a running server.
func operatorRecordings(db *dbtx.DB, config *settings.Config) (*recordings.Records, error) {
	client, err := jobs.New(db, nil, jobs.Options{})
	if err != nil {
		return nil, err
	}
	return &recordings.Records{
		DB: db, Tasks: livetasks.NewQueue(config.LiveKit.TokenLife), Jobs: client, Life: config.Recording.Life(),
		Log: slog.New(slog.DiscardHandler),
	}, nil
}

type recordingView struct {
	ID         string                `json:"id"`
	RoomID     string                `json:"room_id"`
	RoomName   string                `json:"room_name"`
	Mode       string                `json:"mode"`
	Status     string                `json:"status"`
	ObjectKey  string                `json:"object_key"`
	SizeBytes  int64                 `json:"size_bytes"`
	Duration   string                `json:"duration,omitempty"`
	Failure    string                `json:"failure,omitempty"`
	Detail     string                `json:"detail,omitempty"`
	Keep       bool                  `json:"keep"`
	CreateTime time.Time             `json:"create_time"`
	StopTime   *time.Time            `json:"stop_time,omitempty"`
	SaveTime   *time.Time            `json:"save_time,omitempty"`
	Accesses   []recordingAccessView `json:"accesses"`
}

type recordingAccessView struct {
	UserID string `json:"user_id,omitempty"`
	// Email is the address of somebody who has not come, or of the account.
	Email      string     `json:"email,omitempty"`
	Role       string     `json:"role"`
	NotifyTime *time.Time `json:"notify_time,omitempty"`
}

// short is a value of an enumeration without the prefix of its name, in lower case.
func short(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// viewRecording needs the accesses and their users.
func viewRecording(r *ent.Recording) recordingView {
	v := recordingView{
		ID: r.ID.String(), RoomID: r.RoomID.String(), RoomName: r.RoomName, Mode: short(r.Mode.String(), "RECORDING_MODE_"),
		Status: short(r.Status.String(), "RECORDING_STATUS_"), ObjectKey: r.ObjectKey, SizeBytes: r.SizeBytes, Keep: r.Keep,
		Detail: r.FailureDetail, CreateTime: r.CreateTime.UTC(), StopTime: utc(r.StopTime), SaveTime: utc(r.SaveTime),
		Accesses: []recordingAccessView{},
	}
	if r.DurationMs > 0 {
		v.Duration = (time.Duration(r.DurationMs) * time.Millisecond).String()
	}
	if r.FailureReason != 0 {
		v.Failure = short(r.FailureReason.String(), "RECORDING_FAILURE_REASON_")
	}
	for _, a := range r.Edges.Accesses {
		access := recordingAccessView{Role: strings.ToLower(auth.RoleName(a.Role)), NotifyTime: utc(a.NotifyTime)}
		if a.Email != nil {
			access.Email = string(*a.Email)
		}
		if u := a.Edges.User; u != nil {
			access.UserID, access.Email = u.ID.String(), string(u.Email)
		}
		v.Accesses = append(v.Accesses, access)
	}
	return v
}

type recordingListCommand struct {
	Room   string `help:"Only recordings of this room: an id or slug."`
	Status string `help:"Only recordings with this status, such as active or failed_to_stop."`
	Limit  int    `default:"100" help:"At most this many."`
}

// Help adds examples.
func (recordingListCommand) Help() string {
	return `Examples:
  usher recording list --status failed --json
  usher recording list --room weekly`
}

// Run implements `usher recording list`.
func (c recordingListCommand) Run(ctx context.Context, p *program) error {
	config, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	filter, err := c.filter(ctx, db)
	if err != nil {
		return err
	}
	service, err := operatorRecordings(db, config)
	if err != nil {
		return err
	}
	found, err := service.List(ctx, filter)
	if err != nil {
		return err
	}
	found, more := cut(found, atLeastOne(c.Limit))
	document := struct {
		Recordings []recordingView `json:"recordings"`
		More       bool            `json:"more"`
	}{Recordings: []recordingView{}, More: more}
	rows := [][]string{}
	for _, r := range found {
		v := viewRecording(r)
		owners := []string{}
		for _, a := range v.Accesses {
			if a.Role == "owner" {
				owners = append(owners, firstOf(a.Email, a.UserID))
			}
		}
		rows = append(rows, []string{
			v.ID, v.Status, v.Mode, day(v.CreateTime), strconv.FormatInt(v.SizeBytes, 10), strings.Join(owners, " "), v.Failure,
			v.RoomName,
		})
		document.Recordings = append(document.Recordings, v)
	}
	return p.print(document, func(w io.Writer) error {
		header := []string{"ID", "STATUS", "MODE", "CREATED", "BYTES", "OWNERS", "FAILURE", "ROOM"}
		return listing(w, header, rows, more, "--limit, --room or --status")
	})
}

// filter says which recordings the flags ask for.
func (c recordingListCommand) filter(ctx context.Context, db *dbtx.DB) (f recordings.Filter, err error) {
	f.Limit = atLeastOne(c.Limit) + 1
	if c.Status != "" {
		status, ok := usherv1.RecordingStatus_value["RECORDING_STATUS_"+strings.ToUpper(c.Status)]
		if !ok || status == 0 {
			return f, usageError(
				fmt.Sprintf("there is no status %q: use initiated, active, stopped, saved, notification_succeeded, "+
					"aborted, failed_to_start, failed_to_stop or failed", c.Status),
			)
		}
		f.Status = usherv1.RecordingStatus(status)
	}
	if c.Room != "" {
		r, err := (&rooms.Operator{DB: db}).Show(ctx, c.Room)
		if err != nil {
			return f, err
		}
		f.RoomID = r.ID
	}
	return f, nil
}

type recordingResendCommand struct {
	Recording string `arg:"" help:"Id."`
}

// Help adds examples.
func (recordingResendCommand) Help() string {
	return `Its owners get the mail again, or the summary service its order, whoever got it before. A running server sends it.

Examples:
  usher recording resend 6d0dd1ae-6b0b-4dd2-9a3f-3d6c9b5ef5a7`
}

// Run implements `usher recording resend`.
func (c recordingResendCommand) Run(ctx context.Context, p *program) error {
	return onRecording(ctx, p, c.Recording, "resent", "It is sent again.", (*recordings.Records).Resend)
}

type recordingFailCommand struct {
	Recording string `arg:"" help:"Id."`
	Yes       bool   `help:"Do not ask."`
}

// Help adds examples.
func (recordingFailCommand) Help() string {
	return `For a recording that keeps its room and does not end by itself. Its recorder is stopped if there is one, and what it
stores is deleted.

Examples:
  usher recording fail 6d0dd1ae-6b0b-4dd2-9a3f-3d6c9b5ef5a7 --yes`
}

// Run implements `usher recording fail`.
func (c recordingFailCommand) Run(ctx context.Context, p *program) error {
	if err := p.confirm(c.Yes, "Give the recording up, and delete what was recorded?"); err != nil {
		return err
	}
	return onRecording(ctx, p, c.Recording, "failed", "It has failed.", (*recordings.Records).Fail)
}

// onRecording does something to one recording, and says so.
func onRecording(
	ctx context.Context, p *program, ref, done, text string,
	do func(s *recordings.Records, ctx context.Context, id uuid.UUID) error,
) error {
	id, err := uuid.Parse(ref)
	if err != nil {
		return usageError(fmt.Sprintf("%q is not the id of a recording: see usher recording list", ref))
	}
	config, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	service, err := operatorRecordings(db, config)
	if err != nil {
		return err
	}
	if err := do(service, ctx, id); err != nil {
		return err
	}
	return p.print(map[string]any{"id": id.String(), done: true}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, text)
		return err
	})
}
