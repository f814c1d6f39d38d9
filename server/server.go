// Package server assembles Usher: it opens what the server stands on (wire.go), builds each service once, and serves them
// (http.go). It is the only package that knows every other one.
package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/settings"
)

// Services are the fully qualified names of the services that the server mounts.
var Services = []string{
	usherv1connect.RoomsServiceName,
	usherv1connect.LobbyServiceName,
	usherv1connect.ParticipantsServiceName,
	usherv1connect.RecordingsServiceName,
	usherv1connect.TelephonyServiceName,
	usherv1connect.InvitationsServiceName,
	usherv1connect.UsersServiceName,
	usherv1connect.ConfigServiceName,
}

// Options are the settings, and what `usher dev` and tests put in the place of parts.
type Options struct {
	Config settings.Config
	Log    *slog.Logger
	// Ready is called once, when both listeners are open. It may be nil.
	Ready func(Addresses)
	// Redis replaces the client that is opened from Config.
	Redis rueidis.Client
	// SignIn replaces the handlers below /auth/.
	SignIn func(SignInParts) http.Handler
	// WebApp is the built web app. Nil: there is none, and / says so.
	WebApp fs.FS
	// Development serves what is below /-/development/. It is nil but for `usher dev`.
	Development http.Handler
	// Front is the page of `usher dev`, at /-/development and, without a web app, at /.
	Front http.Handler
}

// Addresses are where the server listens.
type Addresses struct {
	API, Internal net.Addr
}

// SignInParts are the parts that a replacement of the sign-in handlers needs.
type SignInParts struct {
	DB       *dbtx.DB
	Sessions *auth.Sessions
	Keys     *auth.Keys
	Log      *slog.Logger
}

// ErrNoDatabase means that the database does not answer, or not to us.
var ErrNoDatabase = errors.New("the database cannot be used")

// Run serves until ctx is done, then drains and returns. It refuses to start on a database that does not fit.
func Run(ctx context.Context, o Options) error {
	b, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.checkSchema(ctx); err != nil {
		return err
	}
	s, err := newServices(b)
	if err != nil {
		return err
	}
	h, err := newHandlers(b, s, o)
	if err != nil {
		return err
	}
	l, err := listenAll(ctx, o.Config)
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	// The workers end before the parts that they use are closed.
	stopWork := s.startWork(ctx, failed)
	defer stopWork()

	api, internal := newHTTPServer(b.log, h.api), newHTTPServer(b.log, h.internal)
	bounded := b.boundConnections(l.api)
	go func() { failed <- api.Serve(bounded) }()
	go func() { failed <- internal.Serve(l.internal) }()
	if o.Ready != nil {
		o.Ready(Addresses{API: l.api.Addr(), Internal: l.internal.Addr()})
	}
	b.log.InfoContext(ctx, "serving", "version", settings.Version)
	select {
	case err := <-failed:
		return errors.Join(err, api.Close(), internal.Close())
	case <-ctx.Done():
	}
	return b.drain(ctx, api, internal)
}

// checkSchema says whether this version may run on the database.
func (b *base) checkSchema(ctx context.Context) error {
	err := migrations.Check(ctx, b.db.SQL(), b.db.Dialect, settings.Version)
	if err == nil || errors.Is(err, migrations.ErrOld) || errors.Is(err, migrations.ErrBreaking) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoDatabase, err)
}

// startWork starts the background work. A failure that the server cannot go on with is sent to failed. The returned function
// ends the work and waits for it.
func (s *services) startWork(ctx context.Context, failed chan<- error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	for _, run := range []func(context.Context){
		s.taskWorker.Run, s.lobby.RunNews, s.lobby.RunStreams, s.callers.Run, s.telephony.Trunks.Run, s.wrongPINs.Run,
	} {
		work.Go(func() { run(ctx) })
	}
	work.Go(func() {
		if err := s.jobs.Run(ctx); err != nil && ctx.Err() == nil {
			failed <- err
		}
	})
	return func() {
		cancel()
		s.inbox.Wait()
		work.Wait()
	}
}

// drain lets calls in flight end. New connections are refused from now on, and the internal port says that it is not ready
// until the end.
func (b *base) drain(ctx context.Context, api, internal *http.Server) error {
	b.health.stopping.Store(true)
	close(b.draining)
	b.log.InfoContext(ctx, "stopping")
	// ctx is done; draining needs one that is not.
	drainCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.config.DrainTimeout)
	defer cancel()
	if err := api.Shutdown(drainCtx); err != nil {
		b.log.WarnContext(ctx, "calls were cut off by the drain timeout", "timeout", b.config.DrainTimeout)
		if err := api.Close(); err != nil {
			return err
		}
	}
	return internal.Close()
}
