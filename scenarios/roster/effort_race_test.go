//go:build race

package roster

// The race detector makes everything ten times slower.
const (
	oracleSeeds = 1_000
	largeRoster = 1_000
)
