package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/settings"
)

const (
	storageSecret = "test-storage-event-secret-of-32-characters"
	proxySecret   = "test-proxy-secret-of-32-characters-or-more"
)

// recordingFixture is a server that records: with LiveKit, a recorder, a store that sends events, and a mail server.
type recordingFixture struct {
	*instance
	s3       *testenv.S3Server
	recorder *recorder.Recorder
	mails    *testenv.SMTPServer
	// liveKitAPI is between the server and LiveKit's API, webhooks between LiveKit's events and the server.
	liveKitAPI, webhooks *faultyProxy
	owner                *ent.User
	host                 *clients
	room                 *usherv1.Room
}

// recordingParts are the addresses of what only recording needs.
type recordingParts struct {
	// S3 is the store for the server, Egress the same for the recorder.
	S3, Egress string
}

// configure makes a server use them.
func (p recordingParts) configure(c *settings.Config) {
	c.Storage = settings.StorageConfig{
		Endpoint: p.S3, Bucket: testenv.S3Bucket, Region: testenv.S3Region, Key: testenv.S3Key, Secret: testenv.S3Secret,
		EventSecret: storageSecret, ProxySecret: proxySecret,
	}
	c.Egress.Endpoint = p.Egress
}

// storageHook is the address to which a store sends its events, on a server or what stands before it.
func storageHook(address string) string {
	return strings.Replace(address, "http://", "http://store:"+storageSecret+"@", 1) + "/webhooks/storage"
}

// startRecorder starts a stand-in for LiveKit's egress.
func startRecorder(t testing.TB, redis *testenv.RedisServer) *recorder.Recorder {
	t.Helper()
	r, err := recorder.Start(recorder.Config{RedisAddress: redis.Address, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func newRecordingFixture(t *testing.T, change ...func(*settings.Config)) *recordingFixture {
	t.Helper()
	s := &recordingFixture{}
	listen, _ := listenForWebhooks(t)
	redis := testenv.Redis(t)
	s.webhooks = newFaultyProxy(t, "http://"+listen)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: redis, Webhooks: []string{s.webhooks.URL + "/webhooks/livekit"}})
	s.recorder = startRecorder(t, redis)
	// The store wants somebody to answer when it starts; then it must be the server, which wants the store's address.
	s.s3 = testenv.S3(t, storageHook(newFaultyProxy(t, "http://"+listen).URL))
	s.mails = testenv.SMTP(t, mailcatcher.Options{})
	s.liveKitAPI = newFaultyProxy(t, lk.URL)
	s.instance = startOn(t, lk, append([]func(*settings.Config){func(c *settings.Config) {
		c.Listen, c.LiveKit.URL = listen, s.liveKitAPI.URL
		recordingParts{S3: s.s3.URL}.configure(c)
		mailThrough(s.mails.Port)(c)
	}}, change...)...)
	s.secrets.add(testenv.S3Secret, storageSecret, proxySecret)
	s.owner = s.user("Olga Records")
	s.host = s.clients(bearer(s.apiToken(s.owner, "rooms", "recordings")))
	s.room = must[*usherv1.CreateRoomResponse](t)(s.host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Weekly", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC,
	})).GetRoom()
	return s
}

// join brings somebody into the meeting.
func (s *recordingFixture) join(c *clients, name string) *participant.Participant {
	s.t.Helper()
	res := must[*usherv1.JoinRoomResponse](s.t)(c.JoinRoom(s.t.Context(), &usherv1.JoinRoomRequest{Room: s.room.GetId(), DisplayName: name}))
	return participant.Join(s.t, res.GetConnection().GetServerUrl(), res.GetConnection().GetToken())
}

func (s *recordingFixture) start(mode usherv1.RecordingMode) *usherv1.Recording {
	s.t.Helper()
	return must[*usherv1.StartRecordingResponse](s.t)(s.host.StartRecording(s.t.Context(), &usherv1.StartRecordingRequest{
		Room: s.room.GetId(), Mode: mode,
	})).GetRecording()
}

