package settings

import (
	"log/slog"
	"net/netip"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/telephony"
)

// config shortens the places of values in the table.
type config = Config

// table has every setting, in the order of the documentation.
var table = []section{
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
				"token hash` makes one. Scopes: `read`, `rooms`, `recordings`, `invitations`, `telephony`.",
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
			doc: "User name, if Redis wants one.",
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
			set: into(baseURL("https", "http", false), func(c *config) *string { return &c.LiveKit.URL }),
			doc: "Address at which this server calls LiveKit, such as `http://livekit:7880`.",
		},
		{
			Name: "USHER_LIVEKIT_PUBLIC_URL", need: NeedServing, ownInDev: true,
			set: into(baseURL("wss", "ws", false), func(c *config) *string { return &c.LiveKit.PublicURL }),
			doc: "Address that clients get, such as `wss://livekit.example.org`.",
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
			doc: "Keys that sign LiveKit's webhooks to `/webhooks/livekit`, each as `key:secret`: the `api_key` of LiveKit's `webhook`, and " +
				"the one before while it changes. Without them USHER_LIVEKIT_KEY counts.",
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
	{"Rooms and people", "", []setting{
		{
			Name: "USHER_ROOMS_ACCESS_LEVEL", standard: "public",
			set: into(oneOf(map[string]usherv1.AccessLevel{
				"public":     usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC,
				"trusted":    usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED,
				"restricted": usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
			}), func(c *config) *usherv1.AccessLevel { return &c.Rooms.AccessLevel }),
			doc: "Access level of new rooms when nobody says otherwise: `public` (everybody enters), `trusted` (signed-in " +
				"people enter) or `restricted` (members enter). The others wait in the lobby.",
		},
		{
			Name: "USHER_ROOMS_SOURCES", standard: "camera,microphone,screen_share,screen_share_audio",
			set: into(trackSources, func(c *config) *[]usherv1.TrackSource { return &c.Rooms.Sources }),
			doc: "What participants may publish in rooms that do not restrict it; `none` for nothing.",
		},
		{
			Name: "USHER_ROOMS_CREATION", standard: "users",
			set: into(oneOf(map[string]bool{"users": true, "services": false}), func(c *config) *bool { return &c.Rooms.UsersCreate }),
			doc: "Who creates rooms: `users` (everybody who is signed in, and services) or `services` only.",
		},
		{
			Name: "USHER_DISPLAY_NAMES", standard: "chosen",
			set: into(oneOf(map[string]bool{"account": true, "chosen": false}), func(c *config) *bool { return &c.Rooms.AccountNames }),
			doc: "`chosen`: signed-in people choose how they are called in a meeting. `account`: they are called what " +
				"their account says.",
		},
		{
			Name: "USHER_DIRECTORY_OPEN", standard: "false",
			set: into(boolean, func(c *config) *bool { return &c.Directory.Open }),
			doc: "Whether signed-in people can search others by name. Otherwise only an exact e-mail address finds somebody.",
		},
		{
			Name: "USHER_LANGUAGES", standard: "en,fr,de,nl",
			set: into(list(languageTag), func(c *config) *[]string { return &c.Languages }),
			doc: "Languages of mails and pages; the first is the default.",
		},
	}},
	{"Lobby and streams", "", []setting{
		{
			Name: "USHER_LOBBY_WAITING", standard: "30s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Lobby.Waiting }),
			doc: "How long somebody waits in the lobby without a sign of life. Streams and clients that poll show one more often.",
		},
		{
			Name: "USHER_LOBBY_GRACE", standard: "10s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Lobby.Grace }),
			doc: "How long a decision still finds somebody who stopped showing signs of life.",
		},
		{
			Name: "USHER_LOBBY_ACCEPTED", standard: "6h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Lobby.Accepted }),
			doc: "How long an admission holds, if the meeting does not end before.",
		},
		{
			Name: "USHER_LOBBY_DENIED", standard: "5m",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Lobby.Denied }),
			doc: "How long somebody who was turned away cannot ask again. It doubles each time, up to a day.",
		},
		{
			Name: "USHER_LOBBY_KEEP_PLACE", standard: "15m",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Lobby.KeepPlace }),
			doc: "How long after they asked first somebody whose entry was lost gets their place back.",
		},
		{
			Name: "USHER_LOBBY_MAX_WAITING", standard: "200",
			set: into(count, func(c *config) *int { return &c.Lobby.MaxWaiting }),
			doc: "How many people may wait in one room.",
		},
		{
			Name: "USHER_PHONE_GRACE", standard: "30s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Callers.Grace }),
			doc: "How long people on the phone may be in a meeting that everybody else has left. Then it is ended.",
		},
		{
			Name: "USHER_STREAM_HEARTBEAT", standard: "10s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Streams.Heartbeat }),
			doc: "How often a stream says that it is alive. Well below `USHER_LOBBY_WAITING`, and below the time-outs of proxies.",
		},
		{
			Name: "USHER_STREAM_MAX_AGE", standard: "30m",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Streams.MaxAge }),
			doc: "When a stream ends; clients connect again and lose nothing.",
		},
		{
			Name: "USHER_STREAMS_PER_TICKET", standard: "2",
			set: into(count, func(c *config) *int { return &c.Streams.PerTicket }),
			doc: "Streams that one guest may have open; 0 for no limit.",
		},
		{
			Name: "USHER_STREAMS_PER_USER", standard: "20",
			set: into(count, func(c *config) *int { return &c.Streams.PerUser }),
			doc: "Streams that one user may have open; 0 for no limit.",
		},
		{
			Name: "USHER_STREAMS_PER_NETWORK", standard: "500",
			set: into(count, func(c *config) *int { return &c.Streams.PerNetwork }),
			doc: "Streams that one network may have open; 0 for no limit.",
		},
	}},
	{"Recording", "LiveKit's egress makes the files and puts them into the storage: see [recording.md](recording.md). Nothing is " +
		"recorded while `USHER_STORAGE_BUCKET` and `USHER_STORAGE_FOLDER` are empty.", []setting{
		{
			Name: "USHER_RECORDING_MODES", standard: "screen_recording,transcript",
			set: into(recordingModes, func(c *config) *[]usherv1.RecordingMode { return &c.Recording.Modes }),
			doc: "What may be recorded: `screen_recording` (MP4), `transcript` (sound for the summary service, OGG), or `none`.",
		},
		{
			Name: "USHER_RECORDING_FOLDER", standard: "recordings",
			set: into(objectFolder, func(c *config) *string { return &c.Recording.Folder }),
			doc: "Folder of the files in the storage. Files from before a change are found where they are, but not under `/media/`.",
		},
		{
			Name: "USHER_RECORDING_EXPIRE_DAYS", standard: "0",
			set: into(days, func(c *config) *int { return &c.Recording.ExpireDays }),
			doc: "How many days after it was saved a recording can be downloaded; 0 for ever. People may keep single ones for ever.",
		},
		{
			Name: "USHER_RECORDING_DELETE_EXPIRED", standard: "false",
			set: into(boolean, func(c *config) *bool { return &c.Recording.DeleteExpired }),
			doc: "Whether this server deletes the files of expired recordings. Otherwise that is for the life-cycle rules of the bucket.",
		},
		{
			Name: "USHER_RECORDING_MAX_DURATION", standard: "0s",
			set: into(duration, func(c *config) *time.Duration { return &c.Recording.MaxDuration }),
			doc: "After this long a recording is stopped, give or take a sweep; 0s for no limit. LiveKit's egress has limits of its own.",
		},
		{
			Name: "USHER_RECORDING_TRANSCRIPT_DOWNLOAD", standard: "false",
			set: into(boolean, func(c *config) *bool { return &c.Recording.TranscriptDownload }),
			doc: "Whether owners and administrators of a transcript may download its sound.",
		},
		{
			Name: "USHER_RECORDING_SWEEP", standard: "30s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Recording.Sweep }),
			doc: "How often recordings are compared with LiveKit and the storage, for messages of theirs that got lost.",
		},
		{
			Name: "USHER_STORAGE_ENDPOINT", ownInDev: true,
			set: into(baseURL("https", "http", false), func(c *config) *string { return &c.Storage.Endpoint }),
			doc: "Address of the S3 store for this server, without the bucket, such as `https://s3.eu-west-3.amazonaws.com`.",
		},
		{
			Name: "USHER_STORAGE_PUBLIC_ENDPOINT", ownInDev: true,
			set: into(baseURL("https", "http", false), func(c *config) *string { return &c.Storage.PublicEndpoint }),
			doc: "Address of the store for browsers, in download addresses. Empty: `USHER_STORAGE_ENDPOINT`.",
		},
		{
			Name: "USHER_STORAGE_PROXY_ENDPOINT", ownInDev: true,
			set: into(baseURL("https", "http", false), func(c *config) *string { return &c.Storage.ProxyEndpoint }),
			doc: "Address of the store for a proxy that fetches files with the headers of `/media-auth`. Empty: `USHER_STORAGE_ENDPOINT`.",
		},
		{
			Name: "USHER_STORAGE_BUCKET", ownInDev: true,
			set: into(bucketName, func(c *config) *string { return &c.Storage.Bucket }),
			doc: "Bucket of the recordings.",
		},
		{
			Name: "USHER_STORAGE_REGION", standard: "us-east-1", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.Storage.Region }),
			doc: "Region of the bucket. Stores without regions take any, as a rule.",
		},
		{
			Name: "USHER_STORAGE_KEY", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.Storage.Key }),
			doc: "Access key of this server, which may read, delete and list the objects of the bucket.",
		},
		{
			Name: "USHER_STORAGE_SECRET", Secret: true, ownInDev: true,
			set: into(anySecret, func(c *config) *Secret { return &c.Storage.Secret }),
			doc: "Secret key of that access key.",
		},
		{
			Name: "USHER_STORAGE_STYLE", standard: "path", ownInDev: true,
			set: into(oneOf(map[string]bool{"path": false, "host": true}), func(c *config) *bool { return &c.Storage.VirtualHost }),
			doc: "Where the bucket is in the addresses of objects: `path` or `host`.",
		},
		{
			Name: "USHER_STORAGE_CA_FILE", ownInDev: true,
			set: into(readableFile, func(c *config) *string { return &c.Storage.CAFile }),
			doc: "Certificate authorities (PEM) for the store, instead of the system's.",
		},
		{
			Name: "USHER_STORAGE_FOLDER", ownInDev: true,
			set: into(absolutePath, func(c *config) *string { return &c.Storage.Folder }),
			doc: "A folder on this machine instead of a bucket, which LiveKit's egress and all replicas share.",
		},
		{
			Name: "USHER_STORAGE_EVENT_SECRET", Secret: true, ownInDev: true,
			set: into(strongSecret, func(c *config) *Secret { return &c.Storage.EventSecret }),
			doc: "What the store sends with its events to `/webhooks/storage`, as bearer token or as password. Empty: it sends none.",
		},
		{
			Name: "USHER_PROXY_SECRET", Secret: true, ownInDev: true,
			set: into(strongSecret, func(c *config) *Secret { return &c.Storage.ProxySecret }),
			doc: "What a proxy sends in `X-Usher-Proxy-Secret` to `/media-auth`. Empty: only the internal listener answers there.",
		},
		{
			Name: "USHER_EGRESS_ENDPOINT", ownInDev: true,
			set: into(baseURL("https", "http", false), func(c *config) *string { return &c.Egress.Endpoint }),
			doc: "Address of the S3 store for LiveKit's egress. Empty: `USHER_STORAGE_ENDPOINT`.",
		},
		{
			Name: "USHER_EGRESS_KEY", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.Egress.Key }),
			doc: "Access key for LiveKit's egress, which may put objects into the bucket and nothing else. Empty: that of this server.",
		},
		{
			Name: "USHER_EGRESS_SECRET", Secret: true, ownInDev: true,
			set: into(anySecret, func(c *config) *Secret { return &c.Egress.Secret }),
			doc: "Secret key of that access key.",
		},
		{
			Name: "USHER_EGRESS_FOLDER", ownInDev: true,
			set: into(absolutePath, func(c *config) *string { return &c.Egress.Folder }),
			doc: "Where the folder `USHER_STORAGE_FOLDER` is for LiveKit's egress. Empty: at the same place.",
		},
		{
			Name: "USHER_SUMMARY_URL",
			set:  into(summaryURL, func(c *config) *string { return &c.Summary.URL }),
			doc:  "Address to which each transcript's sound is announced. Empty: transcripts are only kept.",
		},
		{
			Name: "USHER_SUMMARY_TOKEN", Secret: true,
			set: into(anySecret, func(c *config) *Secret { return &c.Summary.Token }),
			doc: "Bearer token for that address.",
		},
		{
			Name: "USHER_SUMMARY_CA_FILE",
			set:  into(readableFile, func(c *config) *string { return &c.Summary.CAFile }),
			doc:  "Certificate authorities (PEM) for that address, instead of the system's.",
		},
	}},
	{"Mail", "Invitations and notices are sent through a mail server. Nothing is while `USHER_SMTP_HOST` is empty: then nobody can be " +
		"invited. `usher mail test --to ADDRESS` tries it.", []setting{
		{
			Name: "USHER_SMTP_HOST", ownInDev: true,
			set: into(mailHost, func(c *config) *string { return &c.Mail.Host }),
			doc: "Name of the mail server, which its certificate must have.",
		},
		{
			Name: "USHER_SMTP_PORT", standard: "587", ownInDev: true,
			set: into(portNumber, func(c *config) *int { return &c.Mail.Port }),
			doc: "Port of the mail server: 587 for `starttls`, 465 for `tls`, as a rule.",
		},
		{
			Name: "USHER_SMTP_TLS", standard: "starttls", ownInDev: true,
			set: into(oneOf(map[string]MailTLS{
				"starttls": MailStartTLS, "tls": MailImplicitTLS, "none": MailNoTLS,
			}), func(c *config) *MailTLS { return &c.Mail.TLS }),
			doc: "`starttls` (the server must offer it), `tls` (from the first byte) or `none` (a server on loopback only).",
		},
		{
			Name: "USHER_SMTP_CA_FILE", ownInDev: true,
			set: into(readableFile, func(c *config) *string { return &c.Mail.CAFile }),
			doc: "Certificate authorities (PEM) for the mail server, instead of the system's.",
		},
		{
			Name: "USHER_SMTP_USERNAME", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.Mail.Username }),
			doc: "User name, if the mail server wants one.",
		},
		{
			Name: "USHER_SMTP_PASSWORD", Secret: true, ownInDev: true,
			set: into(anySecret, func(c *config) *Secret { return &c.Mail.Password }),
			doc: "Password of that user.",
		},
		{
			Name: "USHER_SMTP_HELLO", ownInDev: true,
			set: into(anyText, func(c *config) *string { return &c.Mail.Hello }),
			doc: "Name with which this server introduces itself. Empty: the domain of `USHER_MAIL_FROM`.",
		},
		{
			Name: "USHER_SMTP_TIMEOUT", standard: "20s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Mail.Timeout }),
			doc: "How long one sending may take, 25 s at most.",
		},
		{
			Name: "USHER_SMTP_PER_DOMAIN", standard: "5",
			set: into(count, func(c *config) *int { return &c.Mail.PerDomain }),
			doc: "How many letters to one domain each server process has on their way at a time: two have twice as many. 0 for no limit.",
		},
		{
			Name: "USHER_MAIL_PER_USER", standard: "500",
			set: into(count, func(c *config) *int { return &c.Mail.PerUser }),
			doc: "How many letters about invitations one user may have sent on a day (UTC).",
		},
		{
			Name: "USHER_MAIL_PER_INSTANCE", standard: "2000",
			set: into(count, func(c *config) *int { return &c.Mail.PerInstance }),
			doc: "How many letters about invitations all users together may have sent on a day (UTC).",
		},
		{
			Name: "USHER_MAIL_SWEEP", standard: "1m",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Mail.Sweep }),
			doc: "How often expired invitations are closed, and those to deleted rooms withdrawn, with a letter that says so.",
		},
		{
			Name: "USHER_MAIL_FROM", ownInDev: true,
			set: into(EmailAddress, func(c *config) *string { return &c.Mail.From }),
			doc: "Address that sends, and organises meetings in calendars. Nobody need read its mail.",
		},
		{
			Name: "USHER_MAIL_FROM_NAME",
			set:  into(anyText, func(c *config) *string { return &c.Mail.FromName }),
			doc:  "Name beside that address. Empty: `USHER_BRANDING_NAME`.",
		},
	}},
	{"Telephony", "Calls come through LiveKit's phone bridge: see [telephony.md](telephony.md).", []setting{
		{
			Name: "USHER_TELEPHONY_ENABLED", standard: "true",
			set: into(boolean, func(c *config) *bool { return &c.Telephony.Enabled }),
			doc: "Whether rooms can be reached by phone, as far as there are trunks.",
		},
		{
			Name: "USHER_TELEPHONY_TRUNKS",
			set:  into(trunks, func(c *config) *[]telephony.ConfiguredTrunk { return &c.Telephony.Trunks }),
			doc: "Ids of LiveKit's inbound trunks to use, each with the numbers to show to people if they are other than LiveKit's: " +
				"`ST_a,ST_b=+33123456789/+3222222222`. Empty: the only one that LiveKit has; with none or several, telephony is off.",
		},
		{
			Name: "USHER_TELEPHONY_NUMBER_FORMAT", standard: "international",
			set: into(oneOf(map[string]bool{"international": false, "national": true}),
				func(c *config) *bool { return &c.Telephony.NationalNumbers }),
			doc: "How numbers are shown: `international` (`+33 1 23 45 67 89`) or `national` (`01 23 45 67 89`).",
		},
		{
			Name: "USHER_TELEPHONY_PIN_LENGTH", standard: "10",
			set: into(pinLength, func(c *config) *int { return &c.Telephony.PINLength }),
			doc: "Digits of a new PIN, 4 to 16. Every digit less makes guessing one ten times easier.",
		},
		{
			Name: "USHER_TELEPHONY_PIN_REST", standard: "8760h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Telephony.PINRest }),
			doc: "How long a PIN that a room gave up is given to no other: it stands in mails.",
		},
		{
			Name: "USHER_TELEPHONY_SWEEP", standard: "30s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Telephony.Sweep }),
			doc: "How often meetings, dispatch rules and rooms are compared, and repaired.",
		},
		{
			Name: "USHER_TELEPHONY_BRIDGE_METRICS",
			set:  into(list(webURL), func(c *config) *[]string { return &c.Telephony.BridgeMetrics }),
			doc: "Addresses of the metrics of LiveKit's phone bridges (`prometheus_port` of livekit-sip), such as " +
				"`http://livekit-sip:8090/metrics`. They alone tell of wrong PINs.",
		},
		{
			Name: "USHER_TELEPHONY_WRONG_PIN_ALERT", standard: "30",
			set: into(count, func(c *config) *int { return &c.Telephony.WrongPINAlert }),
			doc: "How many wrong PINs in a minute are too many: then `usher_wrong_pin_alert` is 1. 0: never.",
		},
		{
			Name: "USHER_TELEPHONY_WRONG_PIN_ROTATE", standard: "false",
			set: into(boolean, func(c *config) *bool { return &c.Telephony.WrongPINRotate }),
			doc: "Whether too many wrong PINs change the PINs of all rooms that can be dialled at that moment, once in 10 minutes. " +
				"People who were given the PIN before need the new one.",
		},
	}},
	{"Marketing", "A marketing service can be told of the address of everybody who signs in for the first time: ask them before you " +
		"switch it on. Nobody is while `USHER_BREVO_API_KEY` is empty.", []setting{
		{
			Name: "USHER_BREVO_API_KEY", Secret: true, ownInDev: true,
			set: into(anySecret, func(c *config) *Secret { return &c.Marketing.BrevoKey }),
			doc: "Key of the API of Brevo.",
		},
		{
			Name: "USHER_BREVO_URL", standard: "https://api.brevo.com", ownInDev: true,
			set: into(baseURL("https", "http", true), func(c *config) *string { return &c.Marketing.BrevoURL }),
			doc: "Address of that API.",
		},
		{
			Name: "USHER_BREVO_LIST_IDS",
			set:  into(list(listID), func(c *config) *[]int64 { return &c.Marketing.Lists }),
			doc:  "Ids of the lists that contacts are put on.",
		},
		{
			Name: "USHER_BREVO_ATTRIBUTES",
			set:  into(keyValues, func(c *config) *map[string]string { return &c.Marketing.Attributes }),
			doc:  "What is noted about each contact, as `NAME=value`, such as `SOURCE=usher`.",
		},
		{
			Name: "USHER_BREVO_TIMEOUT", standard: "10s",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Marketing.Timeout }),
			doc: "How long a call may take. No sign-in waits for it.",
		},
	}},
	{"Branding", "", []setting{
		{
			Name: "USHER_BRANDING_NAME", standard: "Usher",
			set: into(anyText, func(c *config) *string { return &c.Branding.Name }),
			doc: "Name of the service.",
		},
		{
			Name: "USHER_BRANDING_LOGO_URL",
			set:  into(webURL, func(c *config) *string { return &c.Branding.LogoUrl }),
			doc:  "Address of the logo.",
		},
		{
			Name: "USHER_BRANDING_PRIMARY_COLOR",
			set:  into(colourText, func(c *config) *string { return &c.Branding.PrimaryColor }),
			doc:  "Main colour, `#rrggbb`.",
		},
		{
			Name: "USHER_BRANDING_SUPPORT_EMAIL",
			set:  into(EmailAddress, func(c *config) *string { return &c.Branding.SupportEmail }),
			doc:  "Where people get help.",
		},
		{
			Name: "USHER_BRANDING_TERMS_URL",
			set:  into(webURL, func(c *config) *string { return &c.Branding.TermsUrl }),
			doc:  "Terms of service.",
		},
		{
			Name: "USHER_BRANDING_PRIVACY_URL",
			set:  into(webURL, func(c *config) *string { return &c.Branding.PrivacyUrl }),
			doc:  "Privacy statement.",
		},
	}},
	{"Limits", "Calls and period: `60/1m` lets 60 through at once and then one a second. `off` switches a limit off. " +
		"A network is a /24 or a /64.", []setting{
		limit("USHER_LIMIT_CALLS", "1200/1m", "calls", "All calls of one caller, or of one network for those who are not signed in.",
			func(c *config) *ratelimit.Limit { return &c.Limits.Calls }),
		limit("USHER_LIMIT_JOIN", "120/1m", "join", "Joining meetings and renewing connections, for each caller or network.",
			func(c *config) *ratelimit.Limit { return &c.Limits.Join }),
		limit("USHER_LIMIT_KNOCK_NETWORK", "200/200s", "knock-network", "New entries in one lobby from one network.",
			func(c *config) *ratelimit.Limit { return &c.Limits.KnockNetwork }),
		limit("USHER_LIMIT_KNOCK_ROOM", "200/40s", "knock-room", "New entries in one lobby.",
			func(c *config) *ratelimit.Limit { return &c.Limits.KnockRoom }),
		limit("USHER_LIMIT_CREATE_ROOM", "30/1h", "create-room", "Rooms that one user creates.",
			func(c *config) *ratelimit.Limit { return &c.Limits.CreateRoom }),
		limit("USHER_LIMIT_EMAIL_LOOKUP", "60/1h", "email-lookup", "Searches for people by one user.",
			func(c *config) *ratelimit.Limit { return &c.Limits.EmailLookup }),
		limit("USHER_LIMIT_ROTATE_PIN", "10/1h", "rotate-pin", "Changes of one room's PIN.",
			func(c *config) *ratelimit.Limit { return &c.Limits.RotatePIN }),
		limit("USHER_LIMIT_RESEND_INVITATION", "10/1h", "resend-invitation", "Letters about invitations to one room that are sent again.",
			func(c *config) *ratelimit.Limit { return &c.Limits.ResendInvitation }),
		limit("USHER_LIMIT_START_RECORDING", "10/1h", "start-recording", "Recordings that are started in one room.",
			func(c *config) *ratelimit.Limit { return &c.Limits.StartRecording }),
		limit("USHER_LIMIT_NOT_FOUND", "60/1m", "not-found", "Answers that something does not exist, for each network: guessing is slow.",
			func(c *config) *ratelimit.Limit { return &c.Limits.NotFound }),
		limit("USHER_LIMIT_SIGN_IN", "60/1m", "sign-in", "Sign-ins that begin, for each network.",
			func(c *config) *ratelimit.Limit { return &c.Limits.SignIn }),
	}},
	{"Kept how long", "One clean-up a night.", []setting{
		{
			Name: "USHER_KEEP_IDEMPOTENCY", standard: "24h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Keep.Idempotency }),
			doc: "How long a creation can be repeated under the same request_id.",
		},
		{
			Name: "USHER_KEEP_EXPIRED_TOKENS", standard: "720h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Keep.ExpiredTokens }),
			doc: "How long API tokens stay listed after they expired or were revoked.",
		},
		{
			Name: "USHER_KEEP_AUDIT", standard: "8760h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Keep.Audit }),
			doc: "How long the record of who did what in rooms is kept.",
		},
		{
			Name: "USHER_KEEP_INVITATIONS", standard: "2160h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Keep.Invitations }),
			doc: "How long an invitation, with its address, is kept after its link has ended.",
		},
		{
			Name: "USHER_KEEP_JOBS", standard: "168h",
			set: into(positiveDuration, func(c *config) *time.Duration { return &c.Keep.Jobs }),
			doc: "How long jobs that have ended stay listed (`usher jobs`), those that were given up too.",
		},
		{
			Name: "USHER_CLEAN_UP_AT", standard: "03:00",
			set: into(timeOfDay, func(c *config) *time.Duration { return &c.Keep.CleanUpAt }),
			doc: "Time of day of the clean-up, in UTC.",
		},
	}},
}

func limit(name, standard, key, doc string, field func(*config) *ratelimit.Limit) setting {
	return setting{Name: name, standard: standard, doc: doc, set: into(rate(key), field)}
}
