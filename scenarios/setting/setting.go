// Package setting describes the settings of variants: enough for a parser, a help
// text, a schema and an option list. A variant is a table of [Param]; what was
// given for it is checked by [Parse].
//
// It knows no protocol and no file format: values come as decoders of YAML and
// JSON give them.
package setting

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Param describes one setting of a variant.
type Param struct {
	// Name is the key in scenario files; Unit is what a number counts, as "items"
	// or "bytes", or empty.
	Name, Unit string
	// Default is a string, int or bool; its type is the type of the setting.
	Default any
	// Min and Max bound an int.
	Min, Max int
	// Choices lists the strings allowed. On an int they are words that may stand
	// in place of a number.
	Choices []string
	// Doc is one sentence.
	Doc string
	// Server says that the setting is one of the simulated server: against a
	// server that cannot be told it has no effect and must not be given.
	Server bool
}

// Parse checks what was given against the table of a variant, fills in defaults
// and hands each value to set: a string, int or bool as the default is, or a
// string where a word stands for a number. Numbers may be of any integer type or
// integral floats. The error names every setting that is wrong and what would do;
// whose begins its text, as "roster: rsm".
func Parse(whose string, table []Param, given map[string]any, set func(name string, value any)) error {
	var errs []error
	known := make([]string, 0, len(table))
	for _, param := range table {
		known = append(known, param.Name)
		value, ok := given[param.Name]
		if !ok {
			value = param.Default
		}
		checked, err := param.check(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", whose, param.Name, err))
			continue
		}
		set(param.Name, checked)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case slices.Contains(known, name):
		case len(known) == 0:
			errs = append(errs, fmt.Errorf("%s: %s: no such setting: this variant has none", whose, name))
		default:
			errs = append(errs, fmt.Errorf("%s: %s: no such setting: use one of %s", whose, name, strings.Join(known, ", ")))
		}
	}
	return errors.Join(errs...)
}

// check returns value in the type of the setting, or why it cannot be.
func (p Param) check(value any) (any, error) {
	switch p.Default.(type) {
	case bool:
		if b, ok := value.(bool); ok {
			return b, nil
		}
		return nil, fmt.Errorf("%v is neither true nor false", value)
	case string:
		s, ok := value.(string)
		if !ok || !slices.Contains(p.Choices, s) {
			return nil, fmt.Errorf("%v is not one of %s", value, strings.Join(p.Choices, ", "))
		}
		return s, nil
	}
	if s, ok := value.(string); ok && slices.Contains(p.Choices, s) {
		return s, nil
	}
	n, ok := integer(value)
	switch {
	case ok && n >= p.Min && n <= p.Max:
		return n, nil
	case len(p.Choices) > 0:
		return nil, fmt.Errorf("%v is neither a number of %s from %d to %d nor %q", value, p.Unit, p.Min, p.Max, strings.Join(p.Choices, ", "))
	}
	return nil, fmt.Errorf("%v is not a number of %s from %d to %d", value, p.Unit, p.Min, p.Max)
}

func integer(value any) (int, bool) {
	switch n := value.(type) {
	case int:
		return n, true
	case int32:
		return int(n), true
	case int64:
		return int(n), int64(int(n)) == n
	case uint64:
		return int(n), n <= 1<<31 // #nosec G115 -- checked beside it
	case float64:
		return int(n), float64(int(n)) == n
	}
	return 0, false
}
