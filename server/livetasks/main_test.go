package livetasks_test

import (
	"testing"

	"github.com/usher-meet/usher/server/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
