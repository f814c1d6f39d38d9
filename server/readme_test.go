package server_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The README's curl session works as it is printed, line by line, with the address and the token of a running server.
func TestReadmeSession(t *testing.T) {
	t.Parallel()
	i := start(t)
	token := i.apiToken(i.user("Ada Readme"), "read", "rooms")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, session, found := strings.Cut(string(readme), "## A meeting with curl\n")
	if !found {
		t.Fatal("the README has no section \"A meeting with curl\"")
	}
	session, _, _ = strings.Cut(session, "\n## ")
	script := "set -euo pipefail\nshopt -s expand_aliases\nalias curl='echo; command curl --silent --show-error'\n"
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(session, -1) {
		script += block[1]
	}
	script = strings.Replace(script, "export USHER=http://localhost:8080", "export USHER="+i.URL, 1)
	script = strings.Replace(script, "export TOKEN=the-token-that-was-printed", "export TOKEN="+token, 1)
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("the session failed: %v\n%s", err, out)
	}
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	want := []string{
		`"myRole":"ROLE_OWNER"`,        // CreateRoom
		`"myRole":"ROLE_OWNER"`,        // GetRoom by the owner
		`"joinMode":"JOIN_MODE_LOBBY"`, // GetRoom by a stranger
		`"sessionToken":"`,             // JoinRoom
		`"slug":"weekly-meeting"`,      // ListRooms
	}
	if len(answers) != len(want) {
		t.Fatalf("%d answers, want %d:\n%s", len(answers), len(want), out)
	}
	for n, answer := range answers {
		// ProtoJSON puts a space behind the colon, or none, by chance.
		if !strings.Contains(strings.ReplaceAll(answer, `": `, `":`), want[n]) {
			t.Errorf("answer %d = %s, want one with %s", n+1, answer, want[n])
		}
	}
}
