package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/usher-meet/usher/server/auth"
)

// keySet are the provider's public keys, by which its ID tokens and access tokens are checked.
//
// go-oidc has one too, which asks the provider for every token with a key that it does not know: anybody who sends such
// tokens could make this server flood the provider. This one waits between two times.
type keySet struct {
	client  *httpClient
	address string

	// asking is held by whoever asks the provider, mu only to look.
	asking, mu sync.Mutex
	keys       []jose.JSONWebKey
	// asked is when the provider was last asked, and failure why that came to nothing.
	asked   time.Time
	failure error
}

// keysPause is how soon after a change of keys their tokens are accepted, at the latest.
const keysPause = 10 * time.Second

// find returns the keys that may have signed a token: those with its key id, or all for a token without. It fails with
// auth.ErrUnauthenticated for an unknown key, and with auth.ErrSignInProvider when no key is known at all.
func (k *keySet) find(ctx context.Context, id string) ([]jwt.VerificationKey, error) {
	found, due, failure := k.look(id)
	if due && k.lock(len(found) == 0) {
		defer k.asking.Unlock()
		if found, due, failure = k.look(id); due { // somebody else may just have asked
			k.ask(ctx)
			found, _, failure = k.look(id)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case failure != nil:
		return nil, auth.ErrSignInProvider.Because(failure)
	}
	return nil, refused(errors.New("the provider has no key of that name"))
}

// signatures checks the signature of one ID token for go-oidc, and remembers when that was not possible.
type signatures struct {
	keys   *keySet
	outage error
}

// VerifySignature implements oidc.KeySet. The algorithm was checked before.
func (s *signatures) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, joseAlgorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("not one signature of a known kind")
	}
	for again := range 2 {
		s.outage = nil // another call may have got the keys meanwhile
		if again > 0 {
			s.keys.renew(ctx)
		}
		keys, err := s.keys.find(ctx, signed.Signatures[0].Header.KeyID)
		if errors.Is(err, auth.ErrSignInProvider) {
			s.outage = err
		}
		for _, key := range keys {
			if payload, err := signed.Verify(key); err == nil {
				return payload, nil
			}
		}
	}
	return nil, errors.New("no key of the provider made the signature")
}

// renew asks for the keys again after a signature did not fit: the provider may have given another key the same name, or
// mended a broken one. It does not ask twice within [keysPause].
func (k *keySet) renew(ctx context.Context) {
	k.asking.Lock()
	defer k.asking.Unlock()
	k.mu.Lock()
	due := time.Since(k.asked) > keysPause
	k.mu.Unlock()
	if due {
		k.ask(ctx)
	}
}

// lock takes the right to ask. Who has a key already does not wait for it.
func (k *keySet) lock(wait bool) bool {
	if wait {
		k.asking.Lock()
		return true
	}
	return k.asking.TryLock()
}

// look returns the keys with an id, whether it is time to ask the provider for its keys, and why that came to nothing the
// last time.
func (k *keySet) look(id string) (found []jwt.VerificationKey, due bool, failure error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.keys {
		if id == "" || k.keys[i].KeyID == id {
			found = append(found, k.keys[i].Key)
		}
	}
	pause := keysPause
	switch {
	case len(k.keys) == 0:
		pause = retryAfter
	case len(found) > 0 && k.failure == nil:
		pause = refreshAfter // so that keys which the provider withdrew are forgotten
	}
	return found, time.Since(k.asked) > pause, k.failure
}

func (k *keySet) ask(ctx context.Context) {
	keys, err := k.fetch(context.WithoutCancel(ctx)) // others wait for it; the client has a time-out
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked, k.failure = time.Now(), err
	if err == nil {
		k.keys = keys
	}
}

func (k *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.address, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch the provider's keys: %w", err)
	}
	res, err := k.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the provider's keys: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the provider's keys: status %d", res.StatusCode)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(res.Body).Decode(&raw); err != nil {
		return nil, fmt.Errorf("read the provider's keys: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, one := range raw.Keys {
		var key jose.JSONWebKey
		// Keys of a kind that is not known, and keys for encryption, do not spoil the others.
		if err := key.UnmarshalJSON(one); err != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" {
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("read the provider's keys: there is none to check a signature with")
	}
	return keys, nil
}
