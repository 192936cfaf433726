package bench

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// MaxTrace is the greatest number of arrivals that [Trace] accepts; they are
// held in memory, 8 bytes each.
const MaxTrace = 10_000_000

type trace []time.Duration

// Trace reads a plan: one offset per line as a Go duration ("0s", "1m2.5s",
// "250ms"), never smaller than the one before. Blank lines and lines that begin
// with # are skipped. Errors name the line.
func Trace(r io.Reader) (Pacer, error) {
	var t trace
	var last time.Duration
	line := 0
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		line++
		text := strings.TrimSpace(scanner.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		offset, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("bench: trace line %d: want an offset such as 250ms: %w", line, err)
		}
		if offset < 0 {
			return nil, fmt.Errorf("bench: trace line %d: offset %v: must not be negative", line, offset)
		}
		if offset < last {
			return nil, fmt.Errorf("bench: trace line %d: offset %v lies before %v: sort the offsets", line, offset, last)
		}
		if len(t) == MaxTrace {
			return nil, fmt.Errorf("bench: trace line %d: more than %d arrivals", line, MaxTrace)
		}
		t = append(t, offset)
		last = offset
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("bench: trace line %d: %w", line+1, err)
	}
	return t, nil
}

func (t trace) At(seq uint64) (time.Duration, bool) {
	if seq >= uint64(len(t)) {
		return 0, false
	}
	return t[seq], true
}
