// Package dev is `usher dev`: a working Usher on one machine, with everything embedded. The database is a SQLite file,
// Redis is in this process, livekit-server is a child process, and people sign in by picking a name.
//
// It owns the data folder and what is unsafe anywhere but on a developer's machine. `usher serve` does not use this
// package, so none of that can be switched on there. It listens on loopback, and refuses another address unless asked
// twice. It brings no rules of its own: the server is the one that production runs.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/settings"
)

// Options are the flags of `usher dev`. Every field is required, but for Insecure.
type Options struct {
	// Config holds the settings that development does not bring itself.
	Config settings.Config
	// Data is the folder that keeps everything.
	Data string
	// Host is the address to listen on.
	Host string
	// Insecure allows a Host that is not loopback.
	Insecure bool
	// Port is that of the API, InternalPort that of /metrics, LiveKitPort that of livekit-server.
	Port, InternalPort, LiveKitPort int
	// LiveKitServer is the path of livekit-server.
	LiveKitServer string
	// WebApp is the built web app, or nil.
	WebApp fs.FS
	// Out is where the welcome goes.
	Out io.Writer
	Log *slog.Logger
}

// environment holds the stand-ins that run beside the server.
type environment struct {
	folder  *folder
	redis   *embeddedRedis
	bus     *bus
	livekit *liveKit
	mail    *mailcatcher.Catcher
	config  settings.Config
}

// Run runs everything until ctx is done. It fails when something is in its way (a port in use, another `usher dev` on the
// same data, no livekit-server), and when livekit-server ends by itself.
func Run(ctx context.Context, o Options) (err error) {
	host, err := o.host()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e, err := start(ctx, o, host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	watching := make(chan struct{})
	defer func() { cancel(nil); <-watching }()
	go func() {
		defer close(watching)
		select {
		case <-e.livekit.ended:
			cancel(e.livekit.gone())
		case <-launcherGone(ctx):
			cancel(errLauncherGone)
		case <-ctx.Done():
		}
	}()
	people := &people{config: &e.config}
	err = server.Run(ctx, server.Options{
		Config:      e.config,
		Log:         o.Log,
		SignIn:      people.handler,
		Front:       &front{people: people, folder: e.folder.path},
		Development: (&inbox{config: &e.config, mail: e.mail}).handler(),
		WebApp:      o.WebApp,
		Ready: func(server.Addresses) {
			if err := e.welcome(ctx, o.Out, people); err != nil {
				cancel(err)
			}
		},
	})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// errLauncherGone stops what nobody sees any more.
var errLauncherGone = errors.New("the command that started this was killed")

// host is the address to listen on.
func (o Options) host() (netip.Addr, error) {
	host := o.Host
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ip, fmt.Errorf("--listen wants an IP address, not %q", o.Host)
	}
	if !ip.IsLoopback() && !o.Insecure {
		return ip, fmt.Errorf("usher dev lets anybody sign in as anybody, so it listens on loopback only: "+
			"add --insecure-listen if everybody who can reach %s may do that", ip)
	}
	return ip, nil
}

// checkPorts finds ports in use before anything is started: all of them at once.
func (o Options) checkPorts(host netip.Addr) error {
	var problems []error
	flags := map[int]string{}
	for _, p := range []struct {
		flag, what string
		host       netip.Addr
		port       int
	}{
		{"--port", "the API", host, o.Port},
		{"--internal-port", "metrics", localhost, o.InternalPort},
		{"--livekit-port", "LiveKit", host, o.LiveKitPort},
	} {
		switch other, twice := flags[p.port]; {
		case p.port < 1, p.port > 65535:
			problems = append(problems, fmt.Errorf("%s wants a port between 1 and 65535, not %d", p.flag, p.port))
			continue
		case twice:
			problems = append(
				problems, fmt.Errorf("%s and %s are both %d: choose another one for one of them", other, p.flag, p.port),
			)
			continue
		}
		flags[p.port] = p.flag
		l, err := net.Listen("tcp", netip.AddrPortFrom(p.host, uint16(p.port)).String()) //nolint:noctx // at once
		switch {
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			return fmt.Errorf("--listen: this machine has no address %s (%w)", p.host, err)
		case errors.Is(err, syscall.EACCES):
			problems = append(problems, fmt.Errorf("port %d, for %s, is not allowed: choose one above 1023 with %s (%w)",
				p.port, p.what, p.flag, err))
		case err != nil:
			problems = append(
				problems,
				fmt.Errorf("port %d, for %s, is not free: stop what uses it, or choose another one with %s (%w)",
					p.port, p.what, p.flag, err),
			)
		default:
			_ = l.Close()
		}
	}
	return errors.Join(problems...)
}

// start starts everything but the server.
func start(ctx context.Context, o Options, host netip.Addr) (e *environment, err error) {
	e = &environment{config: o.Config}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.stop())
		}
	}()
	// First, because it waits for one that is just stopping, and that one has the ports.
	if e.folder, err = openFolder(ctx, o.Data); err != nil {
		return e, err
	}
	if err := o.checkPorts(host); err != nil {
		return e, err
	}
	s, err := e.folder.secrets()
	if err != nil {
		return e, err
	}
	if e.redis, err = startRedis(e.folder.file(redisFile), s.RedisPassword, o.Log); err != nil {
		return e, err
	}
	var mailPort int
	if e.mail, mailPort, err = startMail(); err != nil {
		return e, err
	}
	e.configure(o, host, s)
	m := &e.config.Mail
	m.Host, m.Port, m.TLS, m.From = "127.0.0.1", mailPort, settings.MailNoTLS, mailFrom
	if err := migrate(ctx, string(e.config.DatabaseURL)); err != nil {
		return e, err
	}
	if err := e.folder.writeSettings(&e.config); err != nil {
		return e, err
	}
	if e.bus, err = startBus(e.config.Storage.Folder, s.RedisPassword, o.Log); err != nil {
		return e, err
	}
	e.livekit, err = startLiveKit(ctx, liveKitOptions{
		Bus:     e.bus,
		Program: o.LiveKitServer, Folder: e.folder.path, Host: host, Port: o.LiveKitPort,
		Key: s.LiveKitKey, Secret: s.LiveKitSecret,
		WebhookURL: "http://" + hostPort(local(host), o.Port) + "/webhooks/livekit",
	})
	return e, err
}

