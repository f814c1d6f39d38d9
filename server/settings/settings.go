package settings

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// setting is one thing that an operator can choose. The table in table.go has all of them; parsing, `usher config`,
// docs/settings.md and the search for misspelt names go by it.
type setting struct {
	// Name in the environment and in the settings file.
	Name string
	// standard is the value of a setting that is not given, in the form in which it would be given.
	standard string
	// doc is one or two sentences of Markdown.
	doc string
	// Secret values are never shown, and can also be read from a file that NAME_FILE names.
	Secret bool
	// need says which commands cannot do without it; 0: it can be left out.
	need Part
	// ownInDev settings are ignored by `usher dev`: it brings its own, and never touches production.
	ownInDev bool
	// set parses a value into the Config.
	set func(c *Config, value string) error
	// show masks a secret that is partly public; nil: all of it is hidden.
	show func(value string) string
}

// Part is a part of the program's surroundings that a command uses.
type Part int

// The parts, and all or none of them.
const (
	NeedDatabase Part = 1 << iota
	NeedKeys
	NeedRedis
	NeedServing

	NeedNothing    Part = 0
	NeedEverything      = NeedDatabase | NeedKeys | NeedRedis | NeedServing
)

// section is a heading of the table.
type section struct {
	title    string
	intro    string
	settings []setting
}

// Names that begin with USHER_ and are no settings of the server.
const (
	settingsFileName = "USHER_CONFIG_FILE"
	DevLiveKitServer = "USHER_DEV_LIVEKIT_SERVER"
	prefix           = "USHER_"
	fileSuffix       = "_FILE"
)

// Where a value comes from, beside files of secrets.
const (
	SourceDefault      = "default"
	sourceEnvironment  = "environment"
	sourceSettingsFile = "settings file"
	sourceDevelopment  = "usher dev"
)

// Value is a setting as it was given, or its default.
type Value struct {
	setting *setting
	text    string
	Source  string
}

// Name is that of the setting in the environment.
func (v Value) Name() string { return v.setting.Name }

// Secret reports whether the value is never shown.
func (v Value) Secret() bool { return v.setting.Secret }

// Shown is the value for people: without secrets.
func (v Value) Shown() string {
	switch {
	case v.text == "" || !v.setting.Secret:
		return v.text
	case v.setting.show != nil:
		return v.setting.show(v.text)
	}
	return "***"
}

// Problems are everything that is wrong with the settings, one line each.
type Problems []string

// Error lists all of them.
func (p Problems) Error() string {
	noun := "problems"
	if len(p) == 1 {
		noun = "problem"
	}
	return fmt.Sprintf("%d %s with the settings (see docs/settings.md or `usher config --docs`):\n  %s",
		len(p), noun, strings.Join(p, "\n  "))
}

// Loader reads settings.
type Loader struct {
	Environ []string
	// File is the settings file that a flag names; empty: that of USHER_CONFIG_FILE, if any.
	File string
	// Needs are the parts without whose settings the command cannot run.
	Needs Part
	// Development ignores what `usher dev` provides.
	Development bool
}

// Loaded is the outcome of [Loader.Load]: always complete, with defaults in place of what could not be read.
type Loaded struct {
	Config Config
	Values []Value
	// Ignored are the names that were given but are development's own.
	Ignored []string
}

// Load reads the environment and the settings file. Its error is a [Problems] with all that is wrong.
func (l Loader) Load() (*Loaded, error) {
	var wrong Problems
	environment := map[string]string{}
	for _, line := range l.Environ {
		if name, text, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, prefix) {
			environment[name] = text
		}
	}
	path := l.File
	if path == "" {
		path = environment[settingsFileName]
	}
	file := map[string]string{}
	if path != "" {
		var err Problems
		file, err = readSettingsFile(path)
		wrong = append(wrong, err...)
	}
	wrong = append(wrong, unknownNames(environment, sourceEnvironment)...)
	wrong = append(wrong, unknownNames(file, sourceSettingsFile)...)

	s, bad := &Loaded{}, map[string]bool{}
	s.Config.Branding = &usherv1.Branding{}
	for i := range table {
		for j := range table[i].settings {
			def := &table[i].settings[j]
			err := l.one(s, def, environment, file)
			bad[def.Name] = len(err) > 0
			wrong = append(wrong, err...)
		}
	}
	for _, rule := range crossRules {
		if !slices.ContainsFunc(rule.names, func(name string) bool { return bad[name] }) && rule.wrong(&s.Config) {
			wrong = append(wrong, rule.text)
		}
	}
	if len(wrong) > 0 {
		return s, wrong
	}
	return s, nil
}

