package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Repeated refusals are counted, and said once a minute and kind. Everything else is a line each.
func TestRepeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := newRepeats(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}}))
		log := slog.New(h)
		said := func(what string, want ...string) {
			t.Helper()
			synctest.Wait() // until the timer has written what it writes
			if got := strings.Split(strings.TrimSpace(out.String()), "\n"); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			out.Reset()
		}
		refuse := func(procedure string, n int) {
			log.Info("rpc refused", "procedure", procedure, "code", "resource_exhausted", "caller", "anonymous", "request", n)
		}
		for n := range 100 {
			refuse("/a/B", n)
			refuse("/a/C", n)
		}
		const b, c = `msg="rpc refused" procedure=/a/B code=resource_exhausted caller=anonymous`,
			`msg="rpc refused" procedure=/a/C code=resource_exhausted caller=anonymous`
		said("at first", b+" request=0", c+" request=0")
		time.Sleep(sayEvery / 2)
		refuse("/a/B", 100)
		time.Sleep(sayEvery/2 + time.Second)
		synctest.Wait()
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(got) != 2 || !strings.Contains(out.String(), b+" repeated=100") || !strings.Contains(out.String(), c+" repeated=99") {
			t.Errorf("after a minute:\n%s", out.String())
		}
		out.Reset()
		refuse("/a/B", 101)
		time.Sleep(sayEvery)
		said("after two minutes", b+" repeated=1")
		time.Sleep(2 * sayEvery)
		refuse("/a/B", 102)
		said("after a pause", b+" request=102")

		for n := range 3 {
			log.Info("rpc", "procedure", "/a/B", "code", "ok", "n", n)
			log.Error("rpc failed", "procedure", "/a/B", "code", "internal", "err", fmt.Sprint(n))
		}
		if n := strings.Count(out.String(), "\n"); n != 6 {
			t.Errorf("calls that succeed, and failures of ours, are %d lines, want 6", n)
		}
		out.Reset()
		refuse("/a/B", 103)
		h.counts.stop()
		said("at the end", b+" repeated=1")
		refuse("/a/B", 104)
		said("after the end", b+" request=104")
	})
}

// The lines that are counted are those that the code writes.
func TestRepeats_messages(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, pattern := range []string{"*.go", "*/*.go", "*/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if file == "repeats.go" || strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	for message := range refusals {
		if !strings.Contains(all.String(), fmt.Sprintf("%q,", message)) {
			t.Errorf("nothing logs %q", message)
		}
	}
}
