// Package scenarios says what the simulated actors do: the scenarios, the
// scenario and target files, and the runner that carries a plan out.
//
// A scenario file is parsed into plans ([Parse]); a list where a single value may
// stand is a dimension, and the plans are the cross product. A [Target] is where
// the actors connect: a scenario cannot tell the simulator from a real server.
// [Run] executes plans against targets in randomised blocks and hands every
// sample to a results run.
//
// The protocols under study live in the folders below, one file each; the load
// engine is package bench. This package prints nothing and starts no process.
package scenarios
