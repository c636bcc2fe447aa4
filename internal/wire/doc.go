// Package wire is the JSON of Bot Framework activities, for schema.Activity.
//
// That type holds the value and channelData of an activity and of a card
// action in a map, though they can be JSON of any type. Here a map with the
// one key "" stands for the value under that key, both ways: the map
// {"": "Car"} is "Car" on the wire.
package wire
