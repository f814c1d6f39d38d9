package brevo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/usher-meet/usher/server/mailbox"
)

// Client calls the API of Brevo (https://developers.brevo.com/reference/createcontact). Every field is required, except
// Attributes.
type Client struct {
	// URL is the address of its API, without a path.
	URL string
	// Key is the key of the API.
	Key string
	// Lists are the ids of the lists that contacts are put on, and Attributes what is noted about each.
	Lists      []int64
	Attributes map[string]string
	// Timeout bounds one call.
	Timeout time.Duration
}

type brevoContact struct {
	Email         mailbox.Address   `json:"email"`
	Attributes    map[string]string `json:"attributes,omitempty"`
	ListIDs       []int64           `json:"listIds,omitempty"`
	UpdateEnabled bool              `json:"updateEnabled"`
}

// Upsert implements [contactsAPI].
func (b *Client) Upsert(ctx context.Context, email mailbox.Address) error {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	body, err := json.Marshal(brevoContact{Email: email, Attributes: b.Attributes, ListIDs: b.Lists, UpdateEnabled: true})
	if err != nil {
		return fmt.Errorf("encode contact: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.URL+"/v3/contacts", bytes.NewReader(body))
	if err != nil {
		return errors.New("the address of the marketing service cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Api-Key", b.Key)
	res, err := (&http.Client{CheckRedirect: noRedirect}).Do(req)
	if err != nil {
		if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			return errors.New("the marketing service did not answer in time")
		}
		return errors.New("the marketing service was not reached")
	}
	defer res.Body.Close()
	// The body of the answer is not read: it may repeat the address.
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return fmt.Errorf("the marketing service answered with %d", code)
	default:
		return fmt.Errorf("%w (%d)", ErrRefused, code)
	}
}

// noRedirect keeps the key and the address with the service that they are for.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
