package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/scenarios/setting"
)

// Bounds of what a file may ask for, so that a slip of the pen ends in an error
// and not in a week of load.
const (
	maxFile  = 1 << 20 // bytes of a scenario or target file
	maxPlans = 1000
	maxArms  = 64
)

// Alpha is the joint probability of an error in the verdicts of a plan.
const Alpha = 0.05

// FileError is an error in a scenario or target file.
type FileError struct {
	File         string // name of the file, or "--set"
	Line, Column int    // from 1; 0 if the whole file is meant
	Key          string // path of the key, empty if none is meant
	Err          error
}

// Error formats the error as "file:line:column: key: why".
func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteString(": ")
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the reason.
func (e *FileError) Unwrap() error { return e.Err }

// Override changes what a file says.
type Override struct {
	// Set holds path=value pairs, the value in YAML, a list where a dimension is
	// meant.
	Set []string
	// Variants, if not nil, replaces the list of variants; "all" is every one.
	Variants []string
	// Baseline, if not empty, is the label of the arm that the others are
	// compared with.
	Baseline string
	// Blocks and Seed, if not nil, replace the file's.
	Blocks *int
	Seed   *uint64
	// Search, if not nil, is the path of the key that a search gives its values,
	// empty for that of the scenario's rate or size.
	Search *string `json:",omitempty"`
}

// Parse reads a scenario file and returns its plans: the cross product of its
// dimensions, in the order in which the file names them, the last one changing
// fastest. Every error is a [*FileError], several of them joined.
func Parse(name string, source []byte, o Override) ([]Plan, error) {
	p := &planParser{file: name, override: o}
	root, err := document(name, source)
	if err != nil {
		return nil, err
	}
	p.scenario(root)
	if len(p.errs) == 0 {
		p.mapping("", root)
		p.overrides()
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	plans := p.plans()
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return plans, nil
}

// document parses YAML into its top-level mapping.
func document(name string, source []byte) (*ast.MappingNode, error) {
	if len(source) > maxFile {
		return nil, &FileError{File: name, Err: fmt.Errorf("is %d bytes long; the limit is %d", len(source), maxFile)}
	}
	file, err := parseYAML(source)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil && syntax.Token.Position != nil {
			pos := syntax.Token.Position
			return nil, &FileError{File: name, Line: pos.Line, Column: pos.Column, Err: errors.New(syntax.Message)}
		}
		return nil, &FileError{File: name, Err: err}
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, &FileError{File: name, Err: errors.New("must hold one YAML document with at least one key")}
	}
	root := asMapping(file.Docs[0].Body)
	if root == nil {
		return nil, at(name, file.Docs[0].Body, "", errors.New("must be a mapping of keys to values"))
	}
	return root, nil
}

// parseYAML turns a panic of the parser into an error: its input is untrusted.
func parseYAML(source []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			file, err = nil, errors.New("is not YAML that can be read")
		}
	}()
	return parser.ParseBytes(source, 0)
}

func asMapping(n ast.Node) *ast.MappingNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n
	case *ast.MappingValueNode:
		return &ast.MappingNode{BaseNode: n.BaseNode, Start: n.Start, Values: []*ast.MappingValueNode{n}}
	}
	return nil
}

// at makes a FileError at a node.
func at(file string, n ast.Node, key string, err error) *FileError {
	e := &FileError{File: file, Key: key, Err: err}
	if n == nil {
		return e
	}
	if tok := n.GetToken(); tok != nil && tok.Position != nil {
		e.Line, e.Column = tok.Position.Line, tok.Position.Column
	}
	return e
}

// scalar returns the text of a single value as it was written.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// A dimension is a key with its values, already parsed.
type dimension struct {
	path   string
	where  place
	texts  []string
	values []any
	set    func(*Plan, any)
}

// An armSpec is an entry of the list of variants.
type armSpec struct {
	label, variant string
	params         map[string]any
	node           ast.Node
}

// A place is where something was written down.
type place struct {
	file string
	node ast.Node
}

