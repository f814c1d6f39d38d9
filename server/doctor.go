package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/ent/migrations"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/settings"
)

// Check is one thing that was looked at.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail is the finding, and the remedy if it is bad. It has no secrets.
	Detail string `json:"detail"`
}

// DoctorOptions are what to look at, and for how long.
type DoctorOptions struct {
	Config settings.Config
	// Report is called with each check as it is done.
	Report func(Check)
	// WebhookWait is how long LiveKit has to tell about a room that is made for it. It tries for 15 s itself.
	WebhookWait time.Duration
}

// doctor looks at the surroundings of a server, one after another. What cannot be looked at, because something before it is
// bad, is left out.
type doctor struct {
	DoctorOptions
	db      *dbtx.DB
	livekit *livekit.Client
}

// Doctor looks at what a server with these settings stands on.
func Doctor(ctx context.Context, o DoctorOptions) {
	d := &doctor{DoctorOptions: o}
	if closeDatabase := d.openDatabase(ctx); closeDatabase != nil {
		defer closeDatabase()
	}
	d.checkAddresses(ctx)
	closeRedis := d.checkRedis(ctx)
	defer closeRedis()
	d.checkStorage(ctx)
	d.checkMail(ctx)
	if !d.checkLiveKit(ctx) {
		return
	}
	defer d.livekit.Close()
	if d.db != nil {
		d.checkWebhook(ctx)
		d.checkTelephony(ctx)
	}
	d.checkUnmute(ctx)
}

// checkStorage asks the storage of recordings, where there is one.
func (d *doctor) checkStorage(ctx context.Context) {
	if !d.Config.Storage.Enabled() {
		return
	}
	if err := CheckStorage(ctx, d.Config); err != nil {
		d.bad("storage", "recordings cannot be found: %v: the USHER_STORAGE_ settings say where they are", err)
		return
	}
	d.good("storage", "has the place for recordings")
}

