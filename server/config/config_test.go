package config

import (
	"testing"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

func TestGetConfig(t *testing.T) {
	t.Parallel()
	s := &Service{Config: &usherv1.Config{Version: "1.2.3"}, Telephony: phones{"FR"}}
	for range 2 {
		res, err := s.GetConfig(t.Context(), &usherv1.GetConfigRequest{})
		c := res.GetConfig()
		if err != nil || c.GetVersion() != "1.2.3" || !c.GetTelephony().GetEnabled() || c.GetTelephony().GetCountries()[0] != "FR" {
			t.Errorf("GetConfig = %v, %v", res, err)
		}
		c.Version = "changed by who got it"
	}
}

// phones are the countries with a number.
type phones []string

func (p phones) Config() *usherv1.TelephonyConfig {
	return &usherv1.TelephonyConfig{Enabled: true, Countries: p}
}
