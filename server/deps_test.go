package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/usher-meet/usher/"

// The kinds of packages that are known by their folder. A service is a package named as its proto file, and whatever is
// below it.
const (
	adapters = "server/adapter/"  // each knows one thing outside, and meets the services in server only
	api      = "server/api/"      // what the methods of services have in common
	pages    = "server/web/"      // what browsers get
	stands   = "server/internal/" // what tests and `usher dev` have in the place of real things
)

// layers says what of ours each other package may import, by names of packages or kinds. A package that is missing here
// fails the test, so that whoever adds one says where it belongs.
//
//	cmd → dev → server → services, adapters → shared → gen
var layers = map[string]string{
	// The commands for operators call the same rules as the API.
	"cmd/usher": "server server/dev server/settings services shared ent/migrations gen web",
	// A whole server with stand-ins around it, and no part of one.
	"server/dev":      "server server/settings shared ent/migrations server/internal/mailcatcher server/internal/recorder gen",
	"server":          "server/settings services adapters shared pages ent/migrations gen",
	"server/settings": "services shared gen",

	// Shared packages, each above those it lists.
	"server/accounts":   "server/auth server/dbtx server/fault server/livetasks server/mailbox gen",
	"server/audit":      "server/auth gen",
	"server/auth":       "server/dbtx server/fault server/meeting server/ratelimit server/text gen",
	"server/dbtx":       "ent/sqltx gen",
	"server/fault":      "gen",
	"server/inbox":      "server/auth server/dbtx server/jobs server/meeting gen",
	"server/jobs":       "server/dbtx server/lease ent/sqltx gen",
	"server/lease":      "server/dbtx server/fault gen",
	"server/letter":     "server/mailbox gen",
	"server/livetasks":  "server/dbtx server/meeting gen",
	"server/mailbox":    "",
	"server/meeting":    "server/text gen",
	"server/moderation": "server/fault gen",
	"server/ratelimit":  "server/fault gen",
	"server/signin":     "server/accounts server/auth server/fault server/ratelimit pages gen",
	"server/smallstack": "",
	"server/text":       "server/mailbox",
	"server/tlsconfig":  "",
	"server/zones":      "",

	// The web app, as files.
	"web": "",

	"server/settings/settingstest": "",

	"ent": "", "ent/sqltx": "", "ent/schema": "server/mailbox gen", "ent/migrations": "server/mailbox", "ent/migrations/plan": "gen",
	"ent/migrations/diff": "ent/migrations/plan",
}

// kindOf is the kind that the folder of a package says; empty for those in layers.
func kindOf(t *testing.T, name string) string {
	t.Helper()
	switch {
	case strings.HasPrefix(name, adapters):
		return "adapters"
	case strings.HasPrefix(name, api):
		return "api"
	case strings.HasPrefix(name, pages):
		return "pages"
	case strings.HasPrefix(name, stands):
		return "tests"
	}
	below, ok := strings.CutPrefix(name, "server/")
	if first, _, _ := strings.Cut(below, "/"); ok && isService(t, first) {
		return "services"
	}
	return ""
}

