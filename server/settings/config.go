// Package settings holds the settings of an instance: [Config], from which the server is built, the [Loader] that reads it
// from the environment and a settings file, and the text of docs/settings.md.
package settings

import (
	"log/slog"
	"net/netip"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/telephony"
)

// Version of this Usher. Migrations name the oldest version that may run on their schema.
const Version = "0.1.0"

// Secret is text that is never printed.
type Secret string

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the text from JSON and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Config is everything that an operator can choose. It holds parsed values: cmd/usher reads them from the environment and
// reports all problems at once.
type Config struct {
	// Listen is the address of the API, and ListenInternal that of /metrics and the detailed /readyz.
	Listen, ListenInternal string
	// PublicURL is the address at which people reach this server, without a path, such as "https://meet.example.org".
	PublicURL string
	// DatabaseURL is "postgres://…" or "sqlite:" and a path.
	DatabaseURL Secret
	Redis       RedisConfig
	// Secret has 32 random bytes or more, and SecretPrevious the one before it, if any: see auth.Keys.
	Secret, SecretPrevious Secret
	LiveKit                LiveKitConfig
	OIDC                   OIDCConfig
	Session                SessionConfig
	Rooms                  RoomsConfig
	Lobby                  LobbyConfig
	Connections            ConnectionsConfig
	Streams                StreamsConfig
	Callers                CallersConfig
	Mail                   MailConfig
	Marketing              MarketingConfig
	Telephony              TelephonyConfig
	Recording              RecordingConfig
	Storage                StorageConfig
	Egress                 EgressConfig
	Summary                SummaryConfig
	// AllowedOrigins may call the API from other sites, with bearer tokens, and be returned to after sign-in.
	AllowedOrigins []string
	// TrustedProxies are believed about X-Forwarded-For.
	TrustedProxies []netip.Prefix
	ServiceTokens  []ServiceToken
	Directory      DirectoryConfig
	Languages      []string
	Branding       *usherv1.Branding
	Limits         Limits
	Keep           KeepConfig
	// DrainTimeout is how long a stopping server waits for calls in flight.
	DrainTimeout time.Duration
	// RequestTimeout bounds each unary call.
	RequestTimeout time.Duration
	Log            LogConfig
	// Development loosens what would be unsafe elsewhere: set by `usher dev` only.
	Development bool
}

// RedisConfig is how Redis is reached.
type RedisConfig struct {
	// Addresses are one server, several of a cluster, or the sentinels when SentinelMaster is set.
	Addresses      []string
	Username       string
	Password       Secret
	SentinelMaster string
	TLS            bool
	CAFile         string
	// Embedded is the in-process Redis of `usher dev`, which speaks RESP2 only and has no client-side caching.
	Embedded bool
}

// LiveKitConfig is how LiveKit is reached.
type LiveKitConfig struct {
	// URL is the address that Usher calls (http:// or https://), and PublicURL the one that clients get (ws:// or wss://).
	URL, PublicURL string
	Key            string
	Secret         Secret
	// WebhookKeys sign LiveKit's webhooks; empty: Key and Secret do.
	WebhookKeys []LiveKitKey
	CAFile      string
	// TokenLife is for how long a token is good for connecting.
	TokenLife time.Duration
	// SessionLife is how long a participant may renew a connection.
	SessionLife time.Duration
	// EmptyTimeout and DepartureTimeout are how long LiveKit keeps a room that nobody joined, or that everybody left.
	EmptyTimeout, DepartureTimeout time.Duration
	// MaxParticipants in one room; 0 for no limit.
	MaxParticipants int
	// Sweep is how often all meetings are looked at, for the webhooks that got lost.
	Sweep time.Duration
}

// LiveKitKey is an API key of LiveKit's.
type LiveKitKey struct {
	Key    string
	Secret Secret
}

