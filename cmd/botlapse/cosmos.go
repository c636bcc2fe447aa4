package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/spf13/cobra"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/state"
)

// A cosmosConfig says where state is kept in Cosmos DB.
type cosmosConfig struct {
	endpoint, key    string
	database         string
	conversation     string
	user             string
	deadlines        string
	timeToLive       int // in seconds; -1 for none by default
	initialize       bool
	createDatabase   bool
	updateTimeToLive bool
	throughput       int
	keySuffix        string
}

// checkCosmos reports what is wrong with what is said of Cosmos DB.
func (all *config) checkCosmos() error {
	c := &all.cosmos
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	u, err := url.Parse(c.endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" || u.Scheme != "https" && u.Scheme != "http":
		// Without the value: it may be a connection string, with the key in it.
		problem("CosmosDbEndpoint is no address: must be the https URL of the account, without path and key, or an http one of an emulator")
	case u.Scheme == "http" && c.key == "":
		problem("CosmosDbEndpoint is %q: without CosmosDbAuthKey it must be https: a token would be sent in clear", u.Scheme+"://"+u.Host)
	}
	if c.database == "" {
		problem("CosmosDbDatabaseId is empty: with CosmosDbEndpoint it must be the name of a database")
	}
	for _, v := range []struct{ name, value string }{{"CosmosDbDatabaseId", c.database}, {"CosmosDbConversationStateContainerId", c.conversation},
		{"CosmosDbUserStateContainerId", c.user}, {"CosmosDbDeadlineContainerId", c.deadlines}} {
		if strings.ContainsAny(v.value, `/\?#`) || strings.HasSuffix(v.value, " ") || len(v.value) > 255 {
			problem("%s is %q: must be 255 characters at most, without / \\ ? # and a space at the end", v.name, v.value)
		}
	}
	if c.conversation == c.user {
		problem("CosmosDbConversationStateContainerId and CosmosDbUserStateContainerId are both %q: user state must have a container of its own, without a time to live", c.user)
	}
	if all.proactive() && (c.deadlines == c.conversation || c.deadlines == c.user) {
		problem("CosmosDbDeadlineContainerId is %q: deadlines must have a container of their own", c.deadlines)
	}
	return errors.Join(problems...)
}

func (c *cosmosConfig) account(transport policy.Transporter) (*cosmos.Account, error) {
	return cosmos.NewAccount(c.endpoint, &cosmos.AccountOptions{Key: c.key, Transport: transport})
}

func (c *config) cosmosStorages(account *cosmos.Account) storages {
	options := &cosmos.Options{KeySuffix: c.cosmos.keySuffix}
	s := storages{
		conversation: cosmos.New(account, c.cosmos.database, c.cosmos.conversation, options),
		user:         cosmos.New(account, c.cosmos.database, c.cosmos.user, options),
	}
	if c.proactive() {
		s.deadlines = c.cosmosDeadlines(account)
	}
	return s
}

func (c *config) cosmosDeadlines(account *cosmos.Account) *cosmos.Deadlines {
	return cosmos.NewDeadlines(account, c.cosmos.database, c.cosmos.deadlines, &cosmos.DeadlinesOptions{KeySuffix: c.cosmos.keySuffix})
}

func (c *config) initializer(account *cosmos.Account) *cosmos.Initializer {
	i := &cosmos.Initializer{
		Account:          account,
		Database:         c.cosmos.database,
		Conversation:     c.cosmos.conversation,
		User:             c.cosmos.user,
		TimeToLive:       time.Duration(c.cosmos.timeToLive) * time.Second,
		CreateDatabase:   c.cosmos.createDatabase,
		UpdateTimeToLive: c.cosmos.updateTimeToLive,
		Throughput:       int32(c.cosmos.throughput),
	}
	if c.proactive() {
		i.Deadlines = c.cosmos.deadlines
	}
	return i
}

// grace is how much longer than the timeout conversations are stored.
func (c *config) grace() time.Duration {
	ttl := time.Duration(c.cosmos.timeToLive) * time.Second
	switch {
	case c.cosmos.endpoint == "" || ttl < 0:
		return 0 // the default
	case c.policyFile != "":
		return ttl
	case ttl <= c.expireAfter:
		return -1 // none
	}
	return ttl - c.expireAfter
}

