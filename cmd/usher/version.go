package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/usher-meet/usher/server/settings"
)

type versionCommand struct{}

// Run implements `usher version`.
func (versionCommand) Run(_ context.Context, p *program) error {
	document := struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
		Go      string `json:"go"`
	}{Version: settings.Version, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				document.Commit = s.Value
			}
		}
	}
	return p.print(document, func(w io.Writer) error {
		return details(w, "usher", document.Version, "commit", document.Commit, "go", document.Go)
	})
}

type healthcheckCommand struct {
	URL string `help:"Address to ask. Default: /readyz at USHER_LISTEN." placeholder:"URL"`
}

// Help adds examples.
func (healthcheckCommand) Help() string {
	return `Exit code 0: ready. 1: not ready, or not running. For container images without curl.

Examples:
  usher healthcheck
  usher healthcheck --url http://127.0.0.1:8081/readyz`
}

// Run implements `usher healthcheck`.
func (c healthcheckCommand) Run(ctx context.Context, p *program) error {
	address := c.URL
	if address == "" {
		s, err := p.settings(settings.NeedNothing)
		if err != nil {
			return err
		}
		if address, err = readyAddress(s.Config.Listen); err != nil {
			return err
		}
	}
	if err := askReady(ctx, address); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	return p.print(map[string]bool{"ready": true}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "ready")
		return err
	})
}
