package invitations

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/mailsuppression"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/mailbox"
)

// newToken makes the token of a link: 256 random bits.
func newToken() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(random[:])
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// seal makes of a token what is stored for the letters to come: useless to who has the database and not the secret.
func (s *Service) seal(id uuid.UUID, token string) []byte {
	aead := newCipher(s.Keys.Current(auth.PurposeInvitation))
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return aead.Seal(nonce, nonce, []byte(token), id[:])
}

// errSealed is a token that cannot be read any more, because the secret was changed twice.
var errSealed = errors.New("the link was sealed with another secret")

func (s *Service) unseal(i *ent.Invitation) (string, error) {
	if i.TokenSealed == nil {
		return "", errSealed
	}
	sealed := *i.TokenSealed
	for _, key := range s.Keys.Accepted(auth.PurposeInvitation) {
		aead := newCipher(key)
		if len(sealed) < aead.NonceSize() {
			break
		}
		token, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], i.ID[:])
		if err == nil {
			return string(token), nil
		}
	}
	return "", errSealed
}

func newCipher(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Sprintf("invitation cipher: %v", err)) // only for a key of the wrong length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("invitation cipher: %v", err)) // only for a block of the wrong size
	}
	return aead
}

// hashAddress is by what somebody who wants no mail is known.
func hashAddress(key []byte, address mailbox.Address) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(address))
	return mac.Sum(nil)
}

// hashes are all by which somebody who wants no mail may be known, the present one first: those under the secret of before,
// and those of the address in lower case by the rules of Unicode, which were made before addresses had one normal form.
func (s *Service) hashes(address mailbox.Address) [][]byte {
	var hashes [][]byte
	for _, key := range s.Keys.Accepted(auth.PurposeSuppression) {
		lower := mailbox.Address(strings.ToLower(string(address)))
		hashes = append(hashes, hashAddress(key, address), hashAddress(key, lower))
	}
	return hashes
}

// suppressed reports whether the owner of an address wants no mail. What was kept under another hash is kept under the
// present one from now on.
func (s *Service) suppressed(ctx context.Context, tx *ent.Client, address mailbox.Address) (bool, error) {
	hashes := s.hashes(address)
	known, err := tx.MailSuppression.Query().Where(mailsuppression.AddressHashIn(hashes...)).All(ctx)
	if err != nil {
		return false, fmt.Errorf("find suppression: %w", err)
	}
	isPresent := func(m *ent.MailSuppression) bool { return bytes.Equal(m.AddressHash, hashes[0]) }
	if len(known) == 0 || slices.ContainsFunc(known, isPresent) {
		return len(known) > 0, nil
	}
	return true, suppress(ctx, tx, hashes[0])
}

func suppress(ctx context.Context, tx *ent.Client, hash []byte) error {
	err := tx.MailSuppression.Create().
		SetAddressHash(hash).
		OnConflictColumns(mailsuppression.FieldAddressHash).
		Ignore().
		Exec(ctx)
	if err != nil {
		return fmt.Errorf("insert suppression: %w", err)
	}
	return nil
}

// stopMAC is how much of the proof a stop token has, in bytes.
const stopMAC = 16

// stopToken is the key to ending mail to an address: the hash by which that is known, and a proof that it is ours. It
// tells nobody the address, and works when the invitation is gone.
func (s *Service) stopToken(address mailbox.Address) string {
	hash := hashAddress(s.Keys.Current(auth.PurposeSuppression), address)
	return base64.RawURLEncoding.EncodeToString(append(hash, stopProof(s.Keys.Current(auth.PurposeMailStop), hash)...))
}

func stopProof(key, hash []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(hash)
	return mac.Sum(nil)[:stopMAC]
}

// readStop returns the hash of an address from a stop token.
func (s *Service) readStop(token string) (hash []byte, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != sha256.Size+stopMAC {
		return nil, false
	}
	hash = raw[:sha256.Size]
	for _, key := range s.Keys.Accepted(auth.PurposeMailStop) {
		if hmac.Equal(raw[sha256.Size:], stopProof(key, hash)) {
			return hash, true
		}
	}
	return nil, false
}
