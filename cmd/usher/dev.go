package main

import (
	"context"
	"strings"

	"github.com/usher-meet/usher/server/dev"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/web"
)

type devCommand struct {
	Data           string `default:".usher" type:"path" placeholder:"FOLDER" help:"Where everything is kept. Default: ${default}."`
	Listen         string `default:"127.0.0.1" placeholder:"ADDRESS" help:"Address to listen on. Default: ${default}."`
	InsecureListen bool   `help:"Allow an address other than loopback: everybody who reaches it may sign in as anybody."`
	Port           int    `default:"8080" help:"Port of the API."`
	InternalPort   int    `default:"8081" help:"Port of metrics, on loopback."`
	LivekitPort    int    `default:"7880" help:"Port of LiveKit."`
	LivekitServer  string `placeholder:"PROGRAM" help:"What to run as LiveKit. Default: USHER_DEV_LIVEKIT_SERVER, else in PATH."`
}

// Help adds examples.
func (devCommand) Help() string {
	return `Everything is embedded: a SQLite file, Redis in this process, a real livekit-server as a child, and a sign-in where one
picks a name, without passwords. It prints where everything is, with a call to copy. Ctrl-C stops all of it; the data
stay. Settings of the environment hold as in production, except for what it brings itself.

Examples:
  usher dev
  usher dev --data /tmp/usher --port 9090 --internal-port 9091 --livekit-port 9880`
}

// Run implements `usher dev`.
func (c devCommand) Run(ctx context.Context, p *program) error {
	s, err := settings.Loader{Environ: p.environ, File: p.globals.Settings, Development: true}.Load()
	if err != nil {
		return err
	}
	for _, v := range s.Values {
		if v.Name() == "USHER_LOG_FORMAT" && v.Source == settings.SourceDefault {
			s.Config.Log.Text = true // people watch it
		}
	}
	if len(s.Ignored) > 0 {
		p.tell("usher dev brings its own, so these settings are ignored: %s", strings.Join(s.Ignored, ", "))
	}
	return dev.Run(ctx, dev.Options{
		Config: s.Config, Data: c.Data, Host: c.Listen, Insecure: c.InsecureListen,
		Port: c.Port, InternalPort: c.InternalPort, LiveKitPort: c.LivekitPort, LiveKitServer: c.liveKitServer(p),
		WebApp: web.Files(), Out: p.stdout, Log: p.logger(s.Config.Log),
	})
}

func (c devCommand) liveKitServer(p *program) string {
	if c.LivekitServer != "" {
		return c.LivekitServer
	}
	for _, line := range p.environ {
		if path, ok := strings.CutPrefix(line, settings.DevLiveKitServer+"="); ok && path != "" {
			return path
		}
	}
	return "livekit-server"
}
