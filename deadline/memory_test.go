package deadline_test

import (
	"testing"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/deadline/deadlinetest"
)

func TestMemory(t *testing.T) {
	deadlinetest.Run(t, func(t *testing.T) deadline.Store { return deadline.NewMemory() })
}