func (d *doctor) good(name, format string, args ...any) {
	d.Report(Check{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) bad(name, format string, args ...any) {
	d.Report(Check{Name: name, Detail: fmt.Sprintf(format, args...)})
}

// openDatabase checks the database and its schema. It keeps the database only if that fits.
func (d *doctor) openDatabase(ctx context.Context) (closeDatabase func()) {
	db, err := dbtx.Open(ctx, string(d.Config.DatabaseURL))
	if err != nil {
		d.bad("database", "%v", err)
		return nil
	}
	kind := "PostgreSQL"
	if db.Dialect == dialect.SQLite {
		kind = "SQLite"
	}
	err = migrations.Check(ctx, db.SQL(), db.Dialect, settings.Version)
	switch {
	case errors.Is(err, migrations.ErrOld):
		d.good("database", "%s answers", kind)
		d.bad("schema", "%v: run usher migrate up", err)
	case errors.Is(err, migrations.ErrBreaking):
		d.good("database", "%s answers", kind)
		d.bad("schema", "%v: run a newer usher", err)
	case err != nil:
		d.bad("database", "%s cannot be used: %v", kind, err)
	default:
		d.good("database", "%s answers", kind)
		d.good("schema", "fits version %s", settings.Version)
		d.db = db
		return db.Close
	}
	db.Close()
	return nil
}

// checkMail connects to the mail server as for a letter, and sends none.
func (d *doctor) checkMail(ctx context.Context) {
	err := CheckMail(ctx, d.Config)
	switch {
	case errors.Is(err, ErrMailOff):
		d.good("mail", "is switched off: nobody can be invited (USHER_SMTP_HOST)")
	case err != nil:
		d.bad("mail", "%v: USHER_SMTP_HOST and the settings beside it say how the server is reached", err)
	default:
		d.good("mail", "%s takes letters", d.Config.Mail.Host)
	}
}

// checkRedis checks that Redis answers, and keeps what it is told.
func (d *doctor) checkRedis(ctx context.Context) (closeRedis func()) {
	client, err := OpenRedis(d.Config.Redis)
	if err != nil {
		d.bad("redis", "%v: USHER_REDIS_ADDRESSES says where it is", err)
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	switch refused, err := probeRedis(ctx, client); {
	case err != nil:
		d.bad("redis", "does not answer: %v", err)
		return client.Close
	case len(refused) > 0:
		d.bad("redis", "refuses %s: USHER_REDIS_USERNAME in docs/settings.md tells what its user needs", strings.Join(refused, ", "))
	default:
		d.good("redis", "answers, and refuses nothing that is needed")
	}
	for node, c := range client.Nodes() {
		info, err := c.Do(ctx, c.B().Info().Section("persistence").Build()).ToString()
		switch {
		case err != nil || !strings.Contains(info, "aof_enabled:"):
			d.good("redis-aof", "%s does not tell whether it keeps its data: in production it needs appendonly yes", node)
		case !strings.Contains(info, "aof_enabled:1"):
			d.bad("redis-aof", "%s forgets sessions and lobbies when it restarts: set appendonly yes", node)
		default:
			d.good("redis-aof", "%s keeps its data", node)
		}
	}
	d.checkProxies(ctx, client)
	return client.Close
}

// maxSkew is by how much clocks may differ: tokens of LiveKit's API are refused from a minute on.
const maxSkew = 10 * time.Second

// checkLiveKit checks that LiveKit can be used.
func (d *doctor) checkLiveKit(ctx context.Context) bool {
	c := d.Config.LiveKit
	var err error
	d.livekit, err = livekit.New(livekit.Config{URL: c.URL, Key: c.Key, Secret: string(c.Secret), CAFile: c.CAFile})
	if err != nil {
		d.bad("livekit", "%v", err)
		return false
	}
	ahead, err := d.livekit.Reach(ctx)
	if err != nil {
		d.bad("livekit", "%v: USHER_LIVEKIT_URL says where it is", err)
		return false
	}
	d.good("livekit", "answers at %s", c.URL)
	if ahead.Abs() > maxSkew {
		d.bad("clock", "LiveKit's clock differs by %s from this machine's: let both keep the time (NTP)", ahead.Round(time.Second))
	} else {
		d.good("clock", "LiveKit's and this machine's agree")
	}
	switch err := d.livekit.CheckKey(ctx); {
	case errors.Is(err, livekit.ErrKey):
		d.bad(
			"livekit-key",
			"LiveKit does not take USHER_LIVEKIT_KEY with USHER_LIVEKIT_SECRET: compare them with keys in its settings",
		)
		return false
	case err != nil:
		d.bad("livekit-key", "%v", err)
		return false
	}
	d.good("livekit-key", "LiveKit takes it")
	return true
}

// webhookPoll is how often the inbox is looked at.
const webhookPoll = 100 * time.Millisecond

// checkWebhook makes a room, ends it, and waits for LiveKit's event about that to be stored by a running server.
func (d *doctor) checkWebhook(ctx context.Context) {
	const name = "webhook"
	client, err := jobs.New(d.db, nil, jobs.Options{})
	if err != nil {
		d.bad(name, "%v", err)
		return
	}
	room, start := uuid.New(), time.Now()
	if err := d.livekit.MakeRoom(ctx, room); err != nil {
		d.bad(name, "%v", err)
		return
	}
	if err := d.livekit.CloseRoom(ctx, room); err != nil {
		d.bad(name, "%v", err)
		return
	}
	for ; time.Since(start) < d.WebhookWait && ctx.Err() == nil; time.Sleep(webhookPoll) {
		found, err := client.List(ctx, jobs.Filter{Kind: "livekit.event", Limit: 1000})
		if err != nil {
			d.bad(name, "%v", err)
			return
		}
		for _, j := range found {
			if strings.Contains(string(j.Args), room.String()) {
				d.good(name, "LiveKit's event came after %s", time.Since(start).Round(time.Millisecond))
				return
			}
		}
	}
	d.bad(name, "LiveKit made a room and told nothing of it within %s: is usher serve running, and is "+
		"{where LiveKit reaches it}/webhooks/livekit among webhook.urls of LiveKit, with webhook.api_key %s?", d.WebhookWait, d.webhookKeys())
}

// webhookKeys are the names of the keys with which LiveKit may sign.
func (d *doctor) webhookKeys() string {
	var names []string
	for _, k := range d.Config.LiveKit.WebhookKeys {
		names = append(names, k.Key)
	}
	if len(names) == 0 {
		names = append(names, d.Config.LiveKit.Key)
	}
	return strings.Join(names, " or ")
}
