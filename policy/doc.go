// Package policy says what is due in a conversation, and when to look again.
package policy
