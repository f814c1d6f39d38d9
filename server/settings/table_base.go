package settings

import (
	"log/slog"
	"net/netip"
	"time"
)

// baseSettings are about what a server stands on and how people sign in.
var baseSettings = []section{
	{"Serving", "", []setting{
		{
			Name: "USHER_PUBLIC_URL", need: NeedServing, ownInDev: true,
			set: into(baseURL("https", "http", true), func(c *config) *string { return &c.PublicURL }),
			doc: "Address at which people reach this server, such as `https://meet.example.org`. `http://` is for " +
				"localhost only: browsers give cameras and microphones to secure pages.",
		},
		{
			Name: "USHER_LISTEN", standard: ":8080", ownInDev: true,
			set: into(listenAddress, func(c *config) *string { return &c.Listen }),
			doc: "Where the API listens, without TLS: put a proxy that ends TLS in front of it.",
		},
		{
			Name: "USHER_LISTEN_INTERNAL", standard: "127.0.0.1:8081", ownInDev: true,
			set: into(listenAddress, func(c *config) *string { return &c.ListenInternal }),
			doc: "Where `/metrics` and the detailed `/readyz` listen. Never open it to the public.",
		},
		{
			Name: "USHER_TRUSTED_PROXIES",
			set:  into(list(network), func(c *config) *[]netip.Prefix { return &c.TrustedProxies }),
			doc: "Addresses and networks of the proxies in front of this server. Only they are believed about " +
				"`X-Forwarded-For`, by which strangers are limited.",
		},
		{
			Name: "USHER_CONNECTIONS", standard: "0",
			set: into(count, func(c *config) *int { return &c.Connections.Most }),
			doc: "Connections that clients may have to this server. 0: as many as leave 256 file descriptors of the process, and " +
				"at least a quarter of them, for everything else.",
		},
		{
			Name: "USHER_CONNECTIONS_PER_NETWORK", standard: "1000",
			set: into(count, func(c *config) *int { return &c.Connections.PerNetwork }),
			doc: "Connections that one network may have to this server; 0 for no limit. Those of `USHER_TRUSTED_PROXIES` and of " +
				"this machine do not count.",
		},
		{
			Name: "USHER_ALLOWED_ORIGINS",
			set:  into(list(origin), func(c *config) *[]string { return &c.AllowedOrigins }),
			doc: "Other sites whose pages may call the API with bearer tokens, and be returned to after sign-in, such as " +
				"`https://portal.example.org`.",
		},
		{
			Name: "USHER_REQUEST_TIMEOUT", standard: "30s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.RequestTimeout }),
			doc: "How long a call may take. Streams have their own limits.",
		},
		{
			Name: "USHER_DRAIN_TIMEOUT", standard: "20s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.DrainTimeout }),
			doc: "How long a stopping server waits for calls in flight.",
		},
		{
			Name: "USHER_LOG_LEVEL", standard: "info",
			set: into(logLevel, func(c *config) *slog.Level { return &c.Log.Level }),
			doc: "`debug`, `info`, `warn` or `error`. No level logs names, addresses, tokens or PINs.",
		},
		{
			Name: "USHER_LOG_FORMAT", standard: "json",
			set: into(oneOf(map[string]bool{"json": false, "text": true}), func(c *config) *bool { return &c.Log.Text }),
			doc: "`json` or `text`.",
		},
	}},
	{"Secrets", "", []setting{
		{
			Name: "USHER_SECRET", Secret: true, need: NeedKeys, ownInDev: true,
			set: into(strongSecret, func(c *config) *Secret { return &c.Secret }),
			doc: "32 random bytes or more, from which every key of this instance is derived: `openssl rand -base64 32`.",
		},
		{
			Name: "USHER_SECRET_PREVIOUS", Secret: true, ownInDev: true,
			set: into(strongSecret, func(c *config) *Secret { return &c.SecretPrevious }),
			doc: "The secret before a change. Tokens made with it stay good as long as it is set.",
		},
		{
			Name: "USHER_SERVICE_TOKENS", Secret: true,
			set: into(serviceTokens, func(c *config) *[]ServiceToken { return &c.ServiceTokens }),
			doc: "Programs of the operator that may call: `name:sha256:scope+scope`, with commas between them. `usher " +
				"token hash` makes one. Scopes that open methods to services: `rooms` (creating rooms), `telephony` (dial-in).",
		},
	}},
	{"Database and Redis", "", []setting{
		{
			Name: "USHER_DATABASE_URL", Secret: true, show: showDatabase, need: NeedDatabase, ownInDev: true,
			set: into(databaseURL, func(c *config) *Secret { return &c.DatabaseURL }),
			doc: "`postgres://user@host/database`, with `:` and the password after the user, or `sqlite:` and the path of a file.",
		},
		{
			Name: "USHER_REDIS_ADDRESSES", need: NeedRedis, ownInDev: true,
			set: into(list(hostPort), func(c *config) *[]string { return &c.Redis.Addresses }),
			doc: "`host:port` of one Redis, of several nodes of a cluster, or of the sentinels.",
		},
		{
			Name: "USHER_REDIS_USERNAME", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.Redis.Username }),
			doc: "User name, if Redis wants one. It needs Usher's keys and channels: " +
				"`ACL SETUSER usher on >PASSWORD ~usher:1:* &usher:1:lobby:{*}:news +@all -@dangerous +info +role`. Without the " +
				"channels, which Redis 7 grants to nobody by itself and only as they are written here, lobbies refuse everybody: " +
				"`/readyz` and `usher doctor` say so.",
		},
		{
			Name: "USHER_REDIS_PASSWORD", Secret: true, ownInDev: true,
			set: into(anySecret, func(c *config) *Secret { return &c.Redis.Password }),
			doc: "Password, if Redis wants one.",
		},
		{
			Name: "USHER_REDIS_SENTINEL_MASTER", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.Redis.SentinelMaster }),
			doc: "Name of the master that the sentinels watch.",
		},
		{
			Name: "USHER_REDIS_TLS", standard: "false", ownInDev: true,
			set: into(boolean, func(c *config) *bool { return &c.Redis.TLS }),
			doc: "Speak TLS to Redis.",
		},
		{
			Name: "USHER_REDIS_CA_FILE", ownInDev: true,
			set: into(readableFile, func(c *config) *string { return &c.Redis.CAFile }),
			doc: "Certificate authorities (PEM) for Redis, instead of the system's.",
		},
	}},
	{"LiveKit", "", []setting{
		{
			Name: "USHER_LIVEKIT_URL", need: NeedServing, ownInDev: true,
			set: into(liveKitURL("https", "http"), func(c *config) *string { return &c.LiveKit.URL }),
			doc: "Address at which this server calls LiveKit, such as `http://livekit:7880`.",
		},
		{
			Name: "USHER_LIVEKIT_PUBLIC_URL", need: NeedServing, ownInDev: true,
			set: into(liveKitURL("wss", "ws"), func(c *config) *string { return &c.LiveKit.PublicURL }),
			doc: "Address that clients get, such as `wss://livekit.example.org`, or `wss://meet.example.org/livekit` where LiveKit " +
				"is below a path ([proxies.md](proxies.md)).",
		},
		{
			Name: "USHER_LIVEKIT_KEY", need: NeedServing, ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.LiveKit.Key }),
			doc: "API key, as in LiveKit's `keys`.",
		},
		{
			Name: "USHER_LIVEKIT_SECRET", Secret: true, need: NeedServing, ownInDev: true,
			set: into(liveKitSecret, func(c *config) *Secret { return &c.LiveKit.Secret }),
			doc: "API secret of that key, 32 characters or more.",
		},
		{
			Name: "USHER_LIVEKIT_WEBHOOK_KEYS", Secret: true, ownInDev: true,
			set: into(list(liveKitKey), func(c *config) *[]LiveKitKey { return &c.LiveKit.WebhookKeys }),
			doc: "Keys that sign LiveKit's webhooks to `/webhooks/livekit`, each as `key:secret`: the `api_key` of " +
				"LiveKit's `webhook`, and the one before while it changes. Without them USHER_LIVEKIT_KEY counts.",
		},
		{
			Name: "USHER_LIVEKIT_CA_FILE", ownInDev: true,
			set: into(readableFile, func(c *config) *string { return &c.LiveKit.CAFile }),
			doc: "Certificate authorities (PEM) for LiveKit, instead of the system's.",
		},
		{
			Name: "USHER_LIVEKIT_TOKEN_LIFE", standard: "10m",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.LiveKit.TokenLife }),
			doc: "For how long a new token is good for connecting.",
		},
		{
			Name: "USHER_LIVEKIT_SESSION_LIFE", standard: "12h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.LiveKit.SessionLife }),
			doc: "How long a participant may go on renewing a connection.",
		},
		{
			Name: "USHER_LIVEKIT_EMPTY_TIMEOUT", standard: "5m",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.LiveKit.EmptyTimeout }),
			doc: "How long LiveKit keeps a room that nobody has joined yet.",
		},
		{
			Name: "USHER_LIVEKIT_DEPARTURE_TIMEOUT", standard: "20s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.LiveKit.DepartureTimeout }),
			doc: "How long LiveKit keeps a room that everybody left.",
		},
		{
			Name: "USHER_LIVEKIT_MAX_PARTICIPANTS", standard: "0",
			set: into(count, func(c *config) *int { return &c.LiveKit.MaxParticipants }),
			doc: "Participants in one room; 0 for no limit.",
		},
		{
			Name: "USHER_LIVEKIT_SWEEP", standard: "30s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.LiveKit.Sweep }),
			doc: "How often all meetings are looked at, for the webhooks that got lost.",
		},
	}},
	{"Sign-in", "People sign in at an OpenID provider. Nobody can while `USHER_OIDC_ISSUER` is empty.", []setting{
		{
			Name: "USHER_OIDC_ISSUER", ownInDev: true,
			set: into(issuerURL, func(c *config) *string { return &c.OIDC.Issuer }),
			doc: "Issuer, exactly as the provider writes it. It is asked for its addresses when the first person signs in. " +
				"Register `{USHER_PUBLIC_URL}/auth/callback` and `{USHER_PUBLIC_URL}/auth/logout/callback` there.",
		},
		{
			Name: "USHER_OIDC_CLIENT_ID", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.OIDC.ClientID }),
			doc: "Client id of this server at the provider.",
		},
		{
			Name: "USHER_OIDC_CLIENT_SECRET", Secret: true, ownInDev: true,
			set: into(anySecret, func(c *config) *Secret { return &c.OIDC.ClientSecret }),
			doc: "Client secret. Empty for a public client: PKCE is always used.",
		},
		{
			Name: "USHER_OIDC_CA_FILE", ownInDev: true,
			set: into(readableFile, func(c *config) *string { return &c.OIDC.CAFile }),
			doc: "Certificate authorities (PEM) for the provider, instead of the system's.",
		},
		{
			Name: "USHER_OIDC_SCOPES", standard: "openid,profile,email",
			set: into(list(anyText), func(c *config) *[]string { return &c.OIDC.Scopes }),
			doc: "Scopes to ask for. ProConnect: `openid,email,given_name,usual_name`.",
		},
		{
			Name: "USHER_OIDC_FULL_NAME_CLAIMS",
			set:  into(list(anyText), func(c *config) *[]string { return &c.OIDC.FullNameClaims }),
			doc: "Claims that make the full name when `name` is empty: those that are there, joined by spaces. Empty: " +
				"`given_name`, and `family_name` or else `usual_name`.",
		},
		{
			Name: "USHER_OIDC_SHORT_NAME_CLAIM", standard: "given_name",
			set: into(anyText, func(c *config) *string { return &c.OIDC.ShortNameClaim }),
			doc: "Claim that is the short name.",
		},
		{
			Name: "USHER_OIDC_MATCH_BY_EMAIL", standard: "false",
			set: into(boolean, func(c *config) *bool { return &c.OIDC.MatchByEmail }),
			doc: "Whether somebody with an unknown `sub` gets the account that has their verified address. Only for " +
				"providers that verify addresses.",
		},
		{
			Name: "USHER_OIDC_TRUST_EMAIL", standard: "false",
			set: into(boolean, func(c *config) *bool { return &c.OIDC.TrustEmail }),
			doc: "Whether every address of the provider counts as verified, from each person's next sign-in on. Providers such " +
				"as Entra and Authentik verify none, and then whoever was added by e-mail stays pending for ever. " +
				"**Whoever can choose an address at the provider gets the rooms, recordings and, with " +
				"`USHER_OIDC_MATCH_BY_EMAIL`, the account of that address:** only for providers where nobody but " +
				"administrators sets addresses.",
		},
		{
			Name: "USHER_OIDC_CREATE_USERS", standard: "true",
			set: into(boolean, func(c *config) *bool { return &c.OIDC.CreateUsers }),
			doc: "Whether the first sign-in makes an account.",
		},
		{
			Name: "USHER_OIDC_AUDIENCE", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.OIDC.Audience }),
			doc: "Audience of the provider's access tokens that are accepted as bearer tokens. Empty: none are.",
		},
		{
			Name: "USHER_OIDC_CLIENT_IDS", ownInDev: true,
			set: into(list(anyText), func(c *config) *[]string { return &c.OIDC.ClientIDs }),
			doc: "Clients that such access tokens may have been issued to. Empty: any.",
		},
		{
			Name: "USHER_OIDC_EXTRA_PARAMS",
			set:  into(keyValues, func(c *config) *map[string]string { return &c.OIDC.ExtraParams }),
			doc:  "Parameters to add to the sign-in request, as `name=value`, such as `acr_values=eidas1`.",
		},
		{
			Name: "USHER_SESSION_IDLE_TIMEOUT", standard: "12h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Session.IdleTimeout }),
			doc: "A session ends this long after its last use.",
		},
		{
			Name: "USHER_SESSION_MAX_AGE", standard: "168h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Session.MaxAge }),
			doc: "A session ends this long after sign-in, however much it is used.",
		},
	}},
}