type planParser struct {
	file   string
	option string // of the command line that is being applied; empty while the file is read
	errs   []error
	name   string // of the scenario
	family family // of its variants
	dims   []dimension
	arms   []armSpec
	asked  map[string]place // variant settings given for all variants
	set    []string         // keys that the command line sets

	override Override

	thresholds []string
}

func (p *planParser) fail(n ast.Node, key string, format string, args ...any) {
	p.errs = append(p.errs, at(p.file, n, key, fmt.Errorf(format, args...)))
}

// scenario finds the scenario first, since the other keys depend on it.
func (p *planParser) scenario(root *ast.MappingNode) {
	for _, value := range root.Values {
		if value.Key.String() != "scenario" {
			continue
		}
		name, _ := scalar(value.Value)
		s, ok := Find(name)
		if !ok {
			p.fail(value.Value, "scenario", "%q is not one of %s", name, strings.Join(Names(), ", "))
			return
		}
		p.name, p.family = name, s.family()
		return
	}
	p.errs = append(p.errs, &FileError{File: p.file, Key: "scenario", Err: fmt.Errorf("is missing: name one of %s", strings.Join(Names(), ", "))})
}

func (p *planParser) mapping(prefix string, m *ast.MappingNode) {
	for _, value := range m.Values {
		key, ok := scalar(value.Key)
		if !ok {
			p.fail(value.Key, prefix, "a key must be a plain word")
			continue
		}
		p.entry(prefix+key, value.Key, value.Value)
	}
}

// entry takes one key with its value, a single one or a list.
func (p *planParser) entry(path string, where, value ast.Node) {
	switch path {
	case "scenario":
		return
	case "variants":
		p.variants(value)
		return
	case "thresholds":
		p.threshold(value)
		return
	}
	if metric, ok := strings.CutPrefix(path, "thresholds."); ok {
		p.metricThresholds(metric, value)
		return
	}
	if m := asMapping(value); m != nil {
		p.mapping(path+".", m)
		return
	}
	if _, null := value.(*ast.NullNode); null {
		p.fail(where, path, "has no value: give one or leave the key out")
		return
	}
	values := []ast.Node{value}
	if list, ok := value.(*ast.SequenceNode); ok {
		if len(list.Values) == 0 {
			p.fail(value, path, "is an empty list")
			return
		}
		values = list.Values
	}
	parse, set, err := p.lookup(path)
	if err != nil {
		p.fail(where, path, "%w", err)
		return
	}
	d := dimension{path: path, where: place{p.file, where}, set: set}
	for _, n := range values {
		text, ok := scalar(n)
		if !ok {
			p.fail(n, path, "must be a single value")
			continue
		}
		v, err := parse(text)
		if shape, ok := v.(Shape); ok && err == nil {
			v, err = shape.load(p.dir())
		}
		if err != nil {
			p.fail(n, path, "%w", err)
			continue
		}
		if slices.Contains(d.texts, text) {
			p.fail(n, path, "%s stands twice in the list", text)
			continue
		}
		d.texts = append(d.texts, text)
		d.values = append(d.values, v)
	}
	if set == nil {
		if p.asked == nil {
			p.asked = make(map[string]place)
		}
		p.asked[strings.TrimPrefix(path, p.family.prefix+".")] = place{p.file, where}
	}
	if i := slices.IndexFunc(p.dims, func(d dimension) bool { return d.path == path }); i >= 0 {
		if p.option == "" {
			p.fail(where, path, "stands twice")
			return
		}
		p.dims = slices.Delete(p.dims, i, i+1)
	}
	p.dims = append(p.dims, d)
	if p.option != "" {
		p.set = append(p.set, path)
	}
}

// dir is what names of files start from: the folder of the scenario file, or where
// the command line was given.
func (p *planParser) dir() string {
	if p.option != "" {
		return ""
	}
	return filepath.Dir(p.file)
}

