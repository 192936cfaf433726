//go:build race

package roster

// oracleSeeds is smaller under the race detector, which is ten times slower.
const oracleSeeds = 1_000
