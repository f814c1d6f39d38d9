package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Beside the development stack all is well; where nothing listens it is not, and the exit status says so.
func TestDoctor_development(t *testing.T) {
	t.Parallel()
	d := newDevelopment(t)
	d.start(t)
	settings := filepath.Join(d.data(), "usher.env")
	code, out, stderr := doctor(t, "--config", settings, "doctor")
	if code != 0 || strings.Contains(out, "BAD") || !strings.Contains(out, "ok   webhook         LiveKit's event came") {
		t.Errorf("exit status %d, want 0 and no bad line\n%s%s", code, out, stderr)
	}
	code, out, _ = doctor(t, "--config", settings, "--json", "doctor")
	var report doctorReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || !report.OK || len(report.Checks) < 9 {
		t.Errorf("exit status %d, %v, report %+v", code, err, report)
	}

	d.kill(t)
	code, out, stderr = doctor(t, "--config", settings, "doctor")
	if code != 1 || !strings.Contains(out, "BAD  livekit ") || !strings.Contains(out, "BAD  redis ") || !strings.Contains(stderr, "checks are bad") {
		t.Errorf("after it was stopped: exit status %d, want 1\n%s%s", code, out, stderr)
	}
	code, out, _ = doctor(t, "--config", settings, "--json", "doctor")
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.OK {
		t.Errorf("after it was stopped: exit status %d, %v, report %+v", code, err, report)
	}
}

// The development stack's LiveKit sends its events to another address: that line is bad and no other, and the exit status
// says so.
func TestDoctor_webhookElsewhere(t *testing.T) {
	t.Parallel()
	d := newDevelopment(t)
	program := &d.args[len(d.args)-1]
	*program = misdirected(t, *program)
	d.start(t)
	code, out, stderr := doctor(t, "--config", filepath.Join(d.data(), "usher.env"), "doctor", "--webhook-wait", "3s")
	if code != 1 || strings.Count(out, "BAD") != 1 || !strings.Contains(out, "BAD  webhook ") || !strings.Contains(stderr, "checks are bad") {
		t.Errorf("exit status %d, want 1 and only the webhook to be bad\n%s%s", code, out, stderr)
	}
}

// misdirected is a livekit-server that is told another address for its events than usher dev has it.
func misdirected(t *testing.T, program string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "livekit-server")
	script := `#!/bin/sh
# usher dev starts it with --config FILE.
grep -q '/webhooks/livekit' "$2" || exit 1
sed 's#/webhooks/livekit#/somewhere/else#' "$2" >"$2.misdirected" && exec '` + program + `' --config "$2.misdirected"
`
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// doctor runs usher with arguments and nothing in the environment.
func doctor(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), program{args: args, stdin: strings.NewReader(""), stdout: &out, stderr: &errs})
	return code, out.String(), errs.String()
}
