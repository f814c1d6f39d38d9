package main

import (
	"context"
	"errors"
	"io"

	"github.com/usher-meet/usher/server/settings"
)

type configCommand struct {
	Docs bool `help:"Print the description of all settings, in Markdown."`
}

// Help adds examples.
func (configCommand) Help() string {
	return `Shows every setting with its value and where that comes from. Secrets are masked. When something is wrong with
the settings, all problems follow on standard error and the exit code is 2.

Examples:
  usher config
  usher --config /etc/usher.env config --json
  usher config --docs > docs/settings.md`
}

type settingView struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Secret bool   `json:"secret"`
}

// Run implements `usher config`.
func (c configCommand) Run(_ context.Context, p *program) error {
	if c.Docs {
		_, err := io.WriteString(p.stdout, settings.Markdown())
		return err
	}
	s, wrong := p.settings(settings.NeedEverything)
	document := struct {
		Settings []settingView `json:"settings"`
	}{}
	rows := [][]string{}
	for _, v := range s.Values {
		document.Settings = append(document.Settings, settingView{v.Name(), v.Shown(), v.Source, v.Secret()})
		rows = append(rows, []string{v.Name(), v.Shown(), v.Source})
	}
	err := p.print(document, func(w io.Writer) error { return grid(w, []string{"SETTING", "VALUE", "FROM"}, rows) })
	return errors.Join(wrong, err)
}
