//go:build conformance

package conformance

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/usher-meet/usher/server/internal/testenv"
)

var (
	servers = flag.String(
		"servers", "", "paths of livekit-server programs, with commas between them; empty: the one that all tests have",
	)
	tableFile = flag.String("table", "", "the file into which the table of facts is written")
)

// atOnce is how many facts are tried at the same time. They wait for LiveKit most of the time, so they are more than there
// are processors.
const atOnce = "12"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	lksdk.SetLogger(logger.GetDiscardLogger()) // it would hide which fact does not hold
	testenv.Main(m)
}

// fact is a sentence about LiveKit.
type fact struct {
	says string
	// usher is what of Usher would be wrong if it did not hold.
	usher string
	// check fails the test if the fact does not hold.
	check func(t *testing.T, f *fixture)
}

// subjects are all facts, in the order of the table.
var subjects = []struct {
	name  string
	facts []fact
}{
	{"Webhooks", webhookFacts},
	{"Rooms", roomFacts},
	{"Tokens and connections", connectionFacts},
	{"Participants", participantFacts},
	{"Mutes and messages", muteFacts},
	{"Trunks and dispatch rules", ruleFacts},
	{"Phone calls", callFacts},
	{"Egress", egressFacts},
	{"After a restart", restartFacts},
}

// outcome says which facts hold, by the version of LiveKit.
type outcome struct {
	mu       sync.Mutex
	versions []string
	holds    map[string]map[string]bool
}

func TestFacts(t *testing.T) {
	programs := strings.FieldsFunc(*servers, func(r rune) bool { return r == ',' })
	if len(programs) == 0 {
		programs = []string{testenv.LiveKitProgram(t)}
	}
	o := &outcome{holds: map[string]map[string]bool{}}
	for _, program := range programs {
		version := versionOf(t, program)
		o.versions = append(o.versions, version)
		o.holds[version] = map[string]bool{}
		// Its facts run side by side, and have all been tried when this returns.
		t.Run(version, func(t *testing.T) { tryAll(t, program, version, o) })
	}
	if *tableFile != "" {
		if err := os.WriteFile(*tableFile, []byte(o.table()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func tryAll(t *testing.T, program, version string, o *outcome) {
	t.Helper()
	f := newFixture(t, program, parts{})
	for _, subject := range subjects {
		t.Run(subject.name, func(t *testing.T) {
			t.Parallel()
			for _, fact := range subject.facts {
				t.Run(fact.says, func(t *testing.T) {
					t.Parallel()
					t.Cleanup(func() {
						o.mu.Lock()
						defer o.mu.Unlock()
						o.holds[version][fact.says] = !t.Failed()
					})
					fact.check(t, f)
				})
			}
		})
	}
}

// versionOf asks a livekit-server for its version, such as "v1.13.5".
func versionOf(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "--version").Output()
	if err != nil {
		t.Fatalf("%s is no livekit-server: %v", program, err)
	}
	fields := strings.Fields(string(out))
	if len(fields) == 0 {
		t.Fatalf("%s --version says nothing", program)
	}
	return "v" + fields[len(fields)-1]
}

// table is the table of docs/livekit-versions.md. A cell is empty for a fact that was not tried.
func (o *outcome) table() string {
	var b strings.Builder
	for _, subject := range subjects {
		fmt.Fprintf(&b, "### %s\n\n%s%s", subject.name, row("LiveKit", "Usher", o.versions...), row("---", "---", rules(o.versions)...))
		for _, fact := range subject.facts {
			cells := make([]string, len(o.versions))
			for i, version := range o.versions {
				if holds, tried := o.holds[version][fact.says]; tried {
					cells[i] = map[bool]string{true: "holds", false: "**does not hold**"}[holds]
				}
			}
			b.WriteString(row(fact.says, fact.usher, cells...))
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func row(says, usher string, cells ...string) string {
	return "| " + strings.Join(append([]string{says, usher}, cells...), " | ") + " |\n"
}

func rules(versions []string) []string {
	out := make([]string, len(versions))
	for i := range out {
		out[i] = "---"
	}
	return out
}

// The documented table has every fact, as it is said here, for the versions that tools/ pins, and all hold.
func TestDocs(t *testing.T) {
	t.Parallel()
	o := &outcome{holds: map[string]map[string]bool{}}
	for _, tool := range []string{"livekit-server", "livekit-server-oldest"} {
		mod, err := os.ReadFile(filepath.Join("../../../tools", tool, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		pinned := regexp.MustCompile(`github\.com/livekit/livekit-server (v\S+)`).FindSubmatch(mod)
		if pinned == nil {
			t.Fatalf("tools/%s/go.mod names no version of livekit-server", tool)
		}
		version := string(pinned[1])
		o.versions = append(o.versions, version)
		o.holds[version] = map[string]bool{}
		for _, subject := range subjects {
			for _, fact := range subject.facts {
				o.holds[version][fact.says] = true
			}
		}
	}
	doc, err := os.ReadFile("../../../docs/livekit-versions.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, []byte(o.table())) {
		t.Errorf("docs/livekit-versions.md does not end with the table that `go tool task conformance` prints when all facts hold")
	}
}
