package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/alecthomas/kong"

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/settings"
)

const description = `The control plane of self-hosted video meetings on LiveKit.

Begin with "usher dev": everything embedded, on this machine only.
In production set at least USHER_PUBLIC_URL, USHER_SECRET, USHER_DATABASE_URL, USHER_REDIS_ADDRESSES and USHER_LIVEKIT_…,
then run "usher migrate up" and "usher serve". "usher config --docs" describes all settings.`

// globals are the flags of every command.
type globals struct {
	Settings string `name:"config" placeholder:"FILE" help:"File of NAME=value lines; the environment wins. Default: USHER_CONFIG_FILE."`
	JSON     bool   `name:"json" help:"Print one JSON document instead of a table."`
}

// commands are the subcommands.
type commands struct {
	globals

	Serve       serveCommand       `cmd:"" group:"Run" help:"Run the server."`
	Dev         devCommand         `cmd:"" group:"Run" help:"Run everything on this machine, for development."`
	Migrate     migrateCommands    `cmd:"" group:"Run" help:"Bring the database up to date."`
	Config      configCommand      `cmd:"" group:"Run" help:"Show the settings in effect, without secrets."`
	Healthcheck healthcheckCommand `cmd:"" group:"Run" help:"Ask the running server whether it is ready."`
	Doctor      doctorCommand      `cmd:"" group:"Run" help:"Look at what the server stands on: LiveKit, webhooks, trunks, database, Redis."`
	Version     versionCommand     `cmd:"" group:"Run" help:"Show the version."`
	Token       tokenCommands      `cmd:"" group:"Operate" help:"Make and revoke API tokens."`
	User        userCommands       `cmd:"" group:"Operate" help:"Look after accounts."`
	Room        roomCommands       `cmd:"" group:"Operate" help:"Look after rooms."`
	Recording   recordingCommands  `cmd:"" group:"Operate" help:"Look after recordings."`
	Mail        mailCommands       `cmd:"" group:"Operate" help:"Try whether mail can be sent."`
	Jobs        jobsCommands       `cmd:"" group:"Operate" help:"See what is to be done, and what failed."`
}

// errUsage marks errors of whoever typed the command: exit code 2.
var errUsage = errors.New("wrong usage")

// usageError is an error whose text is shown, with exit code 2.
type usageError string

func (e usageError) Error() string        { return string(e) }
func (e usageError) Is(target error) bool { return target == errUsage }

// settings reads the settings that a command needs.
func (p *program) settings(needs settings.Part) (*settings.Loaded, error) {
	return settings.Loader{Environ: p.environ, File: p.globals.Settings, Needs: needs}.Load()
}

// databaseError is an error of the database itself, with what to look at.
func databaseError(err error) error {
	return fmt.Errorf("the database that USHER_DATABASE_URL names cannot be used: %w", err)
}

// advice says how to mend an error whose own text is not for operators; empty for others.
func advice(err error) string {
	for _, a := range []struct {
		err  error
		text string
	}{
		{auth.ErrNoUser, "see usher user list"},
		{auth.ErrRoomNotFound, "see usher room list"},
		{auth.ErrNoToken, "see usher token list"},
		{recordings.ErrUnknown, "see usher recording list"},
		{jobs.ErrNoJob, "see usher jobs list --state=all"},
		{auth.ErrAccountInactive, "usher user reactivate lets it in again"},
		{accounts.ErrTwoSubs, "--drop-sub lets go of that of the first"},
		{fault.ErrRedis, "USHER_REDIS_ADDRESSES says where it is"},
		{server.ErrNoRedis, "USHER_REDIS_ADDRESSES says where it is"},
		{server.ErrMailOff, "USHER_SMTP_HOST and USHER_MAIL_FROM switch it on"},
		{server.ErrNoDatabase, "USHER_DATABASE_URL says where it is"},
	} {
		if errors.Is(err, a.err) {
			return "\n" + a.text
		}
	}
	return ""
}

// logger writes to standard error, as c says.
func (p *program) logger(c settings.LogConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Text {
		return slog.New(slog.NewTextHandler(p.stderr, options))
	}
	return slog.New(slog.NewJSONHandler(p.stderr, options))
}

// open reads the settings and opens the database, which must have the schema of this program. The caller closes it.
func (p *program) open(ctx context.Context, needs settings.Part) (*settings.Config, *dbtx.DB, error) {
	s, err := p.settings(needs | settings.NeedDatabase)
	if err != nil {
		return nil, nil, err
	}
	db, err := dbtx.Open(ctx, string(s.Config.DatabaseURL))
	if err != nil {
		return nil, nil, err
	}
	err = migrations.Check(ctx, db.SQL(), db.Dialect, settings.Version)
	if err != nil && !errors.Is(err, migrations.ErrOld) && !errors.Is(err, migrations.ErrBreaking) {
		err = databaseError(err)
	}
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return &s.Config, db, nil
}

// Examples follow the flags in the help of a command.
var _ kong.HelpProvider = serveCommand{}
