package settings

import (
	"slices"
	"strings"
	"time"
)

// crossRule is a rule about settings that are right by themselves but not together. It is asked only when each of them is.
type crossRule struct {
	names []string
	wrong func(c *config) bool
	text  string
}

var crossRules = []crossRule{
	{
		[]string{"USHER_SECRET", "USHER_SECRET_PREVIOUS"},
		func(c *config) bool { return c.Secret != "" && c.Secret == c.SecretPrevious },
		"USHER_SECRET and USHER_SECRET_PREVIOUS are equal: the previous one is the one before the change",
	},
	{
		[]string{"USHER_SECRET", "USHER_LIVEKIT_SECRET"},
		func(c *config) bool { return c.Secret != "" && c.Secret == c.LiveKit.Secret },
		"USHER_SECRET and USHER_LIVEKIT_SECRET are equal: whoever runs LiveKit could make tokens of this server",
	},
	{
		[]string{"USHER_LISTEN", "USHER_LISTEN_INTERNAL"},
		func(c *config) bool { return c.Listen == c.ListenInternal && !strings.HasSuffix(c.Listen, ":0") },
		"USHER_LISTEN and USHER_LISTEN_INTERNAL are equal: metrics need an address of their own",
	},
	{
		[]string{"USHER_PUBLIC_URL", "USHER_LIVEKIT_PUBLIC_URL"},
		func(c *config) bool {
			return strings.HasPrefix(c.PublicURL, "https://") && strings.HasPrefix(c.LiveKit.PublicURL, "ws://")
		},
		"USHER_LIVEKIT_PUBLIC_URL begins with ws://, which browsers refuse on the https:// pages of USHER_PUBLIC_URL: use wss://",
	},
	{
		[]string{"USHER_OIDC_ISSUER", "USHER_OIDC_CLIENT_ID"},
		func(c *config) bool { return c.OIDC.Issuer != "" && c.OIDC.ClientID == "" },
		"USHER_OIDC_CLIENT_ID is missing: USHER_OIDC_ISSUER is set",
	},
	{
		[]string{"USHER_OIDC_ISSUER", "USHER_OIDC_CLIENT_ID", "USHER_OIDC_AUDIENCE"},
		func(c *config) bool { return c.OIDC.Issuer == "" && (c.OIDC.ClientID != "" || c.OIDC.Audience != "") },
		"USHER_OIDC_ISSUER is missing: other USHER_OIDC_ settings need it",
	},
	{
		[]string{"USHER_OIDC_SCOPES"},
		func(c *config) bool { return !slices.Contains(c.OIDC.Scopes, "openid") },
		"USHER_OIDC_SCOPES lacks openid, without which there is no sign-in",
	},
	{
		[]string{"USHER_OIDC_CLIENT_IDS", "USHER_OIDC_AUDIENCE"},
		func(c *config) bool { return len(c.OIDC.ClientIDs) > 0 && c.OIDC.Audience == "" },
		"USHER_OIDC_CLIENT_IDS has no effect: set USHER_OIDC_AUDIENCE, or leave it out",
	},
	{
		[]string{"USHER_REDIS_TLS", "USHER_REDIS_CA_FILE"},
		func(c *config) bool { return c.Redis.CAFile != "" && !c.Redis.TLS },
		"USHER_REDIS_CA_FILE has no effect: set USHER_REDIS_TLS=true, or leave it out",
	},
	{
		[]string{"USHER_SESSION_IDLE_TIMEOUT", "USHER_SESSION_MAX_AGE"},
		func(c *config) bool { return c.Session.IdleTimeout > c.Session.MaxAge },
		"USHER_SESSION_IDLE_TIMEOUT is longer than USHER_SESSION_MAX_AGE",
	},
	{
		[]string{"USHER_SMTP_HOST", "USHER_MAIL_FROM"},
		func(c *config) bool { return c.Mail.Host != "" && c.Mail.From == "" },
		"USHER_MAIL_FROM is missing: USHER_SMTP_HOST is set",
	},
	{
		[]string{"USHER_SMTP_HOST", "USHER_SMTP_TLS"},
		func(c *config) bool {
			return c.Mail.Host != "" && c.Mail.TLS == MailNoTLS && !isLoopback(c.Mail.Host)
		},
		"USHER_SMTP_TLS=none is for a mail server on loopback only: use starttls or tls",
	},
	{
		[]string{"USHER_SMTP_USERNAME", "USHER_SMTP_PASSWORD"},
		func(c *config) bool { return (c.Mail.Username == "") != (c.Mail.Password == "") },
		"USHER_SMTP_USERNAME and USHER_SMTP_PASSWORD go together: set both, or neither",
	},
	{
		[]string{"USHER_SMTP_TIMEOUT"},
		func(c *config) bool { return c.Mail.Timeout > 25*time.Second },
		"USHER_SMTP_TIMEOUT is over 25s, which is when the job that sends is interrupted",
	},
	{
		[]string{"USHER_STORAGE_BUCKET", "USHER_STORAGE_FOLDER"},
		func(c *config) bool { return c.Storage.Bucket != "" && c.Storage.Folder != "" },
		"USHER_STORAGE_BUCKET and USHER_STORAGE_FOLDER exclude each other: name one place for recordings",
	},
	{
		[]string{
			"USHER_STORAGE_BUCKET",
			"USHER_STORAGE_ENDPOINT",
			"USHER_STORAGE_REGION",
			"USHER_STORAGE_KEY",
			"USHER_STORAGE_SECRET",
		},
		func(c *config) bool {
			s := c.Storage
			return s.Bucket != "" && (s.Endpoint == "" || s.Region == "" || s.Key == "" || s.Secret == "")
		},
		"USHER_STORAGE_BUCKET needs USHER_STORAGE_ENDPOINT, USHER_STORAGE_REGION, USHER_STORAGE_KEY and USHER_STORAGE_SECRET",
	},
	{
		[]string{"USHER_EGRESS_KEY", "USHER_EGRESS_SECRET"},
		func(c *config) bool { return (c.Egress.Key == "") != (c.Egress.Secret == "") },
		"USHER_EGRESS_KEY and USHER_EGRESS_SECRET go together: set both, or neither",
	},
	{
		[]string{"USHER_SUMMARY_URL", "USHER_SUMMARY_TOKEN"},
		func(c *config) bool { return (c.Summary.URL == "") != (c.Summary.Token == "") },
		"USHER_SUMMARY_URL and USHER_SUMMARY_TOKEN go together: set both, or neither",
	},
	{
		[]string{"USHER_STREAM_HEARTBEAT", "USHER_LOBBY_WAITING"},
		func(c *config) bool { return 2*c.Streams.Heartbeat > c.Lobby.Waiting },
		"USHER_STREAM_HEARTBEAT is more than half of USHER_LOBBY_WAITING: one that is late would lose a guest their place",
	},
}
