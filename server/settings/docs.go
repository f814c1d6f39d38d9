package settings

import (
	"fmt"
	"strings"
)

// Markdown is docs/settings.md.
func Markdown() string {
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
			case s.need != NeedNothing:
				standard = "*required*"
			case s.standard != "":
				standard = "`" + s.standard + "`"
			}
			if s.Secret {
				standard = strings.TrimPrefix(standard+", *secret*", ", ")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, standard, s.doc)
		}
	}
	return b.String()
}
