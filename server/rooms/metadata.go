package rooms

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/usher-meet/usher/gen/ent"
)

// roomMetadata is what everybody in the meeting may read about the room. Equal rooms give equal text.
func roomMetadata(r *ent.Room) (string, error) {
	configuration, err := protojson.Marshal(configurationOf(r))
	if err != nil {
		return "", fmt.Errorf("encode room configuration: %w", err)
	}
	text, err := json.Marshal(struct {
		AccessLevel   string          `json:"access_level"`
		Configuration json.RawMessage `json:"configuration"`
	}{r.AccessLevel.String(), configuration})
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