// isService reports whether the contract has a service in a file of that name.
func isService(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile("../proto/usher/v1/" + name + ".proto")
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^service `).Match(text)
}

// allowedFor is what a package may import.
func allowedFor(t *testing.T, name string) (allowed string, ok bool) {
	t.Helper()
	switch kindOf(t, name) {
	case "services", "adapters":
		return "shared gen", true
	case "api":
		return "server/auth server/fault gen", true
	case "pages":
		return "pages server/zones", true
	case "tests":
		return "shared tests ent/migrations gen", true
	}
	allowed, ok = layers[name]
	return allowed, ok
}

// isShared reports whether services and adapters may import a package.
func isShared(t *testing.T, name string) bool {
	t.Helper()
	if kind := kindOf(t, name); kind != "" {
		return kind == "api" || kind == "pages"
	}
	_, listed := layers[name]
	return listed && strings.HasPrefix(name, "server/") && name != "server/dev" && !strings.HasPrefix(name, "server/settings")
}

// only says which packages, and their tests, may import what. The linter has the same rules with better explanations; these
// also hold for what is pulled in through others.
var only = []struct {
	imports, why string
	from         []string
}{
	{"github.com/livekit/", "LiveKit's types must not spread: a new version of it should touch one folder", []string{
		"server/adapter/livekit", "server/internal/testenv/participant", "server/internal/testenv/phone", "server/internal/recorder",
	}},
	{"github.com/redis/rueidis", "Redis holds sessions, limits, lobbies and leases; what it may lose is decided in these places", []string{
		"server/auth", "server/ratelimit", "server/lobby", "server/lease", "server", "server/dev", "cmd/usher", "server/internal/testenv",
		"server/internal/authtest",
	}},
	{"github.com/minio/minio-go", "the storage is reached through server/adapter/objectstore", []string{"server/adapter/objectstore", "server/internal/recorder"}},

	{"github.com/coreos/go-oidc", "the provider is reached through server/adapter/oidc", []string{"server/adapter/oidc"}},
	{"github.com/wneessen/go-mail", "mail is sent by server/adapter/mail", []string{"server/adapter/mail"}},
	{"github.com/emersion/go-smtp", "it is the mail server of development and tests", []string{"server/internal/mailcatcher"}},
	{"github.com/emersion/go-ical", "it reads calendars in tests only: what it writes has long lines and unmarked parameters", nil},
	{"github.com/alicebob/miniredis", "it is not Redis: only what runs without Redis has it", []string{"server/dev"}},
	{"github.com/alecthomas/kong", "the command line stays at the edge", []string{"cmd/usher"}},
	{"ariga.io/atlas", "migrations are written on a developer's machine, never by the server", []string{
		// The generated client carries the tables for it.
		"ent/migrations/plan", "gen/ent",
	}},
}

type goPackage struct {
	ImportPath   string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func TestImports(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name := p.name()
		seen[name] = true
		for _, i := range p.Imports {
			checkOnly(t, name, i)
			if i == "testing" && !strings.HasPrefix(name, "server/internal/") {
				t.Errorf("%s imports testing: it would put test flags into the program", name)
			}
		}
		if strings.HasPrefix(name, "gen/") {
			checkGenerated(t, p)
			continue
		}
		allowed, ok := allowedFor(t, name)
		if !ok {
			t.Errorf("%s has no place in the layers: add it to this test and to ARCHITECTURE.md", name)
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok && !mayImport(t, allowed, ours) {
				t.Errorf("%s imports %s; it may import: %s", name, ours, allowed)
			}
		}
	}
	for name := range layers {
		if !seen[name] {
			t.Errorf("%s is in the layers but does not exist", name)
		}
	}
}

func mayImport(t *testing.T, allowed, name string) bool {
	t.Helper()
	for what := range strings.FieldsSeq(allowed) {
		switch {
		case what == name, what == "gen" && strings.HasPrefix(name, "gen/"), what == "shared" && isShared(t, name), what == kindOf(t, name):
			return true
		}
	}
	return false
}

func checkOnly(t *testing.T, name, imported string) {
	t.Helper()
	for _, rule := range only {
		if !strings.HasPrefix(imported, rule.imports) {
			continue
		}
		if !slices.ContainsFunc(rule.from, func(f string) bool { return name == f || f == "gen/ent" && strings.HasPrefix(name, f) }) {
			t.Errorf("%s imports %s: %s", name, imported, rule.why)
		}
	}
}

// checkGenerated: other Go programs import gen/go as a client of Usher, so it must bring nothing along.
func checkGenerated(t *testing.T, p goPackage) {
	t.Helper()
	if !strings.HasPrefix(p.name(), "gen/go/") {
		return
	}
	allowed := []string{
		"connectrpc.com/connect", "google.golang.org/protobuf/", "google.golang.org/genproto/googleapis/rpc/errdetails",
		"buf.build/gen/go/bufbuild/protovalidate/", module + "gen/go/",
	}
	for _, i := range p.Imports {
		if strings.Contains(strings.Split(i, "/")[0], ".") &&
			!slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(i, a) }) {
			t.Errorf("%s imports %s, which every client would get too", p.name(), i)
		}
	}
}

// packages are all of this module.
func packages(t *testing.T) []goPackage {
	t.Helper()
	var list []goPackage
	decoder := json.NewDecoder(bytes.NewReader(run(t, "go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports", "./...")))
	for {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("go list knows %d packages only", len(list))
	}
	return list
}

// run returns what a program prints when it runs in the top folder.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// Every package says what it owns, in one place.
func TestPackageDocs(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if strings.HasPrefix(p.name(), "gen/") {
			continue
		}
		var documented []string
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil && !ignored(file) {
				documented = append(documented, filepath.Base(path))
			}
		}
		if len(documented) != 1 {
			t.Errorf("%s has %d package comments, want one: %v", p.name(), len(documented), documented)
		}
	}
}

// ignored reports whether go build leaves a file out: a generator that is run by itself.
func ignored(f *ast.File) bool {
	return slices.ContainsFunc(f.Comments, func(c *ast.CommentGroup) bool {
		return slices.ContainsFunc(c.List, func(c *ast.Comment) bool { return c.Text == "//go:build ignore" })
	})
}

// TestDependencies holds docs/dependencies.md against the modules, npm and Python packages that are really used.
func TestDependencies(t *testing.T) {
	t.Parallel()
	documented := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| ([^|]*) \\| ([^|]*) \\|$")
	text, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		if _, ok := documented[m[1]]; ok {
			t.Errorf("%s is documented twice", m[1])
		}
		if m[3] == "" || m[4] == "" {
			t.Errorf("%s lacks a licence or a reason", m[1])
		}
		documented[m[1]] = m[2:4]
	}

	used := usedModules(t)
	for name, d := range used {
		doc, ok := documented[name]
		switch {
		case !ok && d.direct:
			t.Errorf("%s %s is missing in docs/dependencies.md: add its version, licence and why it is there", name, d.version)
		case ok && doc[0] != d.version:
			t.Errorf("%s is documented in version %s, and %s is used", name, doc[0], d.version)
		case ok && d.dir != "":
			checkLicence(t, name, doc[1], d.dir)
		}
	}
	for name := range documented {
		if _, ok := used[name]; !ok {
			t.Errorf("%s is documented and not used", name)
		}
	}
}

type dependency struct {
	version, dir string
	direct       bool
}

// usedModules are the modules of go.mod, the tools, and the npm packages that are named by us.
func usedModules(t *testing.T) map[string]dependency {
	t.Helper()
	used := map[string]dependency{}
	var mod struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
		Tool []struct{ Path string }
	}
	list := func(file string) {
		mod.Require, mod.Tool = nil, nil
		if err := json.Unmarshal(run(t, "go", "mod", "edit", "-json", file), &mod); err != nil {
			t.Fatal(err)
		}
		for _, r := range mod.Require {
			tool := slices.ContainsFunc(mod.Tool, func(x struct{ Path string }) bool { return strings.HasPrefix(x.Path, r.Path+"/") })
			if direct := tool || !r.Indirect; direct || file == "go.mod" {
				used[r.Path] = dependency{version: r.Version, direct: direct}
			}
		}
	}
	tools, err := filepath.Glob("../tools/*/go.mod")
	if err != nil || len(tools) == 0 {
		t.Fatalf("no tools: %v", err)
	}
	for _, path := range tools {
		if strings.HasSuffix(filepath.Dir(path), "-oldest") {
			continue // the oldest supported version of another tool, which is the one in the table
		}
		list(strings.TrimPrefix(path, "../"))
	}
	list("go.mod")
	// Only those of go.mod: the sources of the tools may not be on this machine.
	args := []string{"list", "-m", "-f", "{{.Path}} {{.Dir}}"}
	for _, r := range mod.Require {
		args = append(args, r.Path)
	}
	for line := range strings.Lines(string(run(t, "go", args...))) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		d := used[path]
		d.dir = dir
		used[path] = d
	}

	usedPython(t, used)
	npm, err := filepath.Glob("../tools/*/package.json")
	if err != nil || len(npm) == 0 {
		t.Fatalf("no npm packages: %v", err)
	}
	workspaces, err := filepath.Glob("../web/*/package.json")
	if err != nil || len(workspaces) == 0 {
		t.Fatalf("no npm workspaces: %v", err)
	}
	for _, path := range append(append(npm, "../web/package.json"), workspaces...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var manifest struct{ Dependencies, DevDependencies map[string]string }
		if err := json.Unmarshal(text, &manifest); err != nil {
			t.Fatal(err)
		}
		for _, group := range []map[string]string{manifest.Dependencies, manifest.DevDependencies} {
			for name, version := range group {
				if strings.HasPrefix(name, "@usher-meet/") {
					continue // ours
				}
				if other, ok := used["npm:"+name]; ok && other.version != version {
					t.Errorf("%s wants %s %s, and another package.json wants %s", path, name, version, other.version)
				}
				used["npm:"+name] = dependency{version: version, direct: true}
			}
		}
	}
	return used
}

// usedPython adds the Python packages that are named by us: those above what they need themselves.
func usedPython(t *testing.T, used map[string]dependency) {
	t.Helper()
	text, err := os.ReadFile("../tools/calendars/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	named, _, ok := strings.Cut(string(text), "# What these need")
	found := regexp.MustCompile(`(?m)^([a-z0-9_.-]+)==(\S+) --hash=`).FindAllStringSubmatch(named, -1)
	if !ok || len(found) == 0 {
		t.Fatal("requirements.txt names no packages")
	}
	for _, m := range found {
		used["pypi:"+m[1]] = dependency{version: m[2], direct: true}
	}
}

// licences are sentences by which a licence is known.
var licences = map[string]string{
	"MIT":          "Permission is hereby granted, free of charge, to any person obtaining a copy",
	"Apache-2.0":   "Apache License",
	"BSD-3-Clause": "Neither the name of",
	"BSD-2-Clause": "Redistribution and use in source and binary forms",
	"MPL-2.0":      "Mozilla Public License Version 2.0",
	"ISC":          "Permission to use, copy, modify, and/or distribute this software",
}

// checkLicence looks into the module itself, whose licence may change with a version.
func checkLicence(t *testing.T, name, licence, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "LICENSE"))
	if len(files) == 0 {
		files, err = filepath.Glob(filepath.Join(dir, "COPYING"))
	}
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no licence file in %s", name, dir)
		return
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	sentence, ok := licences[licence]
	if !ok {
		t.Errorf("%s: unknown licence %q", name, licence)
	}
	if plain := strings.Join(strings.Fields(string(text)), " "); !strings.Contains(plain, sentence) {
		t.Errorf("%s is documented as %s, but %s does not say %q", name, licence, files[0], sentence)
	}
}

func TestNoSecretsInTree(t *testing.T) {
	t.Parallel()
	skipped := regexp.MustCompile(`(^|/)(testdata|node_modules)/|^gen/|^proto_vendor/|\.sum$|package-lock\.json$|requirements\.txt$|\.(png|jpg|ico|woff2)$`)
	files := strings.Fields(string(run(t, "git", "ls-files", "-co", "--exclude-standard")))
	if len(files) < 50 {
		t.Fatalf("git knows %d files only", len(files))
	}
	for _, path := range files {
		if skipped.MatchString(path) {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", path))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(text), "\n") {
			if what := secretIn(line); what != "" {
				t.Errorf("%s:%d holds %s: a made-up one begins with test-", path, number+1, what)
			}
		}
	}
}

// The search finds what it looks for, and only that.
func TestSecretIn(t *testing.T) {
	t.Parallel()
	random := "q8Zr4LmT0vXcJ7bNwYpE" + "5hKsDfGa2UiO9xQe3RtV" // in two halves, or this file would hold a secret
	for line, want := range map[string]bool{
		"-----BEGIN EC " + "PRIVATE KEY-----":                       true,
		`"eyJhbGciOiJIUzI1NiJ9` + `.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x"`: true,
		"key: " + random:         true,
		"key = " + random + "==": true,
		"hash: 0123456789abcdef" + "fedcba9876543210aa11bb22cc33dd44ee55": true,
		"key: test-" + random:                                            false,
		"id: 0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10":                       false,
		"func TestUpdateParticipant_seenByTheParticipantInTheRoom2():":   false,
		"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect":     false,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": false,
		"-----BEGIN CERTIFICATE-----":                                    false,
	} {
		if got := secretIn(line) != ""; got != want {
			t.Errorf("secretIn(%q): found %v, want %v", line, got, want)
		}
	}
}

var (
	privateKey  = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE ` + `KEY`)
	jwt         = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]+`)
	long        = regexp.MustCompile(`[A-Za-z0-9+/_-]{32,}={0,2}`)
	hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]{40,}$`)
)

