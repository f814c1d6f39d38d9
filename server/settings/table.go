package settings

import (
	"slices"

	"github.com/usher-meet/usher/server/ratelimit"
)

// config shortens the places of values in the table.
type config = Config

// table has every setting, in the order of the documentation.
var table = slices.Concat(baseSettings, meetingSettings, serviceSettings)

func limit(name, standard, key, doc string, field func(*config) *ratelimit.Limit) setting {
	return setting{Name: name, standard: standard, doc: doc, set: into(rate(key), field)}
}
