package config

import (
	"testing"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

func TestGetConfig(t *testing.T) {
	t.Parallel()
	s := &Service{Config: &usherv1.Config{Version: "1.2.3"}}
	res, err := s.GetConfig(t.Context(), &usherv1.GetConfigRequest{})
	if err != nil || res.GetConfig().GetVersion() != "1.2.3" {
		t.Errorf("GetConfig = %v, %v", res, err)
	}
}