// secretIn names the first thing in a line that could be a real secret; empty for none.
func secretIn(line string) string {
	switch {
	case privateKey.MatchString(line):
		return "a private key"
	case jwt.MatchString(line):
		return "a JWT"
	}
	for _, word := range long.FindAllString(line, -1) {
		switch {
		case strings.Contains(word, "test-"), strings.Contains(strings.ToLower(word), "abcdefghijklm"):
		case hexadecimal.MatchString(word) && entropy(word) > 3:
			return fmt.Sprintf("%d hexadecimal digits", len(word))
		// Text, paths and names have few digits and repeat letters; what a generator made does not.
		case digits(word) >= 4 && entropy(word) > 4.2 && strings.Count(word, "/")+strings.Count(word, "-")+strings.Count(word, "_") < 4:
			return fmt.Sprintf("%d random characters", len(word))
		}
	}
	return ""
}

func digits(s string) (n int) {
	for _, c := range s {
		if c >= '0' && c <= '9' {
			n++
		}
	}
	return n
}

// entropy is that of the characters of s, in bits.
func entropy(s string) (bits float64) {
	count := map[rune]float64{}
	for _, c := range s {
		count[c]++
	}
	for _, n := range count {
		p := n / float64(len(s))
		bits -= p * math.Log2(p)
	}
	return bits
}
