package settings

import (
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// meetingSettings are about rooms, the lobby and recordings.
var meetingSettings = []section{
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
			set: into(
				oneOf(map[string]bool{"users": true, "services": false}), func(c *config) *bool { return &c.Rooms.UsersCreate },
			),
			doc: "Who creates rooms: `users` (everybody who is signed in, and services) or `services` only.",
		},
		{
			Name: "USHER_DISPLAY_NAMES", standard: "chosen",
			set: into(
				oneOf(map[string]bool{"account": true, "chosen": false}), func(c *config) *bool { return &c.Rooms.AccountNames },
			),
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
			doc: "Streams that all strangers of one network, or one service, may have open; 0 for no limit.",
		},
	}},
	{
		"Recording",
		"LiveKit's egress makes the files and puts them into the storage: see [recording.md](recording.md). Nothing is " +
			"recorded while `USHER_STORAGE_BUCKET` and `USHER_STORAGE_FOLDER` are empty.",
		[]setting{
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
				set: into(baseURL("https", "http", true), func(c *config) *string { return &c.Storage.Endpoint }),
				doc: "Address of the S3 store for this server, without the bucket, such as `https://s3.eu-west-3.amazonaws.com`. " +
					"`http://` is for localhost only, here and in the other addresses of the store.",
			},
			{
				Name: "USHER_STORAGE_PUBLIC_ENDPOINT", ownInDev: true,
				set: into(baseURL("https", "http", true), func(c *config) *string { return &c.Storage.PublicEndpoint }),
				doc: "Address of the store for browsers, in download addresses. Empty: `USHER_STORAGE_ENDPOINT`.",
			},
			{
				Name: "USHER_STORAGE_PROXY_ENDPOINT", ownInDev: true,
				set: into(baseURL("https", "http", true), func(c *config) *string { return &c.Storage.ProxyEndpoint }),
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
				set: into(baseURL("https", "http", true), func(c *config) *string { return &c.Egress.Endpoint }),
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
		},
	},
}
