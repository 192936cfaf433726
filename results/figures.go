package results

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Figures of a run directory are at most this far from 0, and those that are not 0 at
// least that far: their ratios and differences then are numbers, which JSON can hold.
const (
	farthest = 1e100
	nearest  = 1e-100
)

func plausible(v float64) bool {
	a := math.Abs(v)
	return a == 0 || a >= nearest && a <= farthest
}

// checkFigures refuses figures that nobody measured, wherever they stand in what was
// read from a run directory. A [Ratio] may be anything, and what is of any type is
// passed over.
func checkFigures(v any) error {
	if path, bad := implausible(reflect.ValueOf(v)); bad != 0 {
		return fmt.Errorf("%s is %g: figures are 0, or %g to %g away from it", strings.TrimPrefix(path, "."), bad, nearest, farthest)
	}
	return nil
}

// implausible returns a figure that is not plausible, and the way to it; 0 if there is
// none.
func implausible(v reflect.Value) (path string, bad float64) {
	switch v.Kind() {
	case reflect.Float64:
		if f := v.Float(); v.Type() != reflect.TypeFor[Ratio]() && !plausible(f) {
			return "", f
		}
	case reflect.Pointer:
		return implausible(v.Elem())
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k == reflect.String {
			return "", 0
		}
		for i := range v.Len() {
			if path, bad = implausible(v.Index(i)); bad != 0 {
				return "[" + strconv.Itoa(i) + "]" + path, bad
			}
		}
	case reflect.Map:
		for k, e := range v.Seq2() {
			if path, bad = implausible(e); bad != 0 {
				return "." + fmt.Sprint(k) + path, bad
			}
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return "", 0
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if path, bad = implausible(v.Field(i)); bad != 0 {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if !f.Anonymous {
					path = "." + name + path
				}
				return path, bad
			}
		}
	default: // neither a figure nor what holds some; nothing
	}
	return "", 0
}