// configure fills in what development brings itself.
func (e *environment) configure(o Options, host netip.Addr, s *secrets) {
	c := &e.config
	c.Development = true
	c.Listen, c.ListenInternal = hostPort(host, o.Port), "127.0.0.1:"+strconv.Itoa(o.InternalPort)
	c.PublicURL = "http://" + c.Listen
	if local(host) == localhost {
		c.PublicURL = "http://localhost:" + strconv.Itoa(o.Port)
	}
	c.DatabaseURL = settings.Secret("sqlite:" + e.folder.file(databaseFile))
	c.Redis = e.redis.config()
	c.Secret, c.SecretPrevious = settings.Secret(s.Secret), ""
	c.Storage, c.Egress = settings.StorageConfig{Folder: e.folder.file(filesFolder)}, settings.EgressConfig{}
	c.LiveKit.URL = "http://" + hostPort(local(host), o.LiveKitPort)
	c.LiveKit.PublicURL = "ws://" + hostPort(local(host), o.LiveKitPort)
	c.LiveKit.Key, c.LiveKit.Secret, c.LiveKit.CAFile = s.LiveKitKey, settings.Secret(s.LiveKitSecret), ""
}

// localhost is what that name stands for, wherever it does not stand for ::1 as well.
var localhost = netip.MustParseAddr("127.0.0.1")

// local is the address at which this machine reaches what listens on host.
func local(host netip.Addr) netip.Addr {
	if host.IsUnspecified() {
		return localhost
	}
	return host
}

func hostPort(host netip.Addr, port int) string {
	return net.JoinHostPort(host.String(), strconv.Itoa(port))
}

func migrate(ctx context.Context, address string) error {
	db, err := dbtx.Open(ctx, address)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = migrations.Up(ctx, db.SQL(), db.Dialect)
	return err
}

// stop stops what was started, in reverse.
func (e *environment) stop() error {
	var err error
	if e.livekit != nil {
		e.livekit.stop()
	}
	if e.bus != nil {
		e.bus.stop()
	}
	if e.redis != nil {
		err = e.redis.stop()
	}
	if e.mail != nil {
		e.mail.Close()
	}
	if e.folder != nil {
		e.folder.close()
	}
	return err
}

// tokenLife is how long the token of the welcome is good.
const tokenLife = 24 * time.Hour

// deactivatedToken stands where the token would.
const deactivatedToken = "(the developer's account is deactivated: usher user reactivate developer@example.test)"

// welcome tells what runs where, with a call that works as it stands.
func (e *environment) welcome(ctx context.Context, w io.Writer, p *people) error {
	token, err := p.developerToken(ctx)
	if errors.Is(err, auth.ErrAccountInactive) {
		token, err = deactivatedToken, nil
	}
	if err != nil {
		return err
	}
	folder := e.folder.path
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, folder); err == nil && filepath.IsLocal(relative) {
			folder = relative
		}
	}
	_, err = fmt.Fprintf(w, `
Usher %s is running, for development: everybody who reaches it may sign in as anybody.

  %-34s  this server: web app, API, sign-in; /-/development has calls to copy
  %-34s  metrics; /readyz beside it
  %-34s  LiveKit: a real livekit-server, log in %s
  %-34s  mail: caught here, delivered to nobody
  %-34s  data: SQLite, the keys of Redis, secrets, recordings

Recordings are made by a stand-in for LiveKit's egress: each is two seconds of a tone.

Try it (the token is good for 24 h):

  curl %s/usher.v1.RoomsService/CreateRoom \
    -H 'Authorization: Bearer %s' \
    -H 'Content-Type: application/json' -d '{"name": "My first room"}'

Other commands find it with:  usher --config %s room list
Ctrl-C stops all of it. The data stay.

`, settings.Version, e.config.PublicURL, "http://"+e.config.ListenInternal+"/metrics", e.config.LiveKit.PublicURL,
		filepath.Join(folder, "livekit.log"), e.config.PublicURL+mailPath, folder,
		e.config.PublicURL, token, filepath.Join(folder, settingsFile))
	return err
}

// apiScopes are all scopes that an API token can have.
var apiScopes = []string{auth.ScopeRead, auth.ScopeRooms, auth.ScopeRecordings, auth.ScopeInvitations}