// lookup finds a key. The setter of a variant's setting is nil: settings of
// variants are applied when the arms are made.
func (p *planParser) lookup(path string) (parse func(string) (any, error), set func(*Plan, any), err error) {
	for _, k := range Keys() {
		if k.Path != path {
			continue
		}
		if !k.has(p.name) {
			return nil, nil, fmt.Errorf("the scenario %s has no such key", p.name)
		}
		return k.parse, k.set, nil
	}
	for _, f := range families() {
		for _, param := range f.settings() {
			switch {
			case path != f.prefix+"."+param.Name:
			case f.prefix != p.family.prefix:
				return nil, nil, fmt.Errorf("the scenario %s has no such key", p.name)
			default:
				return func(s string) (any, error) { return parseParam(param, s) }, nil, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("is unknown%s", p.suggest(path))
}

// parseParam reads the value of a variant's setting as it stands in a file;
// Variant.Parse checks its range.
func parseParam(param setting.Param, s string) (any, error) {
	switch param.Default.(type) {
	case bool:
		return Key{Kind: KindBool}.parse(s)
	case string:
		return s, nil
	}
	if slices.Contains(param.Choices, s) {
		return s, nil
	}
	switch param.Unit {
	case unitBytes:
		v, err := ParseBytes(s)
		return int(v), err
	case unitMilliseconds:
		return parseMilliseconds(s)
	}
	v, err := ParseCount(s)
	return int(v), err
}

// parseMilliseconds reads a duration, which without a unit is one in milliseconds.
func parseMilliseconds(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, nil
	}
	d, err := ParseDuration(s)
	if err != nil {
		return 0, err
	}
	if d%time.Millisecond != 0 {
		return 0, fmt.Errorf("%s is not a whole number of milliseconds", s)
	}
	return int(d / time.Millisecond), nil
}

// suggest names the known key that is nearest to path.
func (p *planParser) suggest(path string) string {
	known := []string{"scenario", "variants", "thresholds"}
	for _, k := range Keys() {
		if k.has(p.name) {
			known = append(known, k.Path)
		}
	}
	for _, param := range p.family.settings() {
		known = append(known, p.family.prefix+"."+param.Name)
	}
	best, least := "", max(2, len(path)/3)+1
	for _, k := range known {
		if d := distance(path, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return "; `xmppbench explain " + p.name + "` lists the keys"
	}
	return "; did you mean " + best + "?"
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func (p *planParser) threshold(value ast.Node) {
	m := asMapping(value)
	if m == nil {
		p.fail(value, "thresholds", "must map metrics to lists of conditions, as in `ready: [\"p(99)<2s\"]`")
		return
	}
	for _, entry := range m.Values {
		metric, _ := scalar(entry.Key)
		p.metricThresholds(metric, entry.Value)
	}
}

// metricThresholds takes the conditions of one metric, in place of earlier ones.
func (p *planParser) metricThresholds(metric string, value ast.Node) {
	list := []ast.Node{value}
	if seq, ok := value.(*ast.SequenceNode); ok {
		list = seq.Values
	}
	p.thresholds = slices.DeleteFunc(p.thresholds, func(t string) bool { return strings.HasPrefix(t, metric+" ") })
	for _, n := range list {
		text := p.condition(n, "thresholds."+metric)
		expr, err := results.Parse(metric + " " + text)
		if err == nil {
			err = checkThreshold(p.name, expr)
		}
		if err != nil {
			p.fail(n, "thresholds."+metric, "%w", err)
			continue
		}
		p.thresholds = append(p.thresholds, expr.String())
	}
}

// condition reads a condition as it stands in the list of a metric: an expression
// without the metric, or a mapping that says whether it ends the run, under the
// names that k6 uses.
func (p *planParser) condition(n ast.Node, key string) string {
	m := asMapping(n)
	if m == nil {
		text, _ := scalar(n)
		return text
	}
	var text, abort, delay string
	for _, entry := range m.Values {
		name, _ := scalar(entry.Key)
		value, _ := scalar(entry.Value)
		switch name {
		case "threshold":
			text = value
		case "abortOnFail":
			switch value {
			case "true":
				abort = " abort"
			case "false":
			default:
				p.fail(entry.Value, key+".abortOnFail", "%q is neither true nor false", value)
			}
		case "delayAbortEval":
			d, err := ParseDuration(value)
			if err != nil {
				p.fail(entry.Value, key+".delayAbortEval", "%w", err)
				continue
			}
			delay = " after " + d.String()
		default:
			p.fail(entry.Key, key+"."+name, "is unknown: want threshold, abortOnFail or delayAbortEval")
		}
	}
	if abort == "" {
		return text // there is nothing to delay
	}
	return text + abort + delay
}

func (p *planParser) variants(value ast.Node) {
	list := []ast.Node{value}
	if seq, ok := value.(*ast.SequenceNode); ok {
		list = seq.Values
	}
	p.arms = nil
	for _, n := range list {
		if name, ok := scalar(n); ok {
			p.variant(n, name, nil, "")
			continue
		}
		m := asMapping(n)
		if m == nil {
			p.fail(n, "variants", "must be a name, or a mapping such as {variant: %s, as: label}", p.family.names()[0])
			continue
		}
		p.variantMapping(n, m)
	}
	if len(p.arms) > maxArms {
		p.fail(value, "variants", "names %d variants; the limit is %d", len(p.arms), maxArms)
	}
}

func (p *planParser) variantMapping(n ast.Node, m *ast.MappingNode) {
	var name, label string
	params := make(map[string]any)
	for _, entry := range m.Values {
		key, _ := scalar(entry.Key)
		text, ok := scalar(entry.Value)
		if !ok {
			p.fail(entry.Value, "variants."+key, "must be a single value: a setting that varies belongs under %s:", p.family.prefix)
			continue
		}
		switch key {
		case "variant":
			name = text
		case "as":
			label = text
		default:
			settings := p.family.settings()
			i := slices.IndexFunc(settings, func(s setting.Param) bool { return s.Name == key })
			if i < 0 {
				p.fail(entry.Key, "variants."+key, "no variant has such a setting")
				continue
			}
			v, err := parseParam(settings[i], text)
			if err != nil {
				p.fail(entry.Value, "variants."+key, "%w", err)
				continue
			}
			params[key] = v
		}
	}
	p.variant(n, name, params, label)
}

func (p *planParser) variant(n ast.Node, name string, params map[string]any, label string) {
	if name == "all" && params == nil && label == "" {
		for _, name := range p.family.names() {
			p.variant(n, name, nil, "")
		}
		return
	}
	if names := p.family.names(); !slices.Contains(names, name) {
		p.fail(n, "variants", "%q is not one of %s", name, strings.Join(names, ", "))
		return
	}
	if label == "" {
		label = name
	}
	if !validLabel(label) {
		p.fail(n, "variants", "%q cannot be a label: use letters, digits, '.', '_' and '-'", label)
		return
	}
	if slices.ContainsFunc(p.arms, func(a armSpec) bool { return a.label == label }) {
		p.fail(n, "variants", "%s stands twice: give one of them another label with `as`", label)
		return
	}
	p.arms = append(p.arms, armSpec{label: label, variant: name, params: params, node: n})
}

// validLabel keeps labels fit for file names, tags of histogram logs and tables.
func validLabel(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// overrides applies what the command line says over what the file says.
func (p *planParser) overrides() {
	for _, set := range p.override.Set {
		p.flagged("--set "+set, func() { p.assign(set) })
	}
	if p.override.Variants != nil {
		p.arms = nil
		p.flagged("--variants", func() {
			for _, name := range p.override.Variants {
				p.variant(nil, name, nil, "")
			}
		})
	}
}

// assign applies one path=value.
func (p *planParser) assign(set string) {
	path, text, ok := strings.Cut(set, "=")
	if !ok || path == "" {
		p.fail(nil, "", "must be path=value, as in roster.items=10k")
		return
	}
	f, err := parseYAML([]byte(text))
	if err != nil || len(f.Docs) != 1 || f.Docs[0].Body == nil {
		p.fail(nil, path, "%q is not a value", text)
		return
	}
	if path == "thresholds" {
		p.thresholds = nil
	}
	if path == "scenario" {
		p.fail(nil, path, "cannot be set: name another scenario instead")
		return
	}
	p.entry(path, nil, f.Docs[0].Body)
}

// searched is the path of the key that a search gives its values, if there is one.
func (o Override) searched(scenario string) string {
	if o.Search == nil {
		return ""
	}
	key, _ := SearchKey(scenario, *o.Search) // whoever searches refuses it
	return key.Path
}

// flagged tells which option of the command line wrong input came from, in place
// of a file. A key that the option itself names is not told again.
func (p *planParser) flagged(option string, parse func()) {
	before := len(p.errs)
	file := p.file
	p.file, p.option = option, option
	parse()
	p.file, p.option = file, ""
	for i, err := range p.errs[before:] {
		if e, ok := errors.AsType[*FileError](err); ok {
			key := e.Key
			if strings.HasPrefix(option, "--set "+key+"=") || option == "--"+key {
				key = ""
			}
			p.errs[before+i] = &FileError{File: option, Key: key, Err: e.Err}
		}
	}
}

// checkThreshold refuses a threshold that could never be judged, whatever is
// measured.
func checkThreshold(scenario string, e results.Expr) error {
	if err := e.CheckThreshold(results.Metrics()); err != nil {
		return err
	}
	return measures(scenario, e.Metric)
}

// measures refuses a metric that the scenario does not measure.
func measures(scenario, metric string) error {
	s, _ := Find(scenario)
	step := strings.HasPrefix(metric, "login.") && slices.Contains(s.Metrics, "login")
	if !step && !slices.Contains(s.Metrics, metric) {
		return fmt.Errorf("the scenario %s does not measure %s, but %s", scenario, metric, strings.Join(s.Metrics, ", "))
	}
	return nil
}

// plans builds the cross product.
func (p *planParser) plans() []Plan {
	if s, _ := Find(p.name); len(p.arms) > 0 && len(s.Variants()) == 0 {
		p.fail(nil, "variants", "the scenario %s compares none: leave them out", p.name)
		return nil
	}
	if p.name == CapacitySheet && slices.ContainsFunc(p.dims, func(d dimension) bool { return len(d.values) > 1 }) {
		p.fail(nil, "", "the scenario %s has one plan: give every key a single value", p.name)
		return nil
	}
	if len(p.arms) == 0 {
		baseline := p.family.names()[0]
		p.arms = []armSpec{{label: baseline, variant: baseline}}
	}
	total := 1
	for _, d := range p.dims {
		total *= len(d.values)
		if total > maxPlans {
			p.errs = append(p.errs, &FileError{File: p.file, Err: fmt.Errorf("makes more than %d plans: shorten the lists", maxPlans)})
			return nil
		}
	}
	p.checkAsked()
	plans := make([]Plan, 0, total)
	for n := range total {
		plan, ok := p.plan(n)
		if !ok {
			return nil
		}
		plans = append(plans, plan)
	}
	p.checkUsed(plans, p.override.searched(p.name))
	return plans
}

// checkAsked refuses a setting that none of the variants has: it would do
// nothing.
func (p *planParser) checkAsked() {
	for _, name := range slices.Sorted(maps.Keys(p.asked)) {
		where, key := p.asked[name], p.family.prefix+"."+name
		if where.node == nil {
			key = "" // the option that stands for the file names it
		}
		if !slices.ContainsFunc(p.arms, func(a armSpec) bool { return p.family.has(a.variant, name) }) {
			p.errs = append(p.errs, at(where.file, where.node, key, errors.New("none of the variants in this run has such a setting")))
		}
	}
}

func (p *planParser) plan(n int) (Plan, bool) {
	plan := Plan{Scenario: p.name, Thresholds: p.thresholds, Limits: results.DefaultLimits()}
	for _, k := range Keys() {
		if !k.has(p.name) {
			continue
		}
		v, err := k.parse(k.Default)
		if err != nil {
			panic("scenarios: default of " + k.Path + ": " + err.Error())
		}
		k.set(&plan, v)
	}
	if p.name == FederationScenario {
		plan.Login = echoLogin()
	}
	shared := make(map[string]any)
	var label []string
	for i := len(p.dims) - 1; i >= 0; i-- {
		d := p.dims[i]
		plan.Given = append(plan.Given, d.path)
		at := n % len(d.values)
		n /= len(d.values)
		if d.set != nil {
			d.set(&plan, d.values[at])
		} else {
			shared[strings.TrimPrefix(d.path, p.family.prefix+".")] = d.values[at]
		}
		if len(d.values) > 1 {
			short := p.shortName(d)
			value := labelText(d.texts[at])
			label = append(label, short+"="+value)
			if plan.Dimensions == nil {
				plan.Dimensions = make(map[string]string)
			}
			plan.Dimensions[short] = value
		}
	}
	slices.Reverse(label)
	plan.Label = strings.Join(label, ",")
	plan.labelClosed()
	if plan.Label == "" {
		plan.Label = allPlans
	}
	if err := plan.windows(p.set); err != nil {
		p.fail(nil, "load", "%w", err)
	}
	if o := p.override.Blocks; o != nil {
		plan.Blocks = *o
	}
	if o := p.override.Seed; o != nil {
		plan.Seed = *o
	}
	p.makeArms(&plan, shared)
	p.baseline(&plan, p.override.Baseline)
	if len(p.errs) == 0 {
		p.check(&plan)
	}
	return plan, len(p.errs) == 0
}

// shortName is what labels call a dimension: the last word of its path, or all
// of it where another dimension ends in the same word.
func (p *planParser) shortName(d dimension) string {
	last := func(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
	for _, o := range p.dims {
		if o.path != d.path && len(o.values) > 1 && last(o.path) == last(d.path) {
			return d.path
		}
	}
	return last(d.path)
}

// labelText keeps labels free of characters that mean something in tags.
func labelText(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(",/= \t", r) {
			return '_'
		}
		return r
	}, s)
}

func (p *planParser) makeArms(plan *Plan, shared map[string]any) {
	for _, spec := range p.arms {
		given := make(map[string]any)
		for name, value := range shared {
			if p.family.has(spec.variant, name) {
				given[name] = value
			}
		}
		maps.Copy(given, spec.params)
		arm, err := p.family.arm(spec.variant, given)
		if err != nil {
			p.fail(spec.node, "variants", "%w", err)
			continue
		}
		arm.Label, arm.Given = spec.label, slices.Sorted(maps.Keys(spec.params))
		plan.Arms = append(plan.Arms, arm)
	}
}

func (p *planParser) baseline(plan *Plan, label string) {
	if label == "" {
		return
	}
	i := slices.IndexFunc(plan.Arms, func(a Arm) bool { return a.Label == label })
	if i < 0 {
		p.errs = append(p.errs, &FileError{File: "--baseline", Err: fmt.Errorf("%q is none of the variants of this run", label)})
		return
	}
	arm := plan.Arms[i]
	plan.Arms = slices.Insert(slices.Delete(plan.Arms, i, i+1), 0, arm)
}

// check refuses what cannot work whatever the target.
func (p *planParser) check(plan *Plan) {
	fail := func(key, format string, args ...any) {
		p.fail(nil, key, format, args...)
	}
	s, _ := Find(plan.Scenario)
	s.check(p, plan)
	if comparisons := len(plan.Arms) - 1; comparisons > 0 {
		if least := results.MinBlocks(comparisons, Alpha); plan.Blocks < least {
			tooFew := func() {
				fail("blocks", "%d blocks cannot tell %d variants apart with %g %% confidence: use at least %d, or fewer variants",
					plan.Blocks, comparisons+1, 100*(1-Alpha), least)
			}
			if p.override.Blocks != nil {
				p.flagged("--blocks", tooFew)
			} else {
				tooFew()
			}
		}
	}
	for _, t := range plan.Thresholds {
		if expr, err := results.Parse(t); err == nil {
			if err := plan.supports(expr); err != nil {
				fail("thresholds", "%w", err)
			}
		}
	}
}

// checkSessions refuses what no client can do.
func (p *planParser) checkSessions(plan *Plan) {
	fail := func(key, format string, args ...any) {
		p.fail(nil, key, format, args...)
	}
	if plan.Login.TLSMin > plan.Login.TLSMax {
		fail("login.tls-min", "%s is above login.tls-max, %s", plan.Login.TLSMin, plan.Login.TLSMax)
	}
	if plan.Login.TLS == "none" && strings.HasSuffix(plan.Login.SASL, "-PLUS") {
		fail("login.sasl", "%s binds to a TLS channel, but login.tls is none", plan.Login.SASL)
	}
	if _, err := plan.Population([]string{"example.test"}, "", ""); err != nil {
		fail("roster", "%w", err)
	}
	if window := plan.Probe.Before + plan.Probe.After; plan.probing() && window >= plan.Login.Limit {
		fail("login.limit", "%s is over before the probes of a cell are, which take %s and the roster's time", plan.Login.Limit, window)
	}
}

// checkCrowd refuses sessions that cannot come online.
func (p *planParser) checkCrowd(plan *Plan) {
	p.checkSessions(plan)
	n := plan.online(plan.Accounts)
	if n > plan.Accounts {
		p.fail(nil, "online.sessions", "%d sessions are to be online, one of each account, and there are %d accounts", n, plan.Accounts)
	}
	if _, ok := plan.Logins.reaches(n); !ok {
		p.fail(nil, "logins.rate", "%s ends before %d sessions are online", plan.Logins, n)
	}
	for _, arm := range plan.Arms {
		if s := arm.Params.State; s == roster.StateUnchanged || s == roster.StateStale {
			p.fail(nil, "variants", "%s: sessions of many accounts have no primed caches: use state: cold", arm.Label)
		}
	}
}

// checkSteady refuses traffic that cannot be.
func (p *planParser) checkSteady(plan *Plan) {
	fail := func(key, format string, args ...any) { p.fail(nil, key, format, args...) }
	if len(plan.traffic()) == 0 {
		fail("messages.rate", "there is no traffic: give a rate to messages, presence, pings or disco")
	}
	p.checkCrowd(plan)
	if plan.Presence.Rate.Any() && plan.Presence.Send == presenceNever {
		fail("presence.rate", "needs sessions that are available: set presence.send to after")
	}
	if plan.Presence.Rate.Any() && !plan.Online.Roster {
		fail("presence.rate", "needs rosters, which tell who sees whom: leave online.roster true")
	}
	if plan.Load.Duration <= 0 {
		return
	}
	opens, closes := plan.Load.Warmup, plan.Load.Warmup+plan.Load.Duration
	for _, f := range plan.traffic() {
		if f.Workers() == 0 && f.expected(opens, closes) == 0 {
			fail(f.Key, "%s has no arrivals in the measured window, from %s to %s", f.Shape, opens, closes)
		}
	}
}

// checkLoad refuses variants that only one-shot cells can run.
func (p *planParser) checkLoad(plan *Plan) {
	p.checkSessions(plan)
	for _, arm := range plan.Arms {
		if s := arm.Params.State; s == roster.StateUnchanged || s == roster.StateStale {
			p.fail(nil, "variants", "%s: a load of many accounts has no primed caches: use state: cold, or one-shot cells", arm.Label)
		}
	}
}

// supports refuses a quantile that the planned number of samples can never
// support, before the run.
func (p Plan) supports(e results.Expr) error {
	expected := p.samples(e.Metric)
	if need := e.MinSamples(); expected > 0 && need > expected {
		return fmt.Errorf("%s needs %d samples and this plan makes about %d: run longer, faster or in more blocks", e, need, expected)
	}
	return nil
}

// String names the arm as in results.
func (a Arm) String() string { return a.Label + " (" + strconv.Quote(a.Name) + ")" }