// warnOfShortLife says what a time to live does that is smaller than the
// timeout.
func (c *config) warnOfShortLife(logger *slog.Logger) {
	if ttl := time.Duration(c.cosmos.timeToLive) * time.Second; ttl > 0 && ttl < c.expireAfter && c.policyFile == "" {
		logger.Warn("CosmosDbTimeToLive is smaller than ExpireAfterSeconds: conversations are kept until they expire, for an hour more if that is proactive, and who writes after that finds a new one, without ExpireMessage",
			"CosmosDbTimeToLive", ttl, "ExpireAfterSeconds", c.expireAfter)
	}
}

func (p *program) cosmosCommand() *cobra.Command {
	root := &cobra.Command{Use: "cosmos", Short: "Create, check or imitate the Cosmos DB containers", Args: cobra.NoArgs}
	var dryRun bool
	initialize := &cobra.Command{
		Use:   "init",
		Short: "Create the containers that are missing",
		Long:  "Create the containers that are missing, that of the conversation state with a\ntime to live, those of the user state and of the deadlines without one. What exists\nstays as it is.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withInitializer(func(i *cosmos.Initializer) error {
				if dryRun {
					plan, err := i.Plan(cmd.Context())
					if err != nil {
						return err
					}
					for _, step := range plan.Steps {
						fmt.Fprintln(p.stdout, step)
					}
					return errors.Join(plan.Problems...)
				}
				end := "nothing to do"
				i.Report = func(step string) {
					end = "done"
					fmt.Fprintln(p.stdout, step)
				}
				if err := i.Run(cmd.Context()); err != nil {
					return err
				}
				fmt.Fprintln(p.stdout, end)
				return nil
			})
		},
	}
	initialize.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be done, and do nothing")
	root.AddCommand(initialize,
		&cobra.Command{
			Use:   "check",
			Short: "Say what is missing or wrong, with exit status 1",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.withInitializer(func(i *cosmos.Initializer) error {
					plan, err := i.Plan(cmd.Context())
					if err != nil {
						return err
					}
					problems := plan.Problems
					for _, step := range plan.Steps {
						problems = append(problems, errors.New("not done: "+step))
					}
					if len(problems) == 0 {
						fmt.Fprintln(p.stdout, "all is as it should be")
					}
					return errors.Join(problems...)
				})
			},
		},
		p.emulateCommand(),
	)
	return root
}

// withInitializer calls do with the initializer of the configuration.
func (p *program) withInitializer(do func(*cosmos.Initializer) error) error {
	c, err := loadConfig(p.lookup, p.envFile)
	if err == nil && c.cosmos.endpoint == "" {
		err = errors.New("CosmosDbEndpoint is empty: must be the URL of the account")
	} else if c != nil {
		err = errors.Join(err, c.checkCosmos())
	}
	if err != nil {
		return err
	}
	account, err := c.cosmos.account(p.cosmosTransport)
	if err != nil {
		return err
	}
	defer account.Close()
	c.warnOfShortLife(p.logger(c))
	return do(c.initializer(account))
}

func (p *program) emulateCommand() *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use:   "emulate",
		Short: "Serve an imitation of Cosmos DB on this machine, in memory",
		Long: "Serve an imitation of Cosmos DB on this machine, to try the bot without an\n" +
			"account. It keeps everything in memory until SIGINT or SIGTERM.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				return err
			}
			server := &http.Server{Handler: cosmostest.New(), ReadHeaderTimeout: 10 * time.Second}
			fmt.Fprintf(p.stdout, "CosmosDbEndpoint=http://%s\nCosmosDbAuthKey=%s\nCosmosDbDatabaseId=bot\nCosmosDbCreateDatabase=true\n", listener.Addr(), cosmostest.EmulatorKey)
			failed := make(chan error, 1)
			go func() { failed <- server.Serve(listener) }()
			select {
			case err := <-failed:
				return err
			case <-cmd.Context().Done():
			}
			server.Close()
			<-failed
			return nil
		},
	}
	cmd.Flags().IntVar(&port, "port", 8081, "the port, 0 for one that is free")
	return cmd
}

func parseTTL(value string) (int, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < -1 || n == 0 {
		return 0, errors.New("must be -1, or whole seconds from 1 to 2147483647")
	}
	return int(n), nil
}

func parseSuffix(value string) (string, error) {
	if len(value) > 100 || strings.ContainsFunc(value, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		return "", errors.New("must be letters, digits, hyphens and underscores, 100 at most")
	}
	return value, nil
}

func parseKeyForm(value string) (state.KeyForm, error) {
	switch strings.ToLower(value) {
	case "dotnet":
		return state.DotNet, nil
	case "javascript":
		return state.JavaScript, nil
	}
	return 0, errors.New("must be dotnet or javascript")
}
