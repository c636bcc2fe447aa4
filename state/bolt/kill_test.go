package bolt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

// childFile is the environment variable that makes the test binary a child,
// which writes to the file it names until it is killed.
const childFile = "BOLT_TEST_CHILD_FILE"

// How the children write: each of writers takes one step after the other.
//
// A step that is a multiple of three deletes the twin; any other one writes
// its number under both keys of the writer. So what is stored tells which step
// was the last, and whether it was taken as a whole.
const writers = 4

func keysOf(writer int) (number, twin string) {
	return fmt.Sprint("number ", writer), fmt.Sprint("twin ", writer)
}

// take takes a step and returns the eTag of the number, "" if it deletes.
func take(s *bolt.Storage, writer, step int, etag string) (string, error) {
	number, twin := keysOf(writer)
	if step%3 == 0 {
		return "", s.Delete(context.Background(), []string{twin})
	}
	etags, err := s.Write(context.Background(), map[string]state.Item{
		number: {Value: valueOf(step), ETag: etag},
		twin:   {Value: valueOf(step), TTL: time.Duration(step%2) * time.Hour},
	})
	return etags[number], err
}

func valueOf(step int) []byte {
	return fmt.Appendf(nil, "%d %s", step, strings.Repeat("x", step*97%3000))
}

// lastStep returns the last step that was taken and the eTag of the number.
func lastStep(s *bolt.Storage, writer int) (step int, etag string, err error) {
	number, twin := keysOf(writer)
	items, err := s.Read(context.Background(), []string{number, twin})
	if err != nil {
		return 0, "", err
	}
	item, ok := items[number]
	if !ok && len(items) == 0 {
		return 0, state.ETagNone, nil
	}
	fmt.Sscan(string(item.Value), &step)
	if string(item.Value) != string(valueOf(step)) || step%3 == 0 {
		return 0, "", fmt.Errorf("no step writes the number %.40q", item.Value)
	}
	other, ok := items[twin]
	switch {
	case ok && string(other.Value) == string(item.Value):
		return step, item.ETag, nil
	case !ok && (step+1)%3 == 0:
		return step + 1, item.ETag, nil
	default:
		return 0, "", fmt.Errorf("half of a step: number %.40q, twin %.40q", item.Value, other.Value)
	}
}

// child prints a line before it opens the file, and one for each step that it
// has taken.
func child(path string) error {
	fmt.Println("open")
	s, err := bolt.Open(path)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for writer := range writers {
		go func() {
			step, etag, err := lastStep(s, writer)
			for err == nil {
				step++
				var tag string
				if tag, err = take(s, writer, step, etag); err == nil {
					fmt.Println("step", writer, step, tag)
				}
				if tag != "" {
					etag = tag
				}
			}
			errs <- err
		}()
	}
	return <-errs
}

// start starts a child.
func start(t *testing.T, path string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout)
}

// TestKill kills processes while they write, 200 times. The files must
// then hold each step that was reported, at most one more of each writer, and
// none by half.
func TestKill(t *testing.T) {
	const files, rounds = 20, 10
	var reported, unreported atomic.Int64
	t.Run("files", func(t *testing.T) {
		for file := range files {
			t.Run(fmt.Sprint(file), func(t *testing.T) {
				t.Parallel()
				path := newPath(t)
				var steps [writers]int
				tags := make(map[string]int) // the step of each writer's tag
				for round := range rounds {
					lines := rand.IntN(60)
					if round == 0 {
						lines = rand.IntN(3) // while the file is made
					}
					before := steps
					killAfter(t, path, lines, &steps, tags)
					verify(t, path, &steps, tags, &unreported)
					for i := range steps {
						reported.Add(int64(steps[i] - before[i]))
					}
					if t.Failed() {
						return
					}
				}
			})
		}
	})
	t.Logf("%d steps were taken, %d of them not reported", reported.Load(), unreported.Load())
}

// killAfter starts a child and kills it when it has printed so many lines. It
// sets steps to the last one that each writer has reported.
func killAfter(t *testing.T, path string, lines int, steps *[writers]int, tags map[string]int) {
	cmd, output := start(t, path)
	for n := 0; ; n++ {
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
		if !output.Scan() {
			break
		}
		if n == 0 && output.Text() == "open" {
			continue
		}
		var writer, step int
		var tag string
		if n, err := fmt.Sscanf(output.Text(), "step %d %d %s", &writer, &step, &tag); n < 2 {
			t.Errorf("the child says %q (%v)", output.Text(), err)
			continue
		}
		if step != steps[writer]+1 {
			t.Errorf("writer %d goes from step %d to %d", writer, steps[writer], step)
		}
		steps[writer] = step
		if tag != "" {
			note(t, tags, writer, step, tag)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the child was not killed: %v", err)
	}
}

// note checks that the writer's number never had that eTag at another step.
func note(t *testing.T, tags map[string]int, writer, step int, tag string) {
	key := fmt.Sprint(writer, " ", tag)
	if other, ok := tags[key]; ok && other != step {
		t.Errorf("writer %d has the tag %s at step %d and at step %d", writer, tag, other, step)
	}
	tags[key] = step
}

// verify opens the file and compares it with the steps that were reported,
// which it sets to those that were taken.
func verify(t *testing.T, path string, steps *[writers]int, tags map[string]int, unreported *atomic.Int64) {
	s, err := bolt.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer closeNow(t, s)
	if _, _, err := s.Check(); err != nil {
		t.Error(err)
	}
	for writer := range writers {
		step, etag, err := lastStep(s, writer)
		if err != nil {
			t.Errorf("writer %d: %v", writer, err)
			continue
		}
		if step != steps[writer] && step != steps[writer]+1 {
			t.Errorf("writer %d reported step %d, the file is at step %d", writer, steps[writer], step)
		}
		unreported.Add(int64(step - steps[writer]))
		steps[writer] = step
		if step%3 == 0 {
			step-- // deletes the twin, and leaves the number alone
		}
		if step > 0 {
			note(t, tags, writer, step, etag)
		}
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	path := newPath(t)
	cmd, output := start(t, path)
	for range 2 { // "open" and one step
		if !output.Scan() {
			t.Fatal("the child says nothing")
		}
	}
	_, err := bolt.Open(path)
	if !errors.Is(err, bolt.ErrLocked) {
		t.Errorf("error %v, want one that wraps bolt.ErrLocked", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for output.Scan() {
	}
	cmd.Wait() // killed

	s := open(t, path)
	cmd, output = start(t, path)
	output.Scan()
	if !output.Scan() || !strings.Contains(output.Text(), bolt.ErrLocked.Error()) {
		t.Errorf("a child that opens the same file says %q", output.Text())
	}
	cmd.Wait() // exit status 1
	write(t, s, "key", state.Item{})
}
