//go:build race

package wire_test

// forgets says that a sync.Pool drops what it is given at random, as it does under the race detector.
const forgets = true
