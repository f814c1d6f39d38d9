package server_test

import (
	"strings"
	"testing"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// Calls are counted wherever they end: served, refused by a rule, or refused for who the caller is. Paths that nobody
// serves share one name.
func TestMetrics(t *testing.T) {
	t.Parallel()
	i := start(t)
	must[*usherv1.GetConfigResponse](t)(i.clients().GetConfig(t.Context(), &usherv1.GetConfigRequest{}))
	_, err := i.clients().GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: "nowhere"})
	wantReason(t, err, "ROOM_NOT_FOUND")
	_, err = i.clients().ListRooms(t.Context(), &usherv1.ListRoomsRequest{})
	wantReason(t, err, "SIGN_IN_REQUIRED")
	for range 3 {
		i.post("/usher.v1.RoomsService/Nothing", "", "{}")
		i.post("/made.up.Service/AtRandom", "", "{}")
	}
	_, metrics := get(t, i.Metrics+"/metrics")
	for _, want := range []string{
		`usher_rpc_requests_total{caller="anonymous",code="ok",procedure="/usher.v1.ConfigService/GetConfig"} 1`,
		`usher_rpc_requests_total{caller="anonymous",code="not_found",procedure="/usher.v1.RoomsService/GetRoom"} 1`,
		`usher_rpc_requests_total{caller="anonymous",code="unauthenticated",procedure="/usher.v1.RoomsService/ListRooms"} 1`,
		`procedure="unknown"} 6`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, "AtRandom") {
		t.Error("a path that a stranger made up is in the metrics")
	}
	// The internal port only.
	if status, _ := get(t, i.URL+"/metrics"); status != 404 {
		t.Errorf("/metrics of the API port = %d, want 404", status)
	}
}
