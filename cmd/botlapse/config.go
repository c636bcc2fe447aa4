package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// A config is what the environment and .env say.
type config struct {
	app                    connector.App // without an ID if there are no credentials
	certificateFile        string
	policyFile             string
	policy                 policy.Policy   // of the file, if there is one
	set                    map[string]bool // the variables that are set, and not to nothing
	expireProactively      string          // "true", "false" or ""
	expireProactiveMessage string
	atMostOnce             bool
	redeliver              string // of a variable that is no more
	stateFile              string
	cosmos                 cosmosConfig
	keyForm                state.KeyForm
	allowedHosts           []string
	operationsPerHour      int
	maxTurns               int
	tlsCertFile            string
	tlsKeyFile             string
	tls                    *tls.Config // nil for plain http
	expireAfter            time.Duration
	expireMessage          string
	host                   string
	port                   int
	allowUnauthenticated   bool
	logLevel               slog.Level
}

// A variable is one setting of the environment.
type variable struct {
	name  string
	value string // the default
	doc   string // what it means and which values are allowed
	set   func(c *config, value string) error
}

// variables are all settings, in the order of .env.example.
var variables = []variable{
	{"MicrosoftAppId", "", "The bot's app id. With it, serve checks that requests come from channels, and\nsends replies with the bot's credentials. Without it, serve is for this machine.",
		func(c *config, v string) error { c.app.ID = v; return nil }},
	{"MicrosoftAppType", "", "How the bot gets its credentials: MultiTenant (the default), SingleTenant,\nUserAssignedMSI or WorkloadIdentity.",
		func(c *config, v string) error { c.app.Type = v; return nil }},
	{"MicrosoftAppTenantId", "", "The bot's tenant. SingleTenant and WorkloadIdentity need it.",
		func(c *config, v string) error { c.app.TenantID = v; return nil }},
	{"MicrosoftAppPassword", "", "The bot's client secret, for MultiTenant and SingleTenant.",
		func(c *config, v string) error { c.app.Password = v; return nil }},
	{"MicrosoftAppCertificateFile", "", "A file with a certificate and its private key, in PEM, instead of the secret.",
		func(c *config, v string) error { c.certificateFile = v; return nil }},
	{"ChannelService", "", "The cloud: empty for the public one, https://botframework.azure.us for Azure\nGovernment, https://botframework.azure.cn for Azure in China.",
		func(c *config, v string) (err error) { c.app.Cloud, err = parseCloud(v); return err }},
	{"ALLOWED_HOSTS", "", "The only hosts that replies are sent to, with commas between them, such as\n*.botframework.com, smba.trafficmanager.net. Empty for any public host that a\nchannel names.",
		func(c *config, v string) (err error) { c.allowedHosts, err = parseHosts(v); return err }},
	{"OPERATIONS_PER_HOUR", "0", "How many requests are made for one conversation in an hour; the others wait.\nTeams takes 1800. 0 means any number.",
		func(c *config, v string) (err error) { c.operationsPerHour, err = parseCount(v); return err }},
	{"MAX_TURNS", "10000", "How many turns run or wait at once; requests beyond it are answered with 503.",
		func(c *config, v string) (err error) {
			if c.maxTurns, err = parseCount(v); c.maxTurns == 0 {
				err = errCount
			}
			return err
		}},
	{"POLICY_FILE", "", "A file with the rules for silent conversations, in JSON. ExpireAfterSeconds,\nExpireMessage and ExpireProactiveMessage must be unset or empty with it. SIGHUP has\nserve read it anew.",
		func(c *config, v string) error { c.policyFile = v; return nil }},
	{"ExpireAfterSeconds", "30", "How long a user may be silent before the conversation expires: seconds (30,\n0.5), or a duration like 30m, 1h30m or PT30M. 0 means never.",
		func(c *config, v string) (err error) { c.expireAfter, err = parseTimeout(v); return err }},
	{"ExpireMessage", "Welcome back!  Let's start over from the beginning.", "What a user is told who writes again after that. Empty for nothing.",
		func(c *config, v string) error { c.expireMessage = v; return nil }},
	{"ExpireProactively", "", "Whether conversations expire when their time comes, without anybody writing: true\nor false. Empty for true with STATE_FILE, Cosmos DB or POLICY_FILE, and false without.",
		func(c *config, v string) (err error) {
			if c.expireProactively = strings.ToLower(v); v != "" {
				_, err = parseBool(v)
			}
			return err
		}},
	{"ExpireProactiveMessage", "", "What the user is told then. Empty for nothing: ExpireMessage follows when they\nwrite again. Who is more than an hour late is not told either.",
		func(c *config, v string) error { c.expireProactiveMessage = v; return nil }},
	{"AT_MOST_ONCE", "false", "Whether a user of whom it is not known whether they were told, because a process\nended or an answer was lost, is told again (false: at least once) or not (true).",
		func(c *config, v string) (err error) { c.atMostOnce, err = parseBool(v); return err }},
	{"ExpireProactiveRedeliver", "", "Ignored: see AT_MOST_ONCE.",
		func(c *config, v string) error { c.redeliver = v; return nil }},
	{"HOST", "127.0.0.1", "The address that serve listens on. Others than loopback addresses need\nMicrosoftAppId or ALLOW_UNAUTHENTICATED.",
		func(c *config, v string) error { c.host = v; return nil }},
	{"PORT", "3978", "The port that serve listens on, 0 to 65535. 0 means one that is free.",
		func(c *config, v string) (err error) { c.port, err = parsePort(v); return err }},
	{"STATE_FILE", "", "The file in which serve and chat keep state. Empty for memory, which forgets at\nthe end.",
		func(c *config, v string) error { c.stateFile = v; return nil }},
	{"CosmosDbEndpoint", "", "The Cosmos DB account in which serve keeps state, such as\nhttps://bot.documents.azure.com. Not together with STATE_FILE.",
		func(c *config, v string) error { c.cosmos.endpoint = v; return nil }},
	{"CosmosDbAuthKey", "", "The account key. Empty for an Azure credential: a managed identity, a workload\nidentity, or that of the Azure CLI.",
		func(c *config, v string) error { c.cosmos.key = v; return nil }},
	{"CosmosDbDatabaseId", "", "The database.",
		func(c *config, v string) error { c.cosmos.database = v; return nil }},
	{"CosmosDbConversationStateContainerId", "conversations", "The container of the conversation state.",
		func(c *config, v string) error { c.cosmos.conversation = v; return nil }},
	{"CosmosDbUserStateContainerId", "users", "The container of the user state.",
		func(c *config, v string) error { c.cosmos.user = v; return nil }},
	{"CosmosDbDeadlineContainerId", "deadlines", "The container of the deadlines, if ExpireProactively is not false.",
		func(c *config, v string) error { c.cosmos.deadlines = v; return nil }},
	{"CosmosDbTimeToLive", "-1", "How many seconds the conversation state is kept after the last user input. -1 for\nExpireAfterSeconds and a day; nothing is deleted then if that is 0. Unless\nExpireProactively is false, it is an hour more than ExpireAfterSeconds at least.",
		func(c *config, v string) (err error) { c.cosmos.timeToLive, err = parseTTL(v); return err }},
	{"CosmosDbInitialize", "true", "Whether serve creates what is missing, and checks what is there, at its start.",
		func(c *config, v string) (err error) { c.cosmos.initialize, err = parseBool(v); return err }},
	{"CosmosDbCreateDatabase", "false", "Whether the database may be created.",
		func(c *config, v string) (err error) { c.cosmos.createDatabase, err = parseBool(v); return err }},
	{"CosmosDbUpdateTimeToLive", "false", "Whether the time to live of a container that exists may be changed.",
		func(c *config, v string) (err error) { c.cosmos.updateTimeToLive, err = parseBool(v); return err }},
	{"CosmosDbThroughput", "0", "The request units a second of each container that is created. 0 for none of its\nown, as serverless accounts and databases with shared throughput want it.",
		func(c *config, v string) (err error) { c.cosmos.throughput, err = parseCount(v); return err }},
	{"CosmosDbKeySuffix", "", "What is put at the end of every id, so that several bots can share containers.",
		func(c *config, v string) (err error) { c.cosmos.keySuffix, err = parseSuffix(v); return err }},
	{"CosmosDbKeyForm", "dotnet", "Whose bots the containers are shared with: dotnet or javascript.",
		func(c *config, v string) (err error) { c.keyForm, err = parseKeyForm(v); return err }},
	{"TLS_CERT_FILE", "", "A file with the certificate chain, in PEM, for serve to speak https itself.\nWithout it, a proxy has to: channels call https addresses only.",
		func(c *config, v string) error { c.tlsCertFile = v; return nil }},
	{"TLS_KEY_FILE", "", "A file with the private key of TLS_CERT_FILE, in PEM.",
		func(c *config, v string) error { c.tlsKeyFile = v; return nil }},
	{"ALLOW_UNAUTHENTICATED", "false", "true lets serve listen on any address without MicrosoftAppId, not checking who calls,\nand send replies anywhere a caller says. Only for networks that you trust.",
		func(c *config, v string) (err error) { c.allowUnauthenticated, err = parseBool(v); return err }},
	{"LOG_LEVEL", "info", "The least level that is logged: debug, info, warn or error.",
		func(c *config, v string) (err error) { c.logLevel, err = parseLevel(v); return err }},
}

