package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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
		_, err := io.WriteString(p.stdout, settingsMarkdown())
		return err
	}
	s, wrong := p.settings(everything)
	document := struct {
		Settings []settingView `json:"settings"`
	}{}
	rows := [][]string{}
	for _, v := range s.values {
		document.Settings = append(document.Settings, settingView{v.setting.name, v.shown(), v.source, v.setting.secret})
		rows = append(rows, []string{v.setting.name, v.shown(), v.source})
	}
	err := p.print(document, func(w io.Writer) error { return grid(w, []string{"SETTING", "VALUE", "FROM"}, rows) })
	return errors.Join(wrong, err)
}

// settingsMarkdown is docs/settings.md.
func settingsMarkdown() string {
	var b strings.Builder
	b.WriteString(`# Settings

Written by ` + "`usher config --docs`" + `; do not edit.

Settings come from the environment and, if you like, from a file of ` + "`NAME=value`" + ` lines that ` + "`--config FILE`" + ` or
` + "`USHER_CONFIG_FILE`" + ` names (the form of systemd's EnvironmentFile and of Docker's --env-file: ` + "`#`" + ` begins a comment line,
quotes around a value are removed, nothing is expanded). The environment wins. An empty value counts as not given.

- **Secrets**, marked *secret*, can also be read from a file: ` + "`USHER_SECRET_FILE=/run/secrets/usher`" + `.
- **Lists** have commas between their items. **Durations** look like ` + "`30s`, `10m`, `12h`" + `. **Switches** are ` + "`true` or `false`" + `.
- A name that begins with ` + "`USHER_`" + ` and is not listed here is refused, and so is every value that does not fit: all problems
  are reported at once, and nothing starts. ` + "`usher config`" + ` shows what is in effect, and where it comes from.
- Settings marked *required* are so for ` + "`usher serve`" + `. Other commands need only what they use.
- ` + "`usher dev`" + ` brings its own database, Redis, LiveKit, sign-in, secrets and addresses, and ignores those settings.
`)
	for _, section := range table {
		fmt.Fprintf(&b, "\n## %s\n\n", section.title)
		if section.intro != "" {
			fmt.Fprintf(&b, "%s\n\n", section.intro)
		}
		b.WriteString("| setting | default | what |\n|---|---|---|\n")
		for _, s := range section.settings {
			standard := ""
			switch {
			case s.need != nothing:
				standard = "*required*"
			case s.standard != "":
				standard = "`" + s.standard + "`"
			}
			if s.secret {
				standard = strings.TrimPrefix(standard+", *secret*", ", ")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, standard, s.doc)
		}
	}
	return b.String()
}
