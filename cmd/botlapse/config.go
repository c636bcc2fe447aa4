package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"
)

// A config is what the environment and .env say.
type config struct {
	appID, appPassword   string
	expireAfter          time.Duration
	expireMessage        string
	host                 string
	port                 int
	allowUnauthenticated bool
	logLevel             slog.Level
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
	{"MicrosoftAppId", "", "The bot's app id. Not supported yet: serve does not check tokens, and refuses\nto start if it is set.",
		func(c *config, v string) error { c.appID = v; return nil }},
	{"MicrosoftAppPassword", "", "The bot's app password. Not supported yet; see MicrosoftAppId.",
		func(c *config, v string) error { c.appPassword = v; return nil }},
	{"ExpireAfterSeconds", "30", "How long a user may be silent before the conversation expires: seconds (30,\n0.5), or a duration like 30m, 1h30m or PT30M. 0 means never.",
		func(c *config, v string) (err error) { c.expireAfter, err = parseTimeout(v); return err }},
	{"ExpireMessage", "Welcome back!  Let's start over from the beginning.", "What a user is told who writes again after that. Empty for nothing.",
		func(c *config, v string) error { c.expireMessage = v; return nil }},
	{"HOST", "127.0.0.1", "The address that serve listens on. Others than loopback addresses need\nALLOW_UNAUTHENTICATED.",
		func(c *config, v string) error { c.host = v; return nil }},
	{"PORT", "3978", "The port that serve listens on, 0 to 65535. 0 means one that is free.",
		func(c *config, v string) (err error) { c.port, err = parsePort(v); return err }},
	{"ALLOW_UNAUTHENTICATED", "false", "true lets serve listen on any address although it does not check who calls,\nand send replies anywhere a caller says. Only for networks that you trust.",
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
	c := &config{}
	for _, v := range variables {
		value, ok := lookup(v.name)
		if !ok {
			value, ok = file[v.name]
		}
		if !ok || value == "" && v.name != "ExpireMessage" {
			value = v.value
		}
		if err := v.set(c, value); err != nil {
			problems = append(problems, fmt.Errorf("%s is %q: %w", v.name, value, err))
		}
	}
	return c, errors.Join(problems...)
}

// forServing reports what keeps a config that is right in itself from serving.
func (c *config) forServing() error {
	var problems []error
	if c.appID != "" || c.appPassword != "" {
		problems = append(problems, errors.New("MicrosoftAppId or MicrosoftAppPassword is set: serve cannot check tokens yet; leave both empty"))
	}
	if !isLoopback(c.host) && !c.allowUnauthenticated {
		problems = append(problems, fmt.Errorf("HOST is %q: without credentials it must be a loopback address, such as 127.0.0.1, or ALLOW_UNAUTHENTICATED must be true", c.host))
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
	if err != nil || !(ns >= 0 && ns < math.MaxInt64) || strings.ContainsAny(value, "xX_") {
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
