// Command botlapse runs a bot whose conversations expire: the multi-turn bot
// of Microsoft's samples, behind an HTTP endpoint (serve) or in the terminal
// (chat). It is configured by environment variables and a file called .env;
// .env.example lists them.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, lookup: os.LookupEnv, envFile: ".env"}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// A program is a run of the command, with what it has to do with the world.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(name string) (value string, ok bool) // of the environment
	envFile        string
	transport      http.RoundTripper // of what it sends; nil for the network

	cosmosTransport policy.Transporter // likewise, to Cosmos DB
}

// run carries out a command line and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "botlapse",
		Short:         "Run a bot whose conversations expire",
		Long:          "Run a bot whose conversations expire.\n\n" + configurationHelp(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.AddCommand(p.serveCommand(), p.chatCommand(), p.cosmosCommand(), p.deadlinesCommand())
	problems := flatten(root.ExecuteContext(ctx))
	for _, err := range problems {
		fmt.Fprintln(p.stderr, "botlapse:", err)
	}
	return min(len(problems), 1)
}

// flatten returns the errors that err joins.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}
