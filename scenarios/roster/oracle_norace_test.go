//go:build !race

package roster

// oracleSeeds is the number of random histories that the oracle plays.
const oracleSeeds = 20_000
