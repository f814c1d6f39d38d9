package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/auth"
)

// This file notices proxies that the settings do not name. Behind one, all strangers are one network and share its limits.

const (
	// forwardedKey is where servers note for `usher doctor` that they noticed one, forwardedKept for how long the note
	// lasts, and forwardedAgain how often it is renewed while that goes on.
	forwardedKey   = "usher:1:forwarded"
	forwardedKept  = 24 * time.Hour
	forwardedAgain = time.Hour
)

// forwardedWatch is middleware that warns of it once.
type forwardedWatch struct {
	trusted []netip.Prefix
	redis   rueidis.Client
	log     *slog.Logger

	warnNear, warnFar sync.Once
	// noted is when the note was written last, in seconds since 1970.
	noted atomic.Int64
}

func (f *forwardedWatch) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer, ok := auth.ForwardedBy(r, f.trusted); ok {
			f.see(r.Context(), peer)
		}
		next.ServeHTTP(w, r)
	})
}

// sharedAddresses are those of carriers and clouds behind NAT (RFC 6598), where proxies are, too.
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// see warns. Peers with addresses that are not of the internet are proxies; others may be clients that wrote the header
// themselves, so they are not noted for the doctor and do not use up the warning about a proxy.
func (f *forwardedWatch) see(ctx context.Context, peer netip.Addr) {
	if !peer.IsPrivate() && !peer.IsLoopback() && !peer.IsLinkLocalUnicast() && !sharedAddresses.Contains(peer) {
		f.warnFar.Do(func() {
			f.log.WarnContext(ctx, "a peer on the internet sent X-Forwarded-For and is not believed: if it is a proxy of yours, "+
				"name it in USHER_TRUSTED_PROXIES")
		})
		return
	}
	f.warnNear.Do(func() {
		f.log.WarnContext(ctx, "a proxy sent X-Forwarded-For and is not believed, so all strangers behind it share the limits "+
			"of one network: name it in USHER_TRUSTED_PROXIES")
	})
	now, noted := time.Now().Unix(), f.noted.Load()
	if now-noted < int64(forwardedAgain.Seconds()) || !f.noted.CompareAndSwap(noted, now) {
		return
	}
	// Nobody waits for the note. One that Redis does not take is written an hour later.
	go func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		set := f.redis.B().Set().Key(forwardedKey).Value(prefixes(f.trusted)).Ex(forwardedKept).Build()
		_ = f.redis.Do(ctx, set).Error()
	}(context.WithoutCancel(ctx))
}

// prefixes are networks in one text.
func prefixes(list []netip.Prefix) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return strings.Join(out, ",")
}

// checkProxies reports a proxy that servers with the same settings noticed: a note of before the settings were changed
// says nothing.
func (d *doctor) checkProxies(ctx context.Context, redis rueidis.Client) {
	const name = "proxies"
	note, err := redis.Do(ctx, redis.B().Get().Key(forwardedKey).Build()).ToString()
	switch {
	case err == nil && note == prefixes(d.Config.TrustedProxies):
		d.bad(name, "requests came through a proxy that USHER_TRUSTED_PROXIES does not name: all strangers behind it share the "+
			"limits of one network. Name it there (docs/proxies.md), and look again after restarting usher serve")
	case err != nil && !rueidis.IsRedisNil(err):
		d.bad(name, "Redis does not tell: %v", err)
	default:
		d.good(name, "none was noticed that USHER_TRUSTED_PROXIES does not name")
	}
}
