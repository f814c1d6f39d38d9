package main

import (
	"context"
	"os"

	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/web"
)

type serveCommand struct{}

// Help adds examples.
func (serveCommand) Help() string {
	return `Serves until it is interrupted, then finishes the calls in flight. The database must be up to date: see usher migrate.
Any number of servers may share one database and one Redis.

Examples:
  usher serve
  usher --config /etc/usher.env serve`
}

// Run implements `usher serve`.
func (serveCommand) Run(ctx context.Context, p *program) error {
	s, err := p.settings(settings.NeedEverything)
	if err != nil {
		return err
	}
	log := p.logger(s.Config.Log)
	if os.Getenv("GOGC") == "" { // else the operator decides, in Go's own terms
		go boundGarbage(ctx)
	}
	return server.Run(ctx, server.Options{Config: s.Config, Log: log, WebApp: web.Files(), Ready: func(a server.Addresses) {
		log.InfoContext(ctx, "listening", "api", a.API.String(), "internal", a.Internal.String(), "version", settings.Version)
	}})
}
