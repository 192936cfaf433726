//go:build !linux

package results

// gatherMachine has nothing to add here: only Linux is asked.
func gatherMachine(*Environment) {}
