// Package existing shows how a bot written for msbotbuilder-go gets expiring
// conversations: before and after are the same program but for three lines.
package existing
