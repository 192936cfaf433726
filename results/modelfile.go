package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
)

// maxModel bounds a model file, in bytes.
const maxModel = 16 << 20

// ReadModel reads a model file and checks that it holds together.
func ReadModel(r io.Reader) (*Model, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxModel+1))
	if err != nil {
		return nil, fmt.Errorf("results: model: %w", err)
	}
	if len(b) > maxModel {
		return nil, fmt.Errorf("results: model: the file has more than %d bytes", maxModel)
	}
	var m Model
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("results: model: line %d: %w", errorLine(b, err), err)
	}
	if err := m.sound(); err != nil {
		return nil, fmt.Errorf("results: model: %w", err)
	}
	// Settings are compared as text.
	for _, raw := range m.settings() {
		if len(*raw) == 0 {
			continue
		}
		var c bytes.Buffer
		if err := json.Compact(&c, *raw); err != nil {
			return nil, fmt.Errorf("results: model: settings: %w", err)
		}
		*raw = c.Bytes()
	}
	return &m, nil
}

func (m *Model) settings() []*json.RawMessage {
	all := []*json.RawMessage{&m.Settings}
	for i := range m.Parts {
		all = append(all, &m.Parts[i].Settings)
	}
	return all
}

// sound refuses what no calibration leaves behind: it would predict nonsense.
func (m *Model) sound() error {
	if err := checkSchema(m.Schema, ModelSchema, "a model"); err != nil {
		return err
	}
	if len(m.Parts) == 0 {
		return errors.New("it has no variants")
	}
	seen := make(map[string]bool)
	for _, p := range m.Parts {
		if p.Variant == "" || seen[p.Variant] {
			return fmt.Errorf("variant %q has no name of its own", p.Variant)
		}
		seen[p.Variant] = true
		if err := p.sound(); err != nil {
			return fmt.Errorf("%s: %w", p.Variant, err)
		}
	}
	return nil
}

func (p *ModelPart) sound() error {
	for _, d := range p.Drivers {
		if d.Name == "" || !(d.Max > 0) || !(d.Min >= 0) || d.Min > d.Max {
			return fmt.Errorf("driver %q goes from %v to %v", d.Name, d.Min, d.Max)
		}
	}
	k := len(p.Drivers) + 1
	if len(p.Quantities) == 0 {
		return errors.New("it predicts nothing")
	}
	for _, q := range p.Quantities {
		if q.Name == "" || len(q.Coefficients) != k || len(q.Covariance) != k {
			return fmt.Errorf("quantity %q has %d coefficients and %d rows of covariance for a constant and %s", q.Name, len(q.Coefficients), len(q.Covariance), plural(int64(k-1), "driver"))
		}
		if q.DF < 1 || !(q.Residual >= 0) || q.Residual > maxResidual {
			return fmt.Errorf("quantity %q has %d degrees of freedom and a residual of %v", q.Name, q.DF, q.Residual)
		}
		for i, row := range q.Covariance {
			if len(row) != k {
				return fmt.Errorf("quantity %q: row %d of the covariance has %d columns, not %d", q.Name, i, len(row), k)
			}
			if !(q.Coefficients[i] >= 0) || !(row[i] >= 0) {
				return fmt.Errorf("quantity %q: coefficient %d is %v with a variance of %v", q.Name, i, q.Coefficients[i], row[i])
			}
		}
	}
	for _, point := range p.Points {
		if point.Role != RoleCalibration && point.Role != RoleHeldOut {
			return fmt.Errorf("a point has the role %q", point.Role)
		}
	}
	return nil
}

// maxResidual is a relative error beyond which nothing was fitted.
const maxResidual = 1e6

// Write writes the model as a file of indented JSON.
func (m *Model) Write(w io.Writer) error {
	if err := encodeJSON(w, m, "  "); err != nil {
		return fmt.Errorf("results: model: %w", err)
	}
	return nil
}

// Save writes the model to a file, which it replaces as a whole or not at all.
func (m *Model) Save(name string) error {
	return writeJSON(filepath.Dir(name), filepath.Base(name), m)
}

// ZipfPairs is the number of pairs that so many messages are expected to meet at least
// once, if the parties at each side are as popular as a power of their rank: the sum of
// 1 - exp(-messages·p·q). An exponent of 0 makes all equally popular. It also returns
// how many parties of each side are met, and how many of the messages meet a pair that
// none of the others is expected to meet: messages·p·q·exp(-messages·p·q), which is how
// often a pair is met for the first time in as long as it takes to send them all.
//
// The first 200 ranks are summed one by one, the others in bins of 2 %.
func ZipfPairs(n, m int, exponent, messages float64) (met ZipfMet) {
	a, b := zipfBins(n, exponent), zipfBins(m, exponent)
	for _, p := range a {
		met.A += p.count * -math.Expm1(-messages*p.share)
		for _, q := range b {
			x := messages * p.share * q.share
			met.Pairs += p.count * q.count * -math.Expm1(-x)
			met.Again += p.count * q.count * x * math.Exp(-x)
		}
	}
	for _, q := range b {
		met.B += q.count * -math.Expm1(-messages*q.share)
	}
	return met
}

// ZipfMet is what messages are expected to meet.
type ZipfMet struct {
	Pairs float64 // at least once
	A, B  float64 // parties of each side, at least once
	Again float64 // messages before which their pair was silent for as long as all of them take
}

// A zipfBin is a number of ranks of about the same popularity.
type zipfBin struct {
	count float64
	share float64 // of the messages, of each rank
}

// What is summed rank by rank, and how wide bins are beyond.
const (
	zipfExact = 200
	zipfWidth = 1.02
)

func zipfBins(n int, exponent float64) []zipfBin {
	var bins []zipfBin
	sum := 0.0
	for low := 1; low <= n; {
		high := low
		if low > zipfExact {
			high = min(max(low, int(float64(low)*zipfWidth)), n)
		}
		bin := zipfBin{count: float64(high - low + 1)}
		for rank := low; rank <= high; rank++ {
			bin.share += math.Pow(float64(rank), -exponent)
		}
		sum += bin.share
		bin.share /= bin.count
		bins = append(bins, bin)
		low = high + 1
	}
	for i := range bins {
		bins[i].share /= sum
	}
	return bins
}
