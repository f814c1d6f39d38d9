package livekit

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

const tokenSecret = "test-secret-of-thirty-two-characters"

// The complete set of claims, so that a grant too many shows.
func TestTokenGrants(t *testing.T) {
	t.Parallel()
	room := uuid.MustParse("0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10")
	const (
		camera     = usherv1.TrackSource_TRACK_SOURCE_CAMERA
		microphone = usherv1.TrackSource_TRACK_SOURCE_MICROPHONE
		screen     = usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE
		sound      = usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO
	)
	tests := []struct {
		name     string
		config   Config
		grant    meeting.Grant
		metadata string
		want     string
	}{
		{
			name:   "a host, with everything",
			config: Config{EmptyTimeout: 5 * time.Minute, DepartureTimeout: 20 * time.Second, MaxParticipants: 100},
			grant: meeting.Grant{
				Room: room, Identity: "p_test-host", DisplayName: "Ada",
				Attributes: map[string]string{"room_role": "OWNER", "is_authenticated": "true"},
				Sources:    []usherv1.TrackSource{camera, microphone, screen, sound},
			},
			metadata: `{"name":"Analysis"}`,
			want: `{
				"iss": "test-key", "sub": "p_test-host", "identity": "p_test-host", "name": "Ada",
				"attributes": {"room_role": "OWNER", "is_authenticated": "true"},
				"video": {
					"roomJoin": true, "room": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10",
					"canSubscribe": true, "canPublish": true, "canPublishData": true, "canUpdateOwnMetadata": false,
					"canPublishSources": ["camera", "microphone", "screen_share", "screen_share_audio"]
				},
				"roomConfig": {
					"name": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10", "metadata": "{\"name\":\"Analysis\"}",
					"emptyTimeout": 300, "departureTimeout": 20, "maxParticipants": 100
				}
			}`,
		},
		{
			name:  "somebody who may only speak, in a room without settings",
			grant: meeting.Grant{Room: room, Identity: "p_test-guest", DisplayName: "Grace", Sources: []usherv1.TrackSource{microphone}},
			want: `{
				"iss": "test-key", "sub": "p_test-guest", "identity": "p_test-guest", "name": "Grace",
				"video": {
					"roomJoin": true, "room": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10",
					"canSubscribe": true, "canPublish": true, "canPublishData": true, "canUpdateOwnMetadata": false,
					"canPublishSources": ["microphone"]
				},
				"roomConfig": {"name": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10"}
			}`,
		},
		{
			name:  "somebody who may publish nothing",
			grant: meeting.Grant{Room: room, Identity: "p_test-listener"},
			want: `{
				"iss": "test-key", "sub": "p_test-listener", "identity": "p_test-listener",
				"video": {
					"roomJoin": true, "room": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10",
					"canSubscribe": true, "canPublish": false, "canPublishData": true, "canUpdateOwnMetadata": false
				},
				"roomConfig": {"name": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10"}
			}`,
		},
		{
			name:  "a source that LiveKit does not know allows nothing, not everything",
			grant: meeting.Grant{Room: room, Identity: "p_test-odd", Sources: []usherv1.TrackSource{99}},
			want: `{
				"iss": "test-key", "sub": "p_test-odd", "identity": "p_test-odd",
				"video": {
					"roomJoin": true, "room": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10",
					"canSubscribe": true, "canPublish": false, "canPublishData": true, "canUpdateOwnMetadata": false
				},
				"roomConfig": {"name": "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10"}
			}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.config.URL, test.config.Key, test.config.Secret = "http://127.0.0.1", "test-key", tokenSecret
			token, _, err := mustNew(t, test.config).Token(test.grant, test.metadata)
			if err != nil {
				t.Fatal(err)
			}
			got := decode(t, token)
			for _, timed := range []string{"exp", "nbf", "iat"} {
				if _, ok := got[timed]; !ok {
					t.Errorf("no %q in the token", timed)
				}
				delete(got, timed)
			}
			want := map[string]any{}
			if err := json.Unmarshal([]byte(test.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, map[string]any(got)); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToken_expires(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ life, want time.Duration }{
		"as configured":            {life: time.Minute, want: time.Minute},
		"by default in 10 minutes": {want: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := mustNew(t, Config{URL: "http://127.0.0.1", Key: "test-key", Secret: tokenSecret, TokenLife: test.life})
			before := time.Now()
			token, expire, err := c.Token(newGrant(), "")
			if err != nil {
				t.Fatal(err)
			}
			exp, err := decode(t, token).GetExpirationTime()
			if err != nil {
				t.Fatal(err)
			}
			if expire.After(exp.Time) || exp.Sub(expire) > time.Second {
				t.Errorf("said to expire at %v, and expires at %v", expire, exp.Time)
			}
			if life := exp.Sub(before); life > test.want+2*time.Second || life < test.want-2*time.Second {
				t.Errorf("lives %v, want %v", life, test.want)
			}
		})
	}
}

// decode checks the signature, which only LiveKit's secret makes, and returns all claims.
func decode(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return []byte(tokenSecret), nil },
		jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
