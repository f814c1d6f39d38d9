package rooms

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/usher-meet/usher/gen/ent"
)

// recordingLabel is the part of the metadata about the recording; empty for none.
type recordingLabel struct{ mode, status string }

// roomMetadata is the metadata of the LiveKit room, which everybody in the meeting may read. Equal rooms and labels give
// equal text.
func roomMetadata(r *ent.Room, l recordingLabel) (string, error) {
	configuration, err := protojson.Marshal(configurationOf(r))
	if err != nil {
		return "", fmt.Errorf("encode room configuration: %w", err)
	}
	text, err := json.Marshal(struct {
		AccessLevel   string          `json:"access_level"`
		Configuration json.RawMessage `json:"configuration"`
		Mode          string          `json:"recording_mode,omitempty"`
		Status        string          `json:"recording_status,omitempty"`
	}{r.AccessLevel.String(), configuration, l.mode, l.status})
	if err != nil {
		return "", fmt.Errorf("encode room metadata: %w", err)
	}
	// protojson puts in spaces at random, so that nobody compares its output.
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return "", fmt.Errorf("encode room metadata: %w", err)
	}
	return b.String(), nil
}