// OIDCConfig is how people sign in. Nobody can while Issuer is empty.
type OIDCConfig struct {
	Issuer       string
	ClientID     string
	ClientSecret Secret
	CAFile       string
	Scopes       []string
	// FullNameClaims are joined by spaces when "name" is empty. Empty: given_name, and family_name or else usual_name.
	FullNameClaims []string
	ShortNameClaim string
	// MatchByEmail lets a verified address find an account whose sub is unknown.
	MatchByEmail bool
	// TrustEmail takes every address of the provider for verified.
	TrustEmail bool
	// CreateUsers makes an account at the first sign-in.
	CreateUsers bool
	// Audience of access tokens that are accepted as bearer tokens; empty: none are.
	Audience string
	// ClientIDs that such tokens may have been issued to; empty: any.
	ClientIDs []string
	// ExtraParams are added to the authorization request, such as acr_values.
	ExtraParams map[string]string
}

// SessionConfig is how long people stay signed in.
type SessionConfig struct {
	IdleTimeout, MaxAge time.Duration
}

// RoomsConfig has the defaults of new rooms, and who may create them.
type RoomsConfig struct {
	AccessLevel usherv1.AccessLevel
	Sources     []usherv1.TrackSource
	// UsersCreate is false when only services may create rooms.
	UsersCreate bool
	// AccountNames fixes the display name of signed-in people to that of their account.
	AccountNames bool
}

// LobbyConfig is how long people wait.
type LobbyConfig struct {
	// Waiting is how long an entry waits without a sign of life, and Grace how long a decision still finds it after that.
	Waiting, Grace time.Duration
	// Accepted is how long an admission holds, and Denied how long the first denial does.
	Accepted, Denied time.Duration
	// KeepPlace is how long after they asked first somebody whose entry was lost gets their place back.
	KeepPlace time.Duration
	// MaxWaiting is how many may wait in one room.
	MaxWaiting int
}

// TelephonyConfig is how rooms are reached by phone.
type TelephonyConfig struct {
	// Enabled is false when rooms cannot be, whatever LiveKit has.
	Enabled bool
	// Trunks are those to use; none: the only one that LiveKit has.
	Trunks []telephony.ConfiguredTrunk
	// NationalNumbers are shown as in their own country, others in international form.
	NationalNumbers bool
	// PINLength is how many digits a PIN has, and PINRest how long one that a room gave up is given to no other.
	PINLength int
	PINRest   time.Duration
	// Sweep is how often meetings, dispatch rules and rooms are compared.
	Sweep time.Duration
	// BridgeMetrics are the addresses of the metrics of LiveKit's phone bridges; none: wrong PINs are not seen.
	BridgeMetrics []string
	// WrongPINAlert is how many wrong PINs in a minute are told to the operator; 0: none are.
	WrongPINAlert int
}

// ServiceToken is a program of the operator that may call.
type ServiceToken struct {
	Name string
	// Hash is the SHA-256 of the token, in hexadecimal.
	Hash   string
	Scopes []string
}

// LogConfig is the level and the format of the log. Logs go to standard error and hold no personal data at any level.
type LogConfig struct {
	Level slog.Level
	// Text is for people; without it each line is a JSON document.
	Text bool
}

// MarketingConfig is the marketing service that is told of new accounts. None is while BrevoKey is empty.
type MarketingConfig struct {
	BrevoURL   string
	BrevoKey   Secret
	Lists      []int64
	Attributes map[string]string
	Timeout    time.Duration
}

// MailTLS is how the connection to the mail server is protected.
type MailTLS int

// The modes.
const (
	// MailStartTLS begins plain and turns to TLS, which the server must offer.
	MailStartTLS MailTLS = iota
	// MailImplicitTLS is TLS from the first byte.
	MailImplicitTLS
	// MailNoTLS is for a server on loopback only.
	MailNoTLS
)

