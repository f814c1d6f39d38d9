// Package calendars reads calendar files with programs by other people, for tests of what Usher writes. Each knows only
// what it was given as a file. They are installed by tools/with-services.
package calendars

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Reader is one of the programs.
type Reader string

// The readers. Those of [Parsers] give properties, those of [Expanders] occurrences.
const (
	ICalJS    Reader = "ical.js"
	ICalendar Reader = "icalendar"
	VObject   Reader = "vobject"
	LibICal   Reader = "libical"
)

var (
	// Parsers read properties and parameters.
	Parsers = []Reader{ICalJS, ICalendar, VObject}
	// Expanders list occurrences. None of them is kin to the library with which Usher reads rules.
	Expanders = []Reader{ICalJS, LibICal}
)

var (
	//go:embed read.js
	javascript []byte
	//go:embed read.py
	python []byte
)

// Event is the one event of a file.
type Event struct {
	// Method is that of the calendar.
	Method string
	// Properties are those of the event. Values are as the reader has them: texts without what escapes them.
	Properties []Property
	// Starts and Ends are those of its occurrences.
	Starts, Ends []time.Time
	// Error is what the reader did not like.
	Error string
}

// Property is a property of an event.
type Property struct {
	Name, Value string
	Parameters  map[string]string
}

// Get is the property of that name, in upper case.
func (e Event) Get(name string) Property {
	for _, p := range e.Properties {
		if p.Name == name {
			return p
		}
	}
	return Property{}
}

// Properties reads the properties of each file.
func Properties(t testing.TB, r Reader, files ...string) []Event {
	t.Helper()
	return read(t, r, "properties", files)
}

// Occurrences lists when each event takes place.
func Occurrences(t testing.TB, r Reader, files ...string) []Event {
	t.Helper()
	return read(t, r, "occurrences", files)
}

func read(t testing.TB, r Reader, what string, files []string) []Event {
	t.Helper()
	folder := os.Getenv("USHER_TEST_CALENDARS")
	if folder == "" {
		t.Fatal("USHER_TEST_CALENDARS is not set: run the tests below tools/with-services")
	}
	program, script := filepath.Join(folder, "venv", "bin", "python"), python
	if r == ICalJS {
		program, script = "node", javascript
	}
	path := filepath.Join(t.TempDir(), "read")
	if err := os.WriteFile(path, script, 0o600); err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, path, string(r), what)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(folder, "node_modules"))
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", r, err, stderr.String())
	}
	var events []Event
	if err := json.Unmarshal(output, &events); err != nil {
		t.Fatalf("%s printed %.200s: %v", r, output, err)
	}
	if len(events) != len(files) {
		t.Fatalf("%s read %d files, want %d", r, len(events), len(files))
	}
	return events
}
