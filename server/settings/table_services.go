package settings

import (
	"time"

	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/telephony"
)

// serviceSettings are about mail, telephony and other services, and about limits.
var serviceSettings = []section{
	{
		"Mail",
		"Invitations and notices are sent through a mail server. Nothing is while `USHER_SMTP_HOST` is empty: then nobody can be " +
			"invited. `usher mail test --to ADDRESS` tries it.",
		[]setting{
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
				set: into(mailbox.Parse, func(c *config) *mailbox.Address { return &c.Mail.From }),
				doc: "Address that sends, and organises meetings in calendars. Nobody need read its mail.",
			},
			{
				Name: "USHER_MAIL_FROM_NAME",
				set:  into(anyText, func(c *config) *string { return &c.Mail.FromName }),
				doc:  "Name beside that address. Empty: `USHER_BRANDING_NAME`.",
			},
		},
	},
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
			Name: "USHER_TELEPHONY_PIN_LENGTH", standard: "9",
			set: into(pinLength, func(c *config) *int { return &c.Telephony.PINLength }),
			doc: "Digits of a new PIN, 4 to 16. Every digit less makes guessing one ten times easier. With 10 and more, LiveKit's phone " +
				"bridge loses the `#` of people who type before its message has ended.",
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
			doc: "How many wrong PINs in a minute are too many: then `usher_wrong_pin_alert` is 1. 0: never. Who calls before their " +
				"meeting has begun is among them, and nothing else follows: see telephony.md.",
		},
	}},
	{
		"Marketing",
		"A marketing service can be told of the address of everybody who signs in for the first time: ask them before you " +
			"switch it on. Nobody is while `USHER_BREVO_API_KEY` is empty.",
		[]setting{
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
		},
	},
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
			set:  into(shownAddress, func(c *config) *string { return &c.Branding.SupportEmail }),
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
		"A network is a /24 or a /64. " +
		"Who is signed in, and each service, is limited by themselves, and strangers by network.", []setting{
		limit(
			"USHER_LIMIT_CALLS", "1200/1m", "calls",
			"All calls of one caller, of the strangers of one network, and of the people in meetings without an account of one.",
			func(c *config) *ratelimit.Limit { return &c.Limits.Calls },
		),
		limit("USHER_LIMIT_JOIN", "120/1m", "join", "Joining meetings and renewing connections, for each caller or network.",
			func(c *config) *ratelimit.Limit { return &c.Limits.Join }),
		limit("USHER_LIMIT_RAISE_HAND", "10/1m", "raise-hand", "How often one person in a meeting raises or lowers their hand.",
			func(c *config) *ratelimit.Limit { return &c.Limits.RaiseHand }),
		limit("USHER_LIMIT_RENAME", "10/1m", "rename", "How often one person in a meeting changes their name.",
			func(c *config) *ratelimit.Limit { return &c.Limits.Rename }),
		limit("USHER_LIMIT_KNOCK_NETWORK", "200/200s", "knock-network", "New entries in one lobby from one network, or of one person who is signed in.",
			func(c *config) *ratelimit.Limit { return &c.Limits.KnockNetwork }),
		limit("USHER_LIMIT_KNOCK_ROOM", "200/40s", "knock-room", "New entries in one lobby.",
			func(c *config) *ratelimit.Limit { return &c.Limits.KnockRoom }),
		limit("USHER_LIMIT_CREATE_ROOM", "30/1h", "create-room", "Rooms that one user creates.",
			func(c *config) *ratelimit.Limit { return &c.Limits.CreateRoom }),
		limit("USHER_LIMIT_EMAIL_LOOKUP", "60/1h", "email-lookup", "Searches for people by one user.",
			func(c *config) *ratelimit.Limit { return &c.Limits.EmailLookup }),
		limit("USHER_LIMIT_ROTATE_PIN", "10/1h", "rotate-pin", "Changes of one room's PIN.",
			func(c *config) *ratelimit.Limit { return &c.Limits.RotatePIN }),
		limit(
			"USHER_LIMIT_RESEND_INVITATION", "10/1h", "resend-invitation",
			"Letters about invitations to one room that are sent again.",
			func(c *config) *ratelimit.Limit { return &c.Limits.ResendInvitation },
		),
		limit("USHER_LIMIT_START_RECORDING", "10/1h", "start-recording", "Recordings that are started in one room.",
			func(c *config) *ratelimit.Limit { return &c.Limits.StartRecording }),
		limit(
			"USHER_LIMIT_NOT_FOUND", "60/1m", "not-found",
			"Answers that something does not exist, for each caller or network: guessing is slow.",
			func(c *config) *ratelimit.Limit { return &c.Limits.NotFound },
		),
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
