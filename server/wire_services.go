package server

import (
	"context"
	"net/http"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/lobby"
	"github.com/usher-meet/usher/server/participants"
	"github.com/usher-meet/usher/server/rooms"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/users"
)

// taskTiming is how LiveKit is made to follow the database. Other replicas' tasks are found within a second; one statement
// a second on an index costs nothing. A task runs at most as long as a call to LiveKit may take, for each room and person.
var taskTiming = livetasks.Timing{Poll: time.Second, Repeat: 5 * time.Second, Timeout: 30 * time.Second}

func (s *services) fillRooms(b *base) {
	c := b.config
	*s.rooms = rooms.Service{
		DB: b.db, Keys: b.keys, Limiter: b.limiter, CreateLimit: c.Limits.CreateRoom, JoinLimit: c.Limits.Join,
		Invitations: s.invitations, LiveKit: b.livekit, Recordings: s.recordings, Lobby: s.lobby, Telephony: s.telephony,
		Log: b.log, PublicURL: c.PublicURL, LiveKitURL: c.LiveKit.PublicURL,
		Defaults: rooms.Defaults{
			AccessLevel: c.Rooms.AccessLevel, Sources: c.Rooms.Sources, UsersCreate: c.Rooms.UsersCreate,
			AccountNames: c.Rooms.AccountNames,
		},
		TokenLife: c.LiveKit.TokenLife, SessionLife: c.LiveKit.SessionLife, Tasks: s.tasks,
		IdempotencyLife: c.Keep.Idempotency, KeepTokens: c.Keep.ExpiredTokens, KeepAudit: c.Keep.Audit,
	}
}

func (s *services) fillLobby(b *base) {
	c := b.config
	*s.lobby = lobby.Service{
		DB: b.db, Keys: b.keys, Rooms: s.rooms, Callers: s.callers, LiveKit: b.livekit, Limiter: b.limiter, Log: b.log,
		Store: &lobby.Store{Redis: b.redis, Rules: lobby.Rules{
			Waiting: c.Lobby.Waiting, Grace: c.Lobby.Grace, Accepted: c.Lobby.Accepted, Denied: c.Lobby.Denied,
			KeepPlace: c.Lobby.KeepPlace, Most: c.Lobby.MaxWaiting,
		}},
		NetworkLimit: c.Limits.KnockNetwork, RoomLimit: c.Limits.KnockRoom,
		Streams: lobby.StreamRules{
			Heartbeat: c.Streams.Heartbeat, MaxAge: c.Streams.MaxAge,
			PerTicket: c.Streams.PerTicket, PerUser: c.Streams.PerUser, PerNetwork: c.Streams.PerNetwork,
		},
		Draining: b.draining,
	}
}

func newParticipants(b *base, s *services) *participants.Service {
	return &participants.Service{
		DB: b.db, Keys: b.keys, LiveKit: b.livekit, Rooms: s.rooms, Tasks: s.tasks, Lobby: s.lobby, Log: b.log,
		Limiter: b.limiter, RaiseHandLimit: b.config.Limits.RaiseHand, RenameLimit: b.config.Limits.Rename,
		SessionLife: b.config.LiveKit.SessionLife, AccountNames: b.config.Rooms.AccountNames,
	}
}

func newUsers(b *base) *users.Service {
	return &users.Service{
		DB: b.db, Log: b.log, Limiter: b.limiter, LookupLimit: b.config.Limits.EmailLookup,
		Languages: b.config.Languages, OpenDirectory: b.config.Directory.Open,
	}
}

// clientConfig is the answer of ConfigService, but for telephony.
func clientConfig(b *base) *usherv1.Config {
	c := b.config
	out := &usherv1.Config{
		Languages: c.Languages,
		Recording: recordingConfig(c),
		RoomDefaults: &usherv1.RoomDefaults{
			AccessLevel: c.Rooms.AccessLevel, CanPublishSources: c.Rooms.Sources, UsersCreateRooms: c.Rooms.UsersCreate,
		},
		Livekit:     &usherv1.LiveKitConfig{ServerUrl: c.LiveKit.PublicURL},
		Invitations: &usherv1.InvitationsConfig{Enabled: b.mailer.Sender != nil},
		Branding:    c.Branding,
		Version:     settings.Version,
		Development: c.Development,
	}
	if c.OIDC.Issuer != "" || c.Development {
		out.SignInUrl = c.PublicURL + "/auth/login"
	}
	return out
}

// webhook receives LiveKit's events.
func (b *base) webhook(in *inbox.Inbox) http.Handler {
	keys := map[string]string{}
	for _, k := range b.config.LiveKit.WebhookKeys {
		keys[k.Key] = string(k.Secret)
	}
	if len(keys) == 0 {
		keys[b.config.LiveKit.Key] = string(b.config.LiveKit.Secret)
	}
	h := &livekit.Webhook{
		Keys: keys, Receive: in.Receive, Wants: in.Wants,
		Failed: func(ctx context.Context, err error) {
			b.log.ErrorContext(ctx, "an event from LiveKit was not stored", "err", err)
		},
	}
	h.Register(b.metrics)
	return h
}
