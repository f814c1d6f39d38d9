package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/settings"
)

type doctorCommand struct {
	WebhookWait time.Duration `default:"20s" help:"How long LiveKit has to tell about a room that is made for it. Default: ${default}."`
}

// Help adds examples.
func (doctorCommand) Help() string {
	return `It checks, with a line for each: the database and its schema; whether mail addresses of people are verified; Redis; the storage
of recordings; the mail server; LiveKit, its clock, key and webhooks; trunks, dispatch rules and the unmuting of callers. Run
it with the settings of one server, best on the machine of that server. For the webhooks it makes a room in LiveKit, ends it
and waits until a running server has stored LiveKit's event about that. It changes nothing else and sends no mail. The exit
status is 1 if a line is bad.

Examples:
  usher doctor
  usher doctor --json
  usher --config .usher/usher.env doctor    # beside usher dev`
}

// doctorReport is the output with --json.
type doctorReport struct {
	OK     bool           `json:"ok"`
	Checks []server.Check `json:"checks"`
}

// Run implements `usher doctor`.
func (c doctorCommand) Run(ctx context.Context, p *program) error {
	s, err := p.settings(settings.NeedEverything)
	if err != nil {
		return err
	}
	report, bad := doctorReport{Checks: []server.Check{}}, 0
	server.Doctor(ctx, server.DoctorOptions{
		Config: s.Config, WebhookWait: c.WebhookWait,
		Report: func(check server.Check) {
			report.Checks = append(report.Checks, check)
			mark := "ok "
			if !check.OK {
				mark = "BAD"
				bad++
			}
			if !p.globals.JSON { // at once: some of them take a while
				fmt.Fprintf(p.stdout, "%s  %-14s  %s\n", mark, check.Name, check.Detail)
			}
		},
	})
	report.OK = bad == 0
	if p.globals.JSON {
		if err := p.print(report, func(io.Writer) error { return nil }); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks are bad", bad, len(report.Checks))
	}
	return nil
}