// configurationHelp is the part of the help that lists the variables.
func configurationHelp() string {
	var b strings.Builder
	b.WriteString("It reads these variables from the environment and from the file .env:\n")
	for _, v := range variables {
		fmt.Fprintf(&b, "\n  %s (default %q)\n      %s\n", v.name, v.value, strings.ReplaceAll(v.doc, "\n", "\n      "))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// loadConfig reads all variables: those of the environment, then those of the
// file, then the defaults. Its error joins everything that is wrong.
func loadConfig(lookup func(string) (string, bool), envFile string) (*config, error) {
	var problems []error
	file, err := godotenv.Read(envFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, fmt.Errorf("%s cannot be read: it must hold lines NAME=value", envFile))
	}
	c := &config{set: make(map[string]bool)}
	for _, v := range variables {
		value, ok := lookup(v.name)
		if !ok {
			value, ok = file[v.name]
		}
		c.set[v.name] = ok && value != ""
		if !ok || value == "" && v.name != "ExpireMessage" {
			value = v.value
		}
		if err := v.set(c, value); err != nil {
			problems = append(problems, fmt.Errorf("%s is %q: %w", v.name, value, err))
		}
	}
	return c, errors.Join(append(problems, c.readPolicy())...)
}

// forServing reports what keeps a config that is right in itself from serving,
// and reads the files that it names.
func (c *config) forServing() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if c.app.ID != "" {
		problems = append(problems, c.checkApp())
	} else if c.app.Type != "" || c.app.TenantID != "" || c.app.Password != "" || c.certificateFile != "" {
		problem("MicrosoftAppId is empty: with MicrosoftAppType, MicrosoftAppTenantId, MicrosoftAppPassword or MicrosoftAppCertificateFile it must be the bot's app id")
	}
	if c.app.ID == "" && !isLoopback(c.host) && !c.allowUnauthenticated {
		problem("HOST is %q: without MicrosoftAppId it must be a loopback address, such as 127.0.0.1, or ALLOW_UNAUTHENTICATED must be true", c.host)
	}
	if c.app.ID != "" && c.allowUnauthenticated {
		problem("ALLOW_UNAUTHENTICATED is \"true\": with MicrosoftAppId it must be false, since requests are authenticated")
	}
	if (c.tlsCertFile == "") != (c.tlsKeyFile == "") {
		problem("one of TLS_CERT_FILE and TLS_KEY_FILE is empty: both must be set, or none")
	} else if c.tlsCertFile != "" {
		certificate, err := tls.LoadX509KeyPair(c.tlsCertFile, c.tlsKeyFile)
		if err != nil {
			problem("TLS_CERT_FILE is %q, TLS_KEY_FILE is %q: must be a certificate and its key: %w", c.tlsCertFile, c.tlsKeyFile, err)
		}
		c.tls = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	if c.cosmos.endpoint != "" && c.stateFile != "" {
		problem("STATE_FILE is %q, and CosmosDbEndpoint is set: one of them must be empty", c.stateFile)
	}
	if c.cosmos.endpoint != "" {
		problems = append(problems, c.checkCosmos())
	} else if c.cosmos.key != "" || c.cosmos.database != "" {
		problem("CosmosDbEndpoint is empty: with CosmosDbAuthKey or CosmosDbDatabaseId it must be the URL of the account")
	}
	return errors.Join(problems...)
}

// nameInLogs has logs name conversations by hashes that depend on a secret of the
// bot's, if it has one. "botlapse deadlines" names them alike.
func (c *config) nameInLogs() {
	if secret := cmp.Or(c.app.Password, c.cosmos.key); secret != "" {
		bot.SetLogKey([]byte(secret))
	}
}

// proactive reports whether conversations expire without anybody writing.
func (c *config) proactive() bool {
	return c.expireProactively == "true" || c.expireProactively == "" && (c.stateFile != "" || c.cosmos.endpoint != "" || c.policyFile != "")
}

// warnOfRedeliver says that a variable does nothing any more.
func (c *config) warnOfRedeliver(logger *slog.Logger) {
	if c.redeliver != "" {
		logger.Warn("ExpireProactiveRedeliver is ignored: users are told at least once, or with AT_MOST_ONCE=true at most once")
	}
}

// checkApp reports what is wrong with the credentials.
func (c *config) checkApp() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	secrets := c.app.Password != "" || c.certificateFile != ""
	switch c.app.Type {
	case "", connector.MultiTenant, connector.SingleTenant:
		if !secrets {
			problem("MicrosoftAppPassword and MicrosoftAppCertificateFile are empty: one of them must be set, unless MicrosoftAppType is UserAssignedMSI or WorkloadIdentity")
		}
		if c.app.Password != "" && c.certificateFile != "" {
			problem("MicrosoftAppPassword and MicrosoftAppCertificateFile are both set: one of them must be empty")
		}
	case connector.UserAssignedMSI, connector.WorkloadIdentity:
		if secrets {
			problem("MicrosoftAppType is %q: MicrosoftAppPassword and MicrosoftAppCertificateFile must be empty", c.app.Type)
		}
	default:
		problem("MicrosoftAppType is %q: must be MultiTenant, SingleTenant, UserAssignedMSI or WorkloadIdentity", c.app.Type)
	}
	if c.app.TenantID == "" && (c.app.Type == connector.SingleTenant || c.app.Type == connector.WorkloadIdentity) {
		problem("MicrosoftAppTenantId is empty: a bot of type %s must have one", c.app.Type)
	}
	if c.certificateFile != "" {
		var err error
		if c.app.Certificate, err = os.ReadFile(c.certificateFile); err != nil {
			problem("MicrosoftAppCertificateFile is %q: must be a file that can be read: %w", c.certificateFile, err)
		}
	}
	return errors.Join(problems...)
}

