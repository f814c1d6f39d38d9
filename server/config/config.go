// Package config serves usher.v1.ConfigService: how this instance is set up, for clients.
//
// It owns nothing: the answer is made from the operator's settings, which package settings reads, holds no secret and is the
// same for every caller. It cannot fail.
package config

import (
	"context"

	"google.golang.org/protobuf/proto"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
)

var _ usherv1connect.ConfigServiceHandler = (*Service)(nil)

// Service serves usher.v1.ConfigService. Every field is required.
type Service struct {
	// Config is the answer, but for telephony. It must not change any more.
	Config    *usherv1.Config
	Telephony telephony
}

// telephony knows whether rooms can be reached by phone, which may depend on LiveKit.
type telephony interface {
	Config() *usherv1.TelephonyConfig
}

// GetConfig implements [usherv1connect.ConfigServiceHandler].
func (s *Service) GetConfig(context.Context, *usherv1.GetConfigRequest) (*usherv1.GetConfigResponse, error) {
	config := proto.CloneOf(s.Config)
	config.Telephony = s.Telephony.Config()
	return &usherv1.GetConfigResponse{Config: config}, nil
}
