package style

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestColours compares the colours with those of the web app, which people come to from these pages.
func TestColours(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../../web/app/src/styles/index.css")
	if err != nil {
		t.Fatal(err)
	}
	app := string(file)
	for _, c := range []struct{ name, ours, theirs string }{
		{"light", block(t, shared, ":root {"), block(t, app, ":root {")},
		{"dark", block(t, shared, "@media (prefers-color-scheme: dark) {\n  :root {"), block(t, app, `:root[data-theme="dark"] {`)},
	} {
		ours, theirs := properties(c.ours), properties(c.theirs)
		if len(ours) < 10 {
			t.Errorf("%s: %d properties", c.name, len(ours))
		}
		maps.DeleteFunc(theirs, func(name, _ string) bool { _, used := ours[name]; return !used })
		if !maps.Equal(ours, theirs) {
			t.Errorf("%s: the pages have %v, the web app has %v", c.name, ours, theirs)
		}
	}
}

// block is what stands between what opens it and the next brace.
func block(t *testing.T, css, opening string) string {
	t.Helper()
	_, after, ok := strings.Cut(css, opening)
	inside, _, closed := strings.Cut(after, "}")
	if !ok || !closed {
		t.Fatalf("no %q", opening)
	}
	return inside
}

var property = regexp.MustCompile(`([\w-]+): ([^;]+);`)

func properties(block string) map[string]string {
	all := map[string]string{}
	for _, found := range property.FindAllStringSubmatch(block, -1) {
		all[found[1]] = found[2]
	}
	return all
}

func TestWith_colour(t *testing.T) {
	t.Parallel()
	for colour, letters := range map[string]string{"#ffd500": "#15131a", "#0b6e4f": "#ffffff", "#FFFFFF": "#15131a", "#000000": "#ffffff"} {
		s := string(With("", colour).CSS)
		if !strings.Contains(s, "--accent: "+colour+"; --on-accent: "+letters) {
			t.Errorf("%s has no letters in %s", colour, letters)
		}
	}
	plain := With("", "")
	for _, odd := range []string{"red", "#fff", "#1234567", "#123456; } body { display: none"} {
		if got := With("", odd); got != plain {
			t.Errorf("%q is taken for a colour", odd)
		}
	}
	if With("p { margin: 0; }", "").Source == plain.Source {
		t.Error("two styles have one hash")
	}
}

func TestOn(t *testing.T) {
	t.Parallel()
	const dark, light = "#15131a", "#ffffff"
	for colour, want := range map[string]string{"#000000": light, "#ffffff": dark, "#ffd500": dark, "#1a5fb4": light, "": light} {
		if got := On(colour); got != want {
			t.Errorf("on %s: %s, want %s", colour, got, want)
		}
	}
}
