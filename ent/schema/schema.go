// Package schema describes the entities of Usher to Ent.
//
// Enumerations are stored as the numbers that the contract gives them (proto/usher/v1): those never change their meaning,
// and roles sort by rank. Times are UTC with microseconds, the finest that both databases keep.
package schema

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// Now is the present moment as both databases keep it.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// NewID makes the id of a row: random, because room and user ids are seen by people who must not be able to guess others.
func NewID() uuid.UUID { return uuid.New() }

func idField() ent.Field {
	return field.UUID("id", uuid.UUID{}).Default(NewID).Immutable()
}

func createTimeField() ent.Field {
	return field.Time("create_time").Default(Now).Immutable()
}

// roomConfiguration keeps a RoomConfiguration as ProtoJSON, so that it can be read in the database and survives the
// addition of fields by a newer version.
var roomConfiguration = field.ValueScannerFunc[*usherv1.RoomConfiguration, *sql.NullString]{
	V: func(c *usherv1.RoomConfiguration) (driver.Value, error) {
		if c == nil {
			return nil, nil
		}
		text, err := protojson.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("encode room configuration: %w", err)
		}
		return string(text), nil
	},
	S: func(s *sql.NullString) (*usherv1.RoomConfiguration, error) {
		if !s.Valid || s.String == "" {
			return nil, nil
		}
		c := &usherv1.RoomConfiguration{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(s.String), c); err != nil {
			return nil, fmt.Errorf("decode room configuration: %w", err)
		}
		return c, nil
	},
}
