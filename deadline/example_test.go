package deadline_test

import (
	"context"
	"fmt"
	"time"

	"github.com/botlapse/botlapse/deadline"
)

// Tea that has drawn is looked at once.
func Example() {
	looked := make(chan bool)
	runner := deadline.Run(deadline.NewMemory(), func(ctx context.Context, c deadline.Claim) (deadline.Outcome, error) {
		fmt.Printf("the %s is %s\n", c.Key, c.Data)
		close(looked)
		return deadline.Outcome{}, nil // which removes the deadline
	}, nil)
	defer runner.Close(context.Background())

	err := runner.Arm(context.Background(), deadline.Deadline{Key: "tea", Due: time.Now().Add(4 * time.Millisecond), Data: []byte("ready")})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-looked
	// Output: the tea is ready
}
