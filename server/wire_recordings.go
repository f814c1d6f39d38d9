package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/durationpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/adapter/mail"
	"github.com/usher-meet/usher/server/adapter/objectstore"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/letter"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/tlsconfig"
)

// storage is where the files of recordings are.
type storage interface {
	recordings.Files
	// Ping reports whether it can be used.
	Ping(ctx context.Context) error
	Close()
}

// openStorage opens the storage that the settings name; nil for none. It does not connect.
func openStorage(c settings.Config) (storage, error) {
	s := c.Storage
	switch {
	case s.Folder != "":
		return &objectstore.Folder{
			Path: s.Folder, URL: c.PublicURL, Secret: auth.NewKeys([]byte(c.Secret), nil).Current(auth.PurposeDownload),
		}, nil
	case s.Bucket != "":
		return objectstore.NewS3(objectstore.S3Config{
			Endpoint: s.Endpoint, PublicEndpoint: s.PublicEndpoint, ProxyEndpoint: s.ProxyEndpoint,
			Bucket: s.Bucket, Region: s.Region, Key: s.Key, Secret: string(s.Secret),
			VirtualHost: s.VirtualHost, CAFile: s.CAFile,
		})
	}
	return nil, nil
}

// ErrStorageOff means that the settings name no storage for recordings.
var ErrStorageOff = errors.New("recording is switched off")

// CheckStorage asks the storage whether it can be used. It fails with [ErrStorageOff] where there is none.
func CheckStorage(ctx context.Context, c settings.Config) error {
	s, err := openStorage(c)
	if err != nil {
		return err
	}
	if s == nil {
		return ErrStorageOff
	}
	defer s.Close()
	return s.Ping(ctx)
}

// egressStorage is how LiveKit's egress reaches the storage.
func egressStorage(c settings.Config) livekit.EgressStorage {
	s, e := c.Storage, c.Egress
	if s.Folder != "" {
		return livekit.EgressStorage{Folder: cmp.Or(e.Folder, s.Folder)}
	}
	return livekit.EgressStorage{
		Endpoint: cmp.Or(e.Endpoint, s.Endpoint), Bucket: s.Bucket, Region: s.Region,
		Key: cmp.Or(e.Key, s.Key), Secret: cmp.Or(string(e.Secret), string(s.Secret)), VirtualHost: s.VirtualHost,
	}
}

// recordingConfig is the answer of ConfigService about recording.
func recordingConfig(c settings.Config) *usherv1.RecordingConfig {
	if !c.Storage.Enabled() || len(c.Recording.Modes) == 0 {
		return &usherv1.RecordingConfig{}
	}
	out := &usherv1.RecordingConfig{
		Enabled: true, Modes: c.Recording.Modes, ExpireDays: int32(c.Recording.ExpireDays), //nolint:gosec // the settings bound it
	}
	if c.Recording.MaxDuration > 0 {
		out.MaxDuration = durationpb.New(c.Recording.MaxDuration)
	}
	return out
}

func (s *services) fillRecordings(b *base) error {
	c := b.config
	*s.recordings = recordings.Service{
		Records: recordings.Records{DB: b.db, Tasks: s.tasks, Jobs: s.jobs, Life: c.Recording.Life(), Log: b.log},
		Keys:    b.keys, Limiter: b.limiter, StartLimit: c.Limits.StartRecording, LiveKit: b.livekit,
		Bucket: c.Storage.Bucket, IdempotencyLife: c.Keep.Idempotency,
		Timing: cmp.Or(c.Recording.Timing, recordings.StandardTiming),
		Rules: recordings.Rules{
			Modes: c.Recording.Modes, Folder: c.Recording.Folder,
			DeleteExpired: c.Recording.DeleteExpired, MaxLength: c.Recording.MaxDuration,
			TranscriptDownload: c.Recording.TranscriptDownload,
		},
	}
	if b.files != nil { // a nil storage in the interface would not be nil
		s.recordings.Files = b.files
	}
	if b.mailer.Sender != nil {
		s.recordings.Notifier = recordingMail{mailer: b.mailer, publicURL: c.PublicURL}
	}
	if c.Summary.URL != "" {
		client, err := summaryClient(c.Summary.CAFile)
		if err != nil {
			return err
		}
		s.recordings.Summary = &recordings.SummaryService{URL: c.Summary.URL, Token: string(c.Summary.Token), Client: client}
	}
	return nil
}

// summaryClient sends its token to the address in the settings only.
func summaryClient(caFile string) (*http.Client, error) {
	config, err := tlsconfig.Load(caFile, "the summary service")
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, TLSClientConfig: config,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// recordingMail tells people of recordings by mail.
type recordingMail struct {
	mailer    *mail.Mailer
	publicURL string
}

// RecordingReady sends the mail that a recording is ready.
func (m recordingMail) RecordingReady(ctx context.Context, n recordings.Notice) error {
	return m.mailer.RecordingReady(ctx, letter.RecordingReady{
		Envelope: letter.Envelope{
			ID: n.ID, To: n.To.Email, Language: n.To.Language, Timezone: n.To.Timezone, Time: n.StartTime,
		},
		Room: n.RoomName, Link: m.publicURL + "/recording/" + n.RecordingID.String(),
		Start: n.StartTime, Duration: n.Duration, Expire: n.ExpireTime, Interrupted: n.Interrupted,
	})
}

// media serves the files of recordings, or says to a proxy who may have them.
func (b *base) media(s *recordings.Service, callers *auth.Authenticator) *recordings.Media {
	downloads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "usher_recording_downloads_total",
		Help: "Requests for files of recordings, by way (direct, proxy) and why they were refused; empty for those that were not.",
	}, []string{"way", "refusal"})
	b.metrics.MustRegister(downloads)
	return &recordings.Media{
		Service: s, Callers: callers, ProxySecret: string(b.config.Storage.ProxySecret),
		Count: func(way, refusal string) { downloads.WithLabelValues(way, refusal).Inc() },
	}
}

// mountRecordings mounts what belongs to recordings beside the API: their files, and the storage's events.
func (b *base) mountRecordings(mux *http.ServeMux, s *recordings.Service, media *recordings.Media) {
	mux.HandleFunc("GET /media-auth", media.ServeProxy)
	mux.HandleFunc("GET /media/{folder}/{file}", media.ServeFile)
	if b.config.Storage.EventSecret == "" {
		return
	}
	objects := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "usher_storage_objects_total",
		Help: "Objects of which the storage told that they were made, by outcome: recording (of ours, which is looked at), " +
			"ignored, unstorable (ignored too: the name has NUL in it).",
	}, []string{"outcome"})
	b.metrics.MustRegister(objects)
	mux.Handle("POST /webhooks/storage", recordings.StorageHook{
		Service: s, Secret: string(b.config.Storage.EventSecret),
		Count: func(outcome string, n int) { objects.WithLabelValues(outcome).Add(float64(n)) },
	})
}
