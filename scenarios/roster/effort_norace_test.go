//go:build !race

package roster

const (
	// oracleSeeds is the number of random histories that the oracle plays.
	oracleSeeds = 20_000
	// largeRoster is the size of the largest roster that every variant retrieves.
	largeRoster = 10_000
)
