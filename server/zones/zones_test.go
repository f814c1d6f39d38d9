package zones

import (
	"archive/zip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The table has the names of Go's copy of the database: a new release of Go with new zones fails here.
func TestTable(t *testing.T) {
	t.Parallel()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Close() }()
	known := map[string]bool{}
	for _, f := range files.File {
		if strings.HasSuffix(f.Name, "/") || f.Name == "Factory" {
			continue
		}
		known[f.Name] = true
		if _, ok := Canonical(f.Name); !ok {
			t.Errorf("%s is missing", f.Name)
		}
	}
	for name, target := range targets {
		if !known[name] {
			t.Errorf("%s is no zone", name)
		}
		if again, ok := Canonical(target); !ok || again != target {
			t.Errorf("%s is an alias of %s, and that of %q", name, target, again)
		}
		sameClock(t, name, target)
	}
}

func sameClock(t *testing.T, name, target string) {
	t.Helper()
	alias, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := Load(target)
	if err != nil {
		t.Fatal(err)
	}
	for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2032; at = at.AddDate(0, 0, 5) {
		if got, want := at.In(alias).Format(time.DateTime), at.In(zone).Format(time.DateTime); got != want {
			t.Errorf("at %v it is %s in %s, and %s in %s", at, got, name, want, target)
			return
		}
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Europe/Paris": "Europe/Paris", "US/Eastern": "America/New_York", "Asia/Calcutta": "Asia/Kolkata", "Europe/Kiev": "Europe/Kyiv",
		"Europe/Stockholm": "Europe/Stockholm", "UTC": "UTC", "Etc/UTC": "UTC", "Zulu": "UTC", "Etc/GMT+5": "Etc/GMT+5", "GMT": "Etc/GMT",
		"": "", "Local": "", "localtime": "", "Factory": "", "posix/Europe/Paris": "", "right/Europe/Paris": "", "posixrules": "",
		"europe/paris": "", "Europe/Paris\n": "", "/etc/localtime": "", "../etc/passwd": "", "zone.tab": "", "#": "", "Europe": "",
	} {
		if got, ok := Canonical(name); got != want || ok != (want != "") {
			t.Errorf("Canonical(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}

// Where clocks are changed, RFC 5545 says which moment is meant, in every zone alike.
func TestInstant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ zone, clock, want string }{
		{"Europe/Paris", "2026-03-29 01:59:59", "2026-03-29 00:59:59"},
		{"Europe/Paris", "2026-03-29 02:30:00", "2026-03-29 01:30:00"}, // left out
		{"Europe/Paris", "2026-03-29 03:00:00", "2026-03-29 01:00:00"},
		{"Europe/Paris", "2026-10-25 02:30:00", "2026-10-25 00:30:00"}, // twice
		{"Europe/Paris", "2026-10-25 03:00:00", "2026-10-25 02:00:00"},
		{"America/New_York", "2026-03-08 02:30:00", "2026-03-08 07:30:00"}, // left out
		{"America/New_York", "2026-11-01 01:30:00", "2026-11-01 05:30:00"}, // twice
		{"Australia/Lord_Howe", "2026-10-04 02:15:00", "2026-10-03 15:45:00"},
		{"Pacific/Kiritimati", "2026-06-01 00:00:00", "2026-05-31 10:00:00"},
		{"Etc/GMT+12", "2026-06-01 12:00:00", "2026-06-02 00:00:00"},
		{"UTC", "2026-06-01 12:00:00", "2026-06-01 12:00:00"},
	} {
		zone, err := Load(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		clock, err := time.Parse(time.DateTime, tt.clock)
		if err != nil {
			t.Fatal(err)
		}
		if got := Instant(clock, zone).UTC().Format(time.DateTime); got != tt.want {
			t.Errorf("%s in %s is %s, want %s", tt.clock, tt.zone, got, tt.want)
		}
	}
}