// RecordingConfig has the modes of recordings and how long files are kept.
type RecordingConfig struct {
	Modes []usherv1.RecordingMode
	// Folder in the storage.
	Folder string
	// ExpireDays is how long files are kept; 0 for ever. DeleteExpired has this server delete them then.
	ExpireDays    int
	DeleteExpired bool
	// MaxDuration of one recording; 0 for no limit.
	MaxDuration time.Duration
	// TranscriptDownload lets the owners of transcripts download their sound.
	TranscriptDownload bool
	// Sweep is how often recordings are compared with LiveKit and the storage.
	Sweep time.Duration
	// Timing is how patient the rules are. Zero: recordings.StandardTiming. Only tests shorten it.
	Timing recordings.Timing
}

// Life is how long files are kept; 0 for ever.
func (c RecordingConfig) Life() time.Duration { return time.Duration(c.ExpireDays) * 24 * time.Hour }

// StorageConfig is where the files of recordings are: in a bucket, or in a folder. Nothing is recorded while both are empty.
type StorageConfig struct {
	// Endpoint is for this server, PublicEndpoint for people, and ProxyEndpoint for a proxy. The last two may be empty.
	Endpoint, PublicEndpoint, ProxyEndpoint string
	Bucket, Region, Key                     string
	Secret                                  Secret
	// VirtualHost puts the bucket into the host name.
	VirtualHost bool
	CAFile      string
	// Folder is a path on this machine, instead of a bucket.
	Folder string
	// EventSecret is sent by the storage with its events; without one they are not taken.
	EventSecret Secret
	// ProxySecret is sent by a proxy that asks who may have a file; without one only the internal listener may be asked.
	ProxySecret Secret
}

// Enabled reports whether there is a storage.
func (c StorageConfig) Enabled() bool { return c.Bucket != "" || c.Folder != "" }

// EgressConfig is how LiveKit's egress reaches the storage. What is empty is as for this server.
type EgressConfig struct {
	Endpoint, Key string
	Secret        Secret
	// Folder is where the storage's folder is on the machine of the egress.
	Folder string
}

// SummaryConfig is who makes transcripts. Nobody does while URL is empty.
type SummaryConfig struct {
	URL    string
	Token  Secret
	CAFile string
}

// MailConfig is how mail is sent. None is while Host is empty.
type MailConfig struct {
	Host, CAFile, Username string
	Port                   int
	TLS                    MailTLS
	Password               Secret
	// From is the address that sends, and FromName the name beside it; empty: that of the branding.
	From     mailbox.Address
	FromName string
	// Hello is the name with which this server introduces itself; empty: the domain of From.
	Hello string
	// Timeout bounds one sending.
	Timeout time.Duration
	// PerDomain is how many letters one process has on their way to one domain.
	PerDomain int
	// PerUser and PerInstance are how many letters about invitations may be decided on one day (UTC).
	PerUser, PerInstance int
	// Sweep is how often invitations are looked at that have expired, or whose room was deleted.
	Sweep time.Duration
}

// DirectoryConfig is who can be found.
type DirectoryConfig struct {
	// Open lets users search by name.
	Open bool
}

// Limits are the figures of the rate limits. A Burst of 0 switches one off.
type Limits struct {
	Calls, Join, CreateRoom, EmailLookup, NotFound, SignIn, RaiseHand, Rename ratelimit.Limit
	// RotatePIN, StartRecording and ResendInvitation are by room.
	RotatePIN, StartRecording, ResendInvitation ratelimit.Limit
	// KnockNetwork and KnockRoom are for new lobby entries: of one network in one room, and of one room.
	KnockNetwork, KnockRoom ratelimit.Limit
}

// KeepConfig is how long things are kept.
type KeepConfig struct {
	Idempotency time.Duration
	// ExpiredTokens is how long API tokens stay listed after they expired or were revoked.
	ExpiredTokens time.Duration
	// Audit is how long it is known who did what in a room.
	Audit time.Duration
	// Invitations is how long an invitation is kept after its link has ended.
	Invitations time.Duration
	// Jobs is how long jobs that have ended stay listed.
	Jobs time.Duration
	// CleanUpAt is the time of day (UTC) of the nightly clean-up.
	CleanUpAt time.Duration
}
