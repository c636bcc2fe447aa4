package cosmostest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Role is what the bearer of a token may do. No role permits to create,
// change or delete databases and containers: that needs the account key, here
// as in Azure, where it is done by other means than this API.
type Role int

const (
	// ReadMetadata permits to read the account, databases and containers.
	// Clients read the account before all else, and fail without it.
	ReadMetadata Role = 1 << iota
	// ReadItems permits to read and query items.
	ReadItems
	// WriteItems permits to create, change and delete items.
	WriteItems

	// DataReader is the built-in role of this name.
	DataReader = ReadMetadata | ReadItems
	// DataContributor is the built-in role of this name.
	DataContributor = ReadMetadata | ReadItems | WriteItems
)

// maxSkew is how far the date of a signature may be from the server's clock.
const maxSkew = 15 * time.Minute

// authorize checks that the sender of c holds the key or a token, and may do
// what it asks for.
func (s *Server) authorize(c *call) error {
	// The value is percent-encoded, where a + stands for itself.
	auth, err := url.PathUnescape(c.Header.Get("Authorization"))
	if err != nil || auth == "" {
		return fail(http.StatusUnauthorized, "Required Header authorization is missing. Ensure a valid Authorization token is passed.")
	}
	fields := make(map[string]string)
	for field := range strings.SplitSeq(auth, "&") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	switch {
	case fields["ver"] != "1.0":
	case fields["type"] == "master":
		return s.checkSignature(c, fields["sig"])
	case fields["type"] == "aad":
		return s.checkToken(c, fields["sig"])
	}
	return fail(http.StatusUnauthorized, "The authorization token is not well formed, or of a kind that cosmostest does not imitate.")
}

func (s *Server) checkSignature(c *call, signature string) error {
	xmsDate, date := c.Header.Get("x-ms-date"), ""
	if xmsDate == "" {
		date = c.Header.Get("Date")
	}
	payload := strings.ToLower(c.method) + "\n" + c.resourceType + "\n" + c.link + "\n" +
		strings.ToLower(xmsDate) + "\n" + strings.ToLower(date) + "\n"

	key, err := base64.StdEncoding.DecodeString(s.Key)
	if err != nil {
		return fail(http.StatusUnauthorized, "cosmostest: Server.Key is not base64: %v", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(payload))
	if got, err := base64.StdEncoding.DecodeString(signature); err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return fail(http.StatusUnauthorized, "The input authorization token can't serve the request. Please check that the expected payload is built as per the protocol, and check the key being used. Server used the following payload to sign: %q", payload)
	}

	signed, err := http.ParseTime(xmsDate + date)
	if err != nil {
		return fail(http.StatusUnauthorized, "The input date header is invalid format. Please pass in RFC 1123 style date format.")
	}
	if skew := time.Since(signed); skew.Abs() > maxSkew {
		return fail(http.StatusForbidden, "The authorization token is not valid at the current time. Please create another token and retry (token start time: %s, current server time: %s).",
			signed.Format(http.TimeFormat), time.Now().UTC().Format(http.TimeFormat))
	}
	return nil
}

func (s *Server) checkToken(c *call, token string) error {
	role, ok := s.Tokens[token]
	if !ok {
		return fail(http.StatusUnauthorized, "The token is not one of those that the account accepts.")
	}
	var need Role
	var action string
	switch c.Op {
	case ReadAccount, ReadDatabase, ListDatabases, ReadContainer, ListContainers, ReadPartitionKeyRanges:
		need, action = ReadMetadata, "readMetadata"
	case ReadItem:
		need, action = ReadItems, "sqlDatabases/containers/items/read"
	case QueryItems, ListItems:
		need, action = ReadItems, "sqlDatabases/containers/executeQuery"
	case CreateItem, UpsertItem, ReplaceItem, PatchItem, DeleteItem, ExecuteBatch:
		need, action = WriteItems, "sqlDatabases/containers/items/write"
	default:
		return fail(http.StatusForbidden, "Request blocked by Auth: the given request [%s %s] cannot be authorized by AAD token in data plane. Learn more: https://aka.ms/cosmos-native-rbac.", c.method, c.path).sub(5300)
	}
	if role&need == 0 {
		return fail(http.StatusForbidden, "Request blocked by Auth: the principal does not have required RBAC permissions to perform action [Microsoft.DocumentDB/databaseAccounts/%s] on resource [%s].", action, c.path).sub(5301)
	}
	return nil
}
