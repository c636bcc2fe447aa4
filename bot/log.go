package bot

import "github.com/botlapse/botlapse/internal/redact"

// SetLogKey has logs name conversations by hashes that depend on a secret, so that
// nobody who has the logs alone can try out names, such as telephone numbers. Processes
// with the same secret name a conversation alike. The secret is not kept. SetLogKey
// must come before the first turn; without it, the hashes depend on the names alone.
func SetLogKey(secret []byte) { redact.SetKey(secret) }
