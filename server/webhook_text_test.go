package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
)

// LiveKit repeats what is not answered with 200, and holds back others meanwhile. So an event with text that PostgreSQL
// cannot store is answered with 200 on both databases: it is ignored when that text names something, and stored when it does
// not.
func TestWebhook_text(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(c *settings.Config){
		"PostgreSQL": func(*settings.Config) {},
		"SQLite": func(c *settings.Config) {
			c.DatabaseURL = settings.Secret(testenv.SQLiteURL(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t, database)
			const nul = `\u0000`
			egress := func(id, path, detail string) string {
				return `"egressInfo":{"egressId":"` + id + `","roomName":"ROOM","status":"EGRESS_FAILED","error":"` + detail +
					`","roomComposite":{"roomName":"ROOM","fileOutputs":[{"filepath":"` + path + `"}]}}`
			}
			joined := func(identity, name, attributes string) string {
				return `"room":{"name":"ROOM","sid":"RM_test"},"participant":{"identity":"` + identity +
					`","sid":"PA_test","kind":"SIP","name":"` + name + `","attributes":{` + attributes + `}}`
			}
			for what, e := range map[string]struct {
				kind, id, rest string
				stored         bool
			}{
				"the id of the event":   {"room_started", "EV" + nul, `"room":{"name":"ROOM","sid":"RM_test"}`, false},
				"the name of the room":  {"room_started", "EV_1", `"room":{"name":"ROOM` + nul + `","sid":"RM_test"}`, false},
				"the sid of the room":   {"room_started", "EV_2", `"room":{"name":"ROOM","sid":"RM` + nul + `"}`, false},
				"an identity":           {"participant_joined", "EV_3", joined("sip_"+nul, "Phone", ""), false},
				"the id of a call":      {"participant_joined", "EV_4", joined("sip_1", "Phone", `"sip.callID":"SCL`+nul+`"`), false},
				"the sid of a track":    {"track_published", "EV_5", joined("sip_1", "Phone", "") + `,"track":{"sid":"TR` + nul + `"}`, false},
				"the id of an egress":   {"egress_ended", "EV_6", egress("EG"+nul, "recordings/x.mp4", ""), false},
				"an object key":         {"egress_ended", "EV_7", egress("EG_1", "recordings/"+nul+".mp4", ""), false},
				"a name":                {"participant_joined", "EV_8", joined("sip_1", "Ph"+nul+"ne", ""), true},
				"an attribute":          {"participant_joined", "EV_9", joined("sip_1", "Phone", `"lobby":"wait`+nul+`ing"`), true},
				"LiveKit's own account": {"egress_ended", "EV_10", egress("EG_1", "recordings/x.mp4", "pipeline"+nul+" broke"), true},
			} {
				body := fmt.Sprintf(`{"event":%q,"id":"%s","createdAt":"%d",%s}`, e.kind, e.id, time.Now().Unix(),
					strings.ReplaceAll(e.rest, "ROOM", uuid.NewString()))
				before := len(i.jobsIn())
				if status := deliver(i.URL, webhook{body: body, token: sign(t, body, testenv.LiveKitSecret)}); status != http.StatusOK {
					t.Errorf("%s: %d, want 200", what, status)
				}
				if stored := len(i.jobsIn()) > before; stored != e.stored {
					t.Errorf("%s: stored is %t, want %t", what, stored, e.stored)
				}
			}
			for _, j := range i.jobsIn() {
				if text := string(j.Args); strings.Contains(text, `\u0000`) {
					t.Errorf("stored as %s", text)
				}
			}
			_, metrics := get(t, i.Metrics+"/metrics")
			if want := `usher_webhooks_total{outcome="unstorable"} 7`; !strings.Contains(metrics, want) {
				t.Errorf("the metrics lack %s", want)
			}
		})
	}
}

// The storage repeats events as well. Records of objects whose names PostgreSQL cannot store are ignored, and counted.
func TestStorageEvent_text(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(c *settings.Config){
		"PostgreSQL": func(*settings.Config) {},
		"SQLite": func(c *settings.Config) {
			c.DatabaseURL = settings.Secret(testenv.SQLiteURL(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t, database, func(c *settings.Config) {
				c.Storage.Folder, c.Storage.Bucket, c.Storage.EventSecret = t.TempDir(), "bucket", "test-storage-event-secret"
			})
			for what, key := range map[string]string{
				"NUL":                       `recordings/\u0000.mp4`,
				"encoded NUL":               `recordings%2F%00.mp4`,
				"encoded text, not UTF-8":   `recordings%2F%ff.mp4`,
				"half a pair of surrogates": `recordings/\ud800.mp4`,
			} {
				body := `{"Records":[{"eventName":"s3:ObjectCreated:Put","s3":{"bucket":{"name":"bucket"},"object":{"key":"` + key +
					`"}}},{"eventName":"s3:ObjectCreated:Put","s3":{"bucket":{"name":"bucket"},"object":{"key":"recordings/x.mp4"}}}]}`
				req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+"/webhooks/storage", strings.NewReader(body)))
				req.Header.Set("Authorization", "Bearer test-storage-event-secret")
				res := must[*http.Response](t)(http.DefaultClient.Do(req))
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("%s: %d, want 200", what, res.StatusCode)
				}
			}
			_, metrics := get(t, i.Metrics+"/metrics")
			if want := `usher_storage_objects_total{outcome="unstorable"} 3`; !strings.Contains(metrics, want) {
				t.Errorf("the metrics lack %s", want)
			}
		})
	}
}
