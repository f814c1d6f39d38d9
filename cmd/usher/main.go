// Command usher runs the server and is its operator's tool.
//
// It owns the reading of settings and the shape of what is printed: tables for people, one JSON document with --json,
// errors on standard error, exit code 0, 1 (it failed) or 2 (it was used or set up wrongly). Every rule is elsewhere.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones on machines that have none

	"github.com/alecthomas/kong"

	"github.com/usher-meet/usher/server/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, program{args: os.Args[1:], environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	stop()
	os.Exit(code)
}

// program holds the arguments, environment and output of a run of usher.
type program struct {
	args, environ  []string
	stdin          io.Reader
	stdout, stderr io.Writer

	// globals are the flags of every command.
	globals *globals
}

// exited is how the parser of arguments ends the program, after --help.
type exited int

// run is the whole program. It returns the exit code.
func run(ctx context.Context, p program) (code int) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exited:
			code = int(v)
		default:
			panic(v)
		}
	}()
	var c commands
	p.globals = &c.globals
	parser, err := kong.New(&c, kong.Name("usher"), kong.Description(description),
		kong.Writers(p.stdout, p.stderr), kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&p))
	if err != nil {
		panic(err) // the commands are declared wrongly: every test would fail
	}
	parsed, err := parser.Parse(p.args)
	if err != nil {
		p.tell("usher: %v\nRun usher --help, or usher COMMAND --help.", err)
		return 2
	}
	if err := parsed.Run(); err != nil {
		p.tell("usher: %v%s", err, advice(err))
		if _, settingsWrong := errors.AsType[settings.Problems](err); settingsWrong || errors.Is(err, errUsage) {
			return 2
		}
		return 1
	}
	return 0
}