// one reads a single setting into s.
func (l Loader) one(s *Loaded, def *setting, environment, file map[string]string) (wrong Problems) {
	v := Value{setting: def, Source: SourceDefault}
	v.text, v.Source, wrong = lookUp(def, environment, file)
	given := v.text != ""
	own := l.Development && def.ownInDev
	if own {
		if given {
			s.Ignored = append(s.Ignored, def.Name)
		}
		v.text, v.Source, given, wrong = "", sourceDevelopment, false, nil
	}
	if !given {
		v.text = def.standard
		if v.Source != sourceDevelopment {
			v.Source = SourceDefault
		}
	}
	s.Values = append(s.Values, v)
	if v.text == "" {
		if def.need&l.Needs != 0 && !own && len(wrong) == 0 {
			wrong = append(wrong, missingText(def))
		}
		return wrong
	}
	if err := def.set(&s.Config, v.text); err != nil {
		wrong = append(wrong, fmt.Sprintf("%s (%s): %v", def.Name, v.Source, err))
	}
	return wrong
}

func missingText(def *setting) string {
	if def.Secret {
		return fmt.Sprintf("%s is missing: set it, or %s%s", def.Name, def.Name, fileSuffix)
	}
	return def.Name + " is missing"
}

// lookUp finds the text of a setting. The environment wins over the file; an empty value counts as none, because that is
// how many deployment tools say "not set".
func lookUp(def *setting, environment, file map[string]string) (text, source string, wrong Problems) {
	for _, from := range []struct {
		values map[string]string
		source string
	}{{environment, sourceEnvironment}, {file, sourceSettingsFile}} {
		direct, path := from.values[def.Name], ""
		if def.Secret {
			path = from.values[def.Name+fileSuffix]
		}
		switch {
		case direct != "" && path != "":
			return "", "", Problems{fmt.Sprintf("%s and %s%s are both set: keep one", def.Name, def.Name, fileSuffix)}
		case direct != "":
			return direct, from.source, nil
		case path != "":
			return readSecretFile(def, path)
		}
	}
	return "", "", nil
}

func readSecretFile(def *setting, path string) (text, source string, wrong Problems) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", "", Problems{fmt.Sprintf("%s%s: %v", def.Name, fileSuffix, err)}
	}
	text = strings.TrimSpace(string(content))
	if text == "" {
		return "", "", Problems{fmt.Sprintf("%s%s: %s is empty", def.Name, fileSuffix, path)}
	}
	return text, "file " + path, nil
}

// kubernetesName and kubernetesValue match what Kubernetes puts into the environment of every pod in the namespace of a
// service called usher or usher-…: USHER_SERVICE_HOST, USHER_PORT=tcp://…, USHER_PORT_8080_TCP_ADDR.
var (
	kubernetesName = regexp.MustCompile(`^USHER_([A-Z0-9_]+_)?` +
		`(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$`)
	kubernetesPort  = regexp.MustCompile(`^USHER_([A-Z0-9_]+_)?PORT$`)
	kubernetesValue = regexp.MustCompile(`^(tcp|udp)://`)
)

// unknownNames finds names that are no settings: a misspelt one would otherwise be silently without effect.
func unknownNames(given map[string]string, source string) (wrong Problems) {
	known := map[string]bool{settingsFileName: source == sourceEnvironment, DevLiveKitServer: true}
	for _, s := range allSettings() {
		known[s.Name] = true
		if s.Secret {
			known[s.Name+fileSuffix] = true
		}
	}
	for name, text := range given {
		switch {
		case known[name], strings.HasPrefix(name, "USHER_TEST_"), name == "USHER_TOOLS_CACHE":
		case kubernetesName.MatchString(name), kubernetesPort.MatchString(name) && kubernetesValue.MatchString(text):
		default:
			wrong = append(wrong, fmt.Sprintf("%s (%s) is not a setting; did you mean %s?", name, source, nearest(name, known)))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// nearest is the known name with the fewest changed letters.
func nearest(name string, known map[string]bool) string {
	best, least := "", len(name)*2
	for candidate := range known {
		d := distance(name, candidate)
		if d < least || d == least && candidate < best {
			best, least = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

func allSettings() []*setting {
	var all []*setting
	for i := range table {
		for j := range table[i].settings {
			all = append(all, &table[i].settings[j])
		}
	}
	return all
}
