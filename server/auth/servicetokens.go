package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// ServiceTokenPrefix begins the service tokens that Usher makes, so that people and scanners recognise one. Operators may
// choose tokens without it, as long as they do not look like a JWT.
const ServiceTokenPrefix = "usher_svc_"

// ServiceToken is a program of the operator that may call.
type ServiceToken struct {
	Name string
	// Hash is the SHA-256 of the whole token.
	Hash   [32]byte
	Scopes []string
}

// NewServiceToken makes a service token, and the hash of it for the settings.
func NewServiceToken() (token string, hash [32]byte) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	token = ServiceTokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return token, sha256.Sum256([]byte(token))
}

// serviceCaller finds the service of a token. It compares with all of them, each in constant time, so that the time tells
// nothing. It fails with [ErrUnauthenticated].
func serviceCaller(services []ServiceToken, token string) (*Caller, error) {
	hash := sha256.Sum256([]byte(token))
	found := -1
	for i := range services {
		if subtle.ConstantTimeCompare(services[i].Hash[:], hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return nil, ErrUnauthenticated
	}
	return &Caller{Kind: Service, Name: services[found].Name, Scopes: services[found].Scopes}, nil
}
