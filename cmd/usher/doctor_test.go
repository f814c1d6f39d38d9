package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// Beside the development stack all is well; where nothing listens it is not, and the exit status says so.
func TestDoctor_development(t *testing.T) {
	t.Parallel()
	d := newDevelopment(t)
	d.start(t)
	settings := filepath.Join(d.args[2], "usher.env")
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

// doctor runs usher with arguments and nothing in the environment.
func doctor(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), program{args: args, stdin: strings.NewReader(""), stdout: &out, stderr: &errs})
	return code, out.String(), errs.String()
}
