package bench

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU returns the user and system time of this process.
func processCPU() *time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return nil
	}
	return new(time.Duration(usage.Utime.Nano() + usage.Stime.Nano()))
}

// readMachine leaves out what the kernel does not offer, such as pressure where
// it was built without.
func readMachine() machine {
	var m machine
	if text, err := os.ReadFile("/proc/pressure/cpu"); err == nil {
		m.stall = parsePressure(string(text))
	}
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		m.steal, m.total = parseStat(string(text))
	}
	return m
}

// parsePressure returns the total of the line "some avg10=… total=<µs>".
func parsePressure(text string) *time.Duration {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "some" {
			continue
		}
		for _, field := range fields[1:] {
			if value, ok := strings.CutPrefix(field, "total="); ok {
				if us, err := strconv.ParseInt(value, 10, 64); err == nil {
					return new(time.Duration(us) * time.Microsecond)
				}
			}
		}
	}
	return nil
}

// parseStat returns stolen and all ticks of the line "cpu user nice system idle
// iowait irq softirq steal guest guest_nice". Guest time is part of user time
// already and must not count twice.
func parseStat(text string) (steal, total *uint64) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return nil, nil
	}
	var sum, last uint64
	for _, field := range fields[1:9] {
		ticks, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, nil
		}
		sum += ticks
		last = ticks
	}
	return new(last), new(sum)
}
