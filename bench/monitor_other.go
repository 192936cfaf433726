//go:build !linux

package bench

import "time"

func processCPU() *time.Duration { return nil }

func readMachine() machine { return machine{} }
