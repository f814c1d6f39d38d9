package meeting

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Color is the colour of a participant, the same wherever their identity is seen.
func Color(identity string) string {
	hash := sha256.Sum256([]byte(identity))
	pick := func(i int, low, high uint32) uint32 {
		return low + binary.BigEndian.Uint32(hash[4*i:])%(high-low+1)
	}
	return fmt.Sprintf("hsl(%d, %d%%, %d%%)", pick(0, 0, 360), pick(1, 50, 75), pick(2, 25, 60))
}
