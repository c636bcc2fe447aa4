// Package existing shows how a bot written for msbotbuilder-go gets expiring
// conversations: before and after are the same program but for three lines, and
// a fourth that forgets the bot's own variables.
package existing
