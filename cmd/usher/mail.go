package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/settings"
)

type mailCommands struct {
	Test mailTestCommand `cmd:"" help:"Send a test letter, with the settings of the server."`
}

type mailTestCommand struct {
	To       string `required:"" placeholder:"ADDRESS" help:"Who gets it."`
	Language string `placeholder:"TAG" help:"Language of the letter. Default: the first of USHER_LANGUAGES."`
}

// Help adds examples.
func (mailTestCommand) Help() string {
	return `That the mail server took the letter does not mean that it arrived: look into the mailbox.

Examples:
  usher mail test --to ada@example.org
  usher mail test --to ada@example.org --language fr --json`
}

// Run implements `usher mail test`.
func (c mailTestCommand) Run(ctx context.Context, p *program) error {
	s, err := p.settings(settings.NeedNothing)
	if err != nil {
		return err
	}
	to, err := mailbox.Parse(c.To)
	if err != nil {
		return usageError("--to " + err.Error())
	}
	err = server.SendTestMail(ctx, s.Config, to, c.Language)
	switch {
	case errors.Is(err, letter.ErrUnavailable):
		return fmt.Errorf("%w\nUSHER_SMTP_HOST and the settings beside it say how it is reached", err)
	case err != nil:
		return err
	}
	return p.print(map[string]any{"sent": true, "server": s.Config.Mail.Host}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s took the letter.\n", s.Config.Mail.Host)
		return err
	})
}
