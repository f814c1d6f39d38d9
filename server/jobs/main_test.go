package jobs_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/jobs"
)

// childVariable makes the test program one that works on the database at its value until it is killed.
const childVariable = "USHER_TEST_JOBS_CHILD"

func TestMain(m *testing.M) {
	if address := os.Getenv(childVariable); address != "" {
		if err := child(address); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	testenv.Main(m)
}

// child begins whatever it finds, says so, and never ends.
func child(address string) error {
	ctx := context.Background()
	db, err := dbtx.Open(ctx, address)
	if err != nil {
		return err
	}
	r := jobs.NewRegistry()
	jobs.Handle(r, func(ctx context.Context, _ note) error {
		fmt.Println("job")
		<-ctx.Done()
		time.Sleep(time.Hour)
		return nil
	}, jobs.Timeout(time.Second))
	r.Every("test.sweep", time.Second, func(context.Context) error {
		fmt.Println("sweep")
		time.Sleep(time.Hour)
		return nil
	})
	c, err := jobs.New(db, r, jobs.Options{Keep: time.Hour, StopTimeout: time.Second})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}