// isLoopback reports whether host can be reached from this machine only.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

var errTimeout = errors.New("must be 0 or more seconds (30, 0.5), or a duration (30m, 1h30m, PT30M), and less than 292 years")

// isoDuration is the part of ISO 8601 durations whose length is fixed.
var isoDuration = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

func parseTimeout(value string) (time.Duration, error) {
	if d, err := time.ParseDuration(value); err == nil {
		if d < 0 {
			return 0, errTimeout
		}
		return d, nil
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if m := isoDuration.FindStringSubmatch(value); m != nil && value != "P" && !strings.HasSuffix(value, "T") {
		seconds, err = 0, nil
		for i, unit := range []float64{24 * 3600, 3600, 60, 1} {
			n, _ := strconv.ParseFloat("0"+m[i+1], 64)
			seconds += n * unit
		}
	}
	ns := math.Round(seconds * 1e9)
	if err != nil || seconds > 0 && ns == 0 || !(ns >= 0 && ns < math.MaxInt64) || strings.ContainsAny(value, "xX_") {
		return 0, errTimeout
	}
	return time.Duration(ns), nil
}

func parsePort(value string) (int, error) {
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0, errors.New("must be a whole number from 0 to 65535")
	}
	return int(port), nil
}

var errCount = errors.New("must be a whole number from 1 to 1000000")

// parseCount takes 0 too.
func parseCount(value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n > 1000000 {
		return 0, errors.New("must be a whole number from 0 to 1000000")
	}
	return int(n), nil
}

func parseCloud(value string) (connector.Cloud, error) {
	c, err := connector.CloudFor(value)
	if err != nil {
		return c, errors.New("must be empty, https://botframework.azure.us or https://botframework.azure.cn")
	}
	return c, nil
}

func parseHosts(value string) (hosts []string, err error) {
	for host := range strings.SplitSeq(value, ",") {
		if host = strings.TrimSpace(host); host == "" {
			continue
		}
		if name := strings.TrimPrefix(host, "*."); name == "" || strings.ContainsAny(name, "*/:@ ") {
			return nil, errors.New("must be names of hosts, or *. and a name, with commas between them")
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

func parseBool(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("must be true or false")
}

func parseLevel(value string) (slog.Level, error) {
	switch strings.ToLower(value) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errors.New("must be debug, info, warn or error")
}