// until waits until a recording has a status.
func (s *recordingFixture) until(id string, want usherv1.RecordingStatus) (r *usherv1.Recording) {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		res, err := s.host.GetRecording(s.t.Context(), &usherv1.GetRecordingRequest{RecordingId: id})
		if err != nil {
			s.t.Fatal(err)
		}
		if r = res.GetRecording(); r.GetStatus() == want {
			return r
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the recording is %v after 30 s, want %v", r, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// label waits until the meeting shows of its recording what it should.
func (s *recordingFixture) label(p *participant.Participant, mode, status string) {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		var got struct {
			Mode   string `json:"recording_mode"`
			Status string `json:"recording_status"`
		}
		if err := json.Unmarshal([]byte(p.Room.Metadata()), &got); err == nil && got.Mode == mode && got.Status == status {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the meeting shows %s after 30 s, want %q %q", p.Room.Metadata(), mode, status)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// get fetches something as a user.
func (s *recordingFixture) get(address string, header http.Header) (int, []byte, http.Header) {
	s.t.Helper()
	req := must[*http.Request](s.t)(http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil))
	for name, values := range header {
		req.Header[name] = values
	}
	res := must[*http.Response](s.t)(http.DefaultClient.Do(req))
	body := must[[]byte](s.t)(io.ReadAll(res.Body))
	if err := res.Body.Close(); err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, body, res.Header
}

// Two people meet, one of them records; what comes of it is told, and can be fetched in every way, byte for byte.
func TestRecordingEndToEnd(t *testing.T) {
	t.Parallel()
	s := newRecordingFixture(t)
	err := s.DB.Run(t.Context(), func(tx *ent.Client) error {
		return tx.User.UpdateOne(s.owner).SetLanguage("fr").SetTimezone("Europe/Paris").Exec(t.Context())
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := must[*usherv1.GetConfigResponse](t)(s.host.GetConfig(t.Context(), &usherv1.GetConfigRequest{})).GetConfig().GetRecording(); !c.GetEnabled() || len(c.GetModes()) != 2 {
		t.Errorf("configuration: %v", c)
	}
	olga, guest := s.join(s.host, "Olga"), s.join(s.clients(bearer("")), "Guest")
	olga.Speak()
	guest.Hears(olga.Identity())

	rec := s.start(usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING)
	s.until(rec.GetId(), usherv1.RecordingStatus_RECORDING_STATUS_ACTIVE)
	s.label(guest, "screen_recording", "started")
	_, err = s.host.StartRecording(t.Context(), &usherv1.StartRecordingRequest{
		Room: s.room.GetId(), Mode: usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT,
	})
	wantReason(t, err, "RECORDING_IN_PROGRESS")
	stopped := must[*usherv1.StopRecordingResponse](t)(s.host.StopRecording(t.Context(), &usherv1.StopRecordingRequest{Room: s.room.GetId()}))
	if st := stopped.GetRecording().GetStatus(); st == usherv1.RecordingStatus_RECORDING_STATUS_ACTIVE {
		t.Errorf("stopped, and it is %v", st)
	}
	told := s.until(rec.GetId(), usherv1.RecordingStatus_RECORDING_STATUS_NOTIFICATION_SUCCEEDED)
	if told.GetSizeBytes() != int64(len(recorder.Film)) || told.GetDuration().AsDuration() != 2*time.Second || !told.GetDownloadable() ||
		told.GetContentType() != "video/mp4" || told.GetSaveTime() == nil {
		t.Errorf("saved: %v", told)
	}
	s.label(guest, "", "")
	s.wantOneMail(told)
	s.wantDownloads(told)
}

// wantOneMail: the owner got one, in their language.
func (s *recordingFixture) wantOneMail(rec *usherv1.Recording) {
	s.t.Helper()
	mails := s.mails.Mails()
	if len(mails) != 1 || mails[0].To != string(s.owner.Email) {
		s.t.Fatalf("%d mails, want one to the owner", len(mails))
	}
	parts, err := mails[0].Read()
	if err != nil {
		s.t.Fatal(err)
	}
	link := s.Config.PublicURL + "/recording/" + rec.GetId()
	if !strings.Contains(parts.Text, link) || !strings.Contains(parts.HTML, link) || !strings.Contains(parts.Text, "Weekly") ||
		!strings.Contains(parts.Text, "enregistrement") {
		s.t.Errorf("the mail:\n%s", parts.Text)
	}
}

// wantDownloads: signed by the store, from this server, and through nginx as docs/recording.md sets it up.
func (s *recordingFixture) wantDownloads(rec *usherv1.Recording) {
	s.t.Helper()
	t := s.t
	res := must[*usherv1.CreateDownloadUrlResponse](t)(s.host.CreateDownloadUrl(t.Context(), &usherv1.CreateDownloadUrlRequest{RecordingId: rec.GetId()}))
	if d := time.Until(res.GetExpireTime().AsTime()); d > 5*time.Minute || d < 4*time.Minute {
		t.Errorf("the address is good for %v", d)
	}
	cookie := http.Header{"Cookie": {s.session(s.owner).String()}}
	stranger := http.Header{"Cookie": {s.session(s.user("Stranger Who Records")).String()}}
	nginx := s.nginx()
	for name, try := range map[string]struct {
		address string
		header  http.Header
	}{
		"signed":        {res.GetUrl(), nil},
		"direct":        {s.URL + rec.GetMediaPath(), cookie},
		"through nginx": {nginx + rec.GetMediaPath(), cookie},
	} {
		status, body, header := s.get(try.address, try.header)
		if status != http.StatusOK || !bytes.Equal(body, recorder.Film) {
			t.Errorf("%s: %d, %d bytes, want the film", name, status, len(body))
		}
		// Two values are an error to browsers.
		if disposition := header.Values("Content-Disposition"); len(disposition) != 1 || !strings.HasPrefix(disposition[0], "attachment") {
			t.Errorf("%s: Content-Disposition %q", name, disposition)
		}
		if name == "through nginx" {
			wantNothingOfTheStore(t, header)
		}
		if name != "signed" && (header.Get("Content-Type") != "video/mp4" || header.Get("X-Content-Type-Options") != "nosniff" ||
			header.Get("Content-Security-Policy") != "default-src 'none'; sandbox") {
			t.Errorf("%s: headers %v", name, header)
		}
		ranged := http.Header{"Range": {"bytes=1000-1999"}}
		for key, values := range try.header {
			ranged[key] = values
		}
		status, body, header = s.get(try.address, ranged)
		if status != http.StatusPartialContent || !bytes.Equal(body, recorder.Film[1000:2000]) ||
			header.Get("Content-Range") != fmt.Sprintf("bytes 1000-1999/%d", len(recorder.Film)) {
			t.Errorf("%s: a range: %d, %d bytes, %s", name, status, len(body), header.Get("Content-Range"))
		}
	}
	for name, try := range map[string]struct {
		address string
		header  http.Header
		want    int
	}{
		"direct, nobody":                 {s.URL + rec.GetMediaPath(), nil, 404},
		"direct, a stranger":             {s.URL + rec.GetMediaPath(), stranger, 404},
		"through nginx, nobody":          {nginx + rec.GetMediaPath(), nil, 401},
		"through nginx, a stranger":      {nginx + rec.GetMediaPath(), stranger, 403},
		"through nginx, another":         {nginx + "/media/recordings/" + s.room.GetId() + ".mp4", cookie, 403},
		"through nginx, dots":            {nginx + "/media/recordings/x/../" + rec.GetId() + ".mp4", cookie, 403},
		"through nginx, encoded":         {nginx + "/media/recordings%2F" + rec.GetId() + ".mp4", cookie, 403},
		"asking for the signature":       {s.URL + "/media-auth", http.Header{"Cookie": cookie["Cookie"], "X-Original-Url": {rec.GetMediaPath()}}, 403},
		"asking nginx for the signature": {nginx + "/media-auth", cookie, 404},
	} {
		if status, body, header := s.get(try.address, try.header); status != try.want || header.Get("Authorization") != "" || bytes.Contains(body, recorder.Film[:100]) {
			t.Errorf("%s: %d, want %d", name, status, try.want)
		}
	}
	// The internal listener answers without the secret: only proxies reach it.
	internal := http.Header{"Cookie": cookie["Cookie"], "X-Original-Url": {rec.GetMediaPath()}}
	if status, _, header := s.get(s.Metrics+"/media-auth", internal); status != 200 || !strings.HasPrefix(header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		t.Errorf("the internal listener: %d %v", status, header)
	}
}

// storeHeaders are headers that stores of different makers send with a file, or in front of one, as its metadata says.
var storeHeaders = map[string]string{
	"Content-Disposition": "inline", "Content-Security-Policy": "block-all-mixed-content", "X-Content-Type-Options": "store",
	"Cache-Control": "public, max-age=31536000", "Expires": "Thu, 31 Dec 2037 23:55:55 GMT", "Pragma": "store",
	"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true", "Strict-Transport-Security": "max-age=31536000",
	"Set-Cookie": "store=1", "X-Accel-Redirect": "/media-auth",
}

// talkativeStore is the address of a store that sends all of them.
func (s *recordingFixture) talkativeStore() string {
	s.t.Helper()
	target := must[*url.URL](s.t)(url.Parse(s.s3.URL))
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which is signed
		},
		ModifyResponse: func(res *http.Response) error {
			for name, value := range storeHeaders {
				res.Header.Set(name, value)
			}
			return nil
		},
	})
	s.t.Cleanup(server.Close)
	return server.URL
}

// wantNothingOfTheStore: of each header that a store may send as well, there is at most one value, and it is not the store's.
func wantNothingOfTheStore(t testing.TB, header http.Header) {
	t.Helper()
	for name, value := range storeHeaders {
		if got := header.Values(name); len(got) > 1 || slices.Contains(got, value) {
			t.Errorf("through nginx: %s %q", name, got)
		}
	}
}

// nginx runs the configuration of docs/recording.md.
func (s *recordingFixture) nginx() string {
	s.t.Helper()
	document := string(must[[]byte](s.t)(os.ReadFile("../docs/recording.md")))
	_, text, found := strings.Cut(document, "```nginx\n")
	text, _, ended := strings.Cut(text, "```")
	if !found || !ended {
		s.t.Fatal("docs/recording.md has no configuration of nginx")
	}
	port := testenv.Port(s.t)
	text = replaced(s.t, text, "127.0.0.1:8088", "127.0.0.1:"+strconv.Itoa(port))
	text = replaced(s.t, text, `"SECRET"`, `"`+proxySecret+`"`)
	text = replaced(s.t, text, "/example-recordings/", "/"+testenv.S3Bucket+"/")
	text = strings.ReplaceAll(text, "usher.internal:8080", strings.TrimPrefix(s.URL, "http://"))
	text = replaced(s.t, text, "proxy_pass http://storage.internal:9000", "proxy_pass "+s.talkativeStore())
	text = strings.ReplaceAll(text, "storage.internal:9000", strings.TrimPrefix(s.s3.URL, "http://"))
	testenv.Nginx(s.t, text, port)
	return "http://127.0.0.1:" + strconv.Itoa(port)
}

// The doctor looks at the storage, where there is one.
func TestDoctor_storage(t *testing.T) {
	t.Parallel()
	s := newRecordingFixture(t)
	names, bad, details := diagnose(t, s.Config, 0)
	if !slices.Contains(names, "storage") || slices.Contains(bad, "storage") {
		t.Errorf("a storage that is there: %v, bad %v\n%v", names, bad, details)
	}
	c := s.Config
	c.Storage.Bucket = "nothing-here"
	if _, bad, details := diagnose(t, c, 0); !slices.Contains(bad, "storage") || strings.Contains(details["storage"], testenv.S3Secret) {
		t.Errorf("no such bucket: bad %v\n%v", bad, details)
	}
}

// A transcript is announced to the summary service, and its sound is kept from those who only take part.
func TestRecordingTranscriptEndToEnd(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var orders []map[string]any
	var problems []string
	summary := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var order map[string]any
		if err := json.NewDecoder(r.Body).Decode(&order); err != nil || r.Header.Get("Authorization") != "Bearer test-summary-token" ||
			r.Header.Get("Idempotency-Key") != order["recording_id"] {
			problems = append(problems, fmt.Sprint(err, r.Header))
		}
		orders = append(orders, order)
		if len(orders) == 1 {
			w.WriteHeader(http.StatusBadGateway) // a bad day: it comes again
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(summary.Close)
	s := newRecordingFixture(t, func(c *settings.Config) {
		c.Summary = settings.SummaryConfig{URL: summary.URL + "/tasks", Token: "test-summary-token"}
	})
	s.join(s.host, "Olga")
	rec := s.start(usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT)
	s.until(rec.GetId(), usherv1.RecordingStatus_RECORDING_STATUS_ACTIVE)
	// The meeting ends: so does its recording.
	must[*usherv1.EndMeetingResponse](t)(s.host.EndMeeting(t.Context(), &usherv1.EndMeetingRequest{Room: s.room.GetId()}))
	told := s.until(rec.GetId(), usherv1.RecordingStatus_RECORDING_STATUS_NOTIFICATION_SUCCEEDED)
	mu.Lock()
	defer mu.Unlock()
	key := "recordings/" + rec.GetId() + ".ogg"
	if len(orders) != 2 || len(problems) != 0 || orders[1]["object_key"] != key || orders[1]["room_name"] != "Weekly" {
		t.Errorf("orders %v, problems %v", orders, problems)
	}
	if !s.s3.Has(key) || told.GetDownloadable() || told.GetMediaPath() != "" || told.GetSizeBytes() != int64(len(recorder.Sound)) {
		t.Errorf("told: %v", told)
	}
	if len(s.mails.Mails()) != 0 {
		t.Error("a mail was sent")
	}
}

// What LiveKit's recorder can do on a bad day, with the real LiveKit between: the end is what happened, and the room is
// free.
func TestRecordingBadDays(t *testing.T) {
	t.Parallel()
	s := newRecordingFixture(t)
	s.join(s.host, "Olga")
	soon := 50 * time.Millisecond
	for name, day := range map[string]struct {
		script recorder.Script
		want   []usherv1.RecordingStatus
	}{
		"limit reached": {recorder.Script{Ending: recorder.LimitReached, EndAfter: soon}, []usherv1.RecordingStatus{
			usherv1.RecordingStatus_RECORDING_STATUS_NOTIFICATION_SUCCEEDED,
		}},
		"aborted":        {recorder.Script{Ending: recorder.Aborted, EndAfter: soon}, []usherv1.RecordingStatus{usherv1.RecordingStatus_RECORDING_STATUS_ABORTED}},
		"failed":         {recorder.Script{Ending: recorder.Failed, EndAfter: soon}, []usherv1.RecordingStatus{usherv1.RecordingStatus_RECORDING_STATUS_FAILED}},
		"part of a file": {recorder.Script{Ending: recorder.FailedPartial, EndAfter: soon}, []usherv1.RecordingStatus{recordingToldOf}},
		"refused":        {recorder.Script{Refuse: true}, []usherv1.RecordingStatus{usherv1.RecordingStatus_RECORDING_STATUS_FAILED_TO_START}},
	} {
		s.recorder.Behave(day.script)
		rec := s.start(usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING)
		got := s.until(rec.GetId(), day.want[0])
		if !slices.Contains(day.want, got.GetStatus()) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
