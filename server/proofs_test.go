package server_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The guards of docs/proofs are removed by `go tool task proofs`, which takes too long for CI. What rots sooner is checked here:
// the patches apply, the tests that they name exist, and docs/proofs.md has them all.
func TestProofs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../docs/proofs/*.patch")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d patches, %v", len(files), err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "\n\n")
		checkProof(t, filepath.Base(path), head)
	}
	run(t, "tools/proofs", "--check")
	page, err := os.ReadFile("../docs/proofs.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(page), "\n"+string(run(t, "tools/proofs", "--table"))) {
		t.Error("docs/proofs.md does not end with what `tools/proofs --table` prints")
	}
}

var proofField = regexp.MustCompile(`(?m)^(Guard|Mutation|Test|Command|Prints|Tries): *(.+)$`)

// checkProof checks the head of one patch.
func checkProof(t *testing.T, name, head string) {
	t.Helper()
	fields := map[string][]string{}
	for _, m := range proofField.FindAllStringSubmatch(head, -1) {
		fields[m[1]] = append(fields[m[1]], m[2])
	}
	for _, wanted := range []string{"Guard", "Mutation"} {
		if len(fields[wanted]) != 1 {
			t.Errorf("%s has %d lines %s", name, len(fields[wanted]), wanted)
		}
	}
	if tests := len(fields["Test"]) + len(fields["Command"]); tests == 0 || tests != len(fields["Prints"]) {
		t.Errorf("%s has %d tests that print %d texts", name, tests, len(fields["Prints"]))
	}
	for _, test := range fields["Test"] {
		folder, pattern, _ := strings.Cut(test, " ")
		if !hasTest(t, folder, regexp.MustCompile(`Test\w+|Fuzz\w+`).FindString(pattern)) {
			t.Errorf("%s names %s, which is not there", name, test)
		}
	}
}

// hasTest reports whether a package has a test.
func hasTest(t *testing.T, folder, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+test+"(") {
			return true
		}
	}
	return false
}
