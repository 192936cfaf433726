package xk6xmpp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/sobek"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// mesh is the class Mesh: two federating providers in this process, or one of them and a
// server, by the federation engine of the project.
type mesh struct {
	m      *instance
	config scenarios.MeshConfig
	tags   sobek.Value

	mu       sync.Mutex
	standing *standing // nil before open and after close
	stats    *meshStats
	busy     bool // event loop only
}

// standing is a mesh that is open.
type standing struct {
	*scenarios.StandingMesh
	life context.Context // ends when it is closed
	end  context.CancelFunc
}

func meshClass() class[*mesh] {
	return class[*mesh]{
		name: "Mesh",
		make: newMesh,
		methods: map[string]func(*mesh, sobek.FunctionCall) sobek.Value{
			"open": (*mesh).open, "addDomain": (*mesh).addDomain, "ping": (*mesh).ping, "burst": (*mesh).burst, "close": (*mesh).close,
		},
		getters: map[string]func(*mesh) any{
			"stats": func(x *mesh) any {
				x.mu.Lock()
				defer x.mu.Unlock()
				if x.stats == nil {
					return nil
				}
				return x.stats
			},
			"local":  func(x *mesh) any { local, _ := x.domains(); return local },
			"remote": func(x *mesh) any { _, remote := x.domains(); return remote },
		},
	}
}

// maxMeshDomains bounds one side of a mesh.
const maxMeshDomains = 100_000

// stageS2S is the stage of everything between servers.
const stageS2S = "s2s"

func newMesh(m *instance, call sobek.ConstructorCall) *mesh {
	p := m.options("Mesh()", call.Argument(0), true)
	x := &mesh{m: m}
	c := &x.config
	c.Variant, _ = s2s.Find(p.choice("variant", s2s.Names()[0], s2s.Names()...))
	for _, name := range []string{"strategy", "auth"} {
		p.not(name, "is said by the variant: use one of %s", strings.Join(s2s.Names(), ", "))
	}
	p.not("host", "is said by the target, a text such as docs/targets.md describes")
	given := make(map[string]any)
	for _, s := range c.Variant.Settings() {
		if v := p.get(optionOf(s.Name)); v != nil {
			given[s.Name] = v.Export()
		}
	}
	var err error
	if c.Params, err = c.Variant.Parse(given); err != nil {
		m.typeErrorf("Mesh(): %v", err)
	}
	c.Local, c.Remote = p.names("local", "a"), p.names("remote", "b")
	c.Limit = p.duration("timeout", defaultTimeout)
	c.Size = p.integer("size", 256, 1, 1<<20)
	c.Seed = uint64(p.number("seed", 1, 0, 1<<53))
	c.Key = lab.KeyType(p.choice("key", string(lab.P256), string(lab.P256), string(lab.RSA2048), string(lab.Ed25519)))
	allow := p.texts("allow")
	if text := p.text("target", ""); text != "" {
		file, err := scenarios.ParseTarget("target.yaml", []byte(text))
		if err != nil {
			p.bad("target", "%v", err)
		}
		c.Target = &scenarios.ServerTargets{File: file, Allow: allow}
	}
	x.tags = p.tagged()
	p.done()
	return x
}

// names reads a list of domains, or how many to make up.
func (p *options) names(name, letter string) []string {
	v := p.get(name)
	if v == nil {
		p.bad(name, "is required: an array of domains, or how many of them to make up")
	}
	if _, isNumber := v.Export().(int64); isNumber {
		n := p.integer(name, 0, 1, maxMeshDomains)
		made := make([]string, 0, n)
		for i := range n {
			made = append(made, fmt.Sprintf("%s%d.test", letter, i+1))
		}
		return made
	}
	names := p.texts(name)
	seen := make(map[string]bool, len(names))
	for _, d := range names {
		if !domainName(d) || seen[d] {
			p.bad(name, "%q is no domain in lower case, or stands twice", d)
		}
		seen[d] = true
	}
	if len(names) == 0 {
		p.bad(name, "is empty")
	}
	return names
}

// domainName reports whether s is a domain as the engine wants it.
func domainName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && s[0] != '.'
}

// recorder returns one with the tags of the mesh and those of the call.
func (x *mesh) recorder(ctx context.Context, p *options) recorder {
	return x.m.taggedRecorder(ctx, p, x.tags).with("s2s_strategy", x.config.Variant.Name, "s2s_layout", x.config.Variant.Layout(x.config.Params).String())
}

func (x *mesh) domains() (local, remote []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.standing == nil {
		return x.config.Local, x.config.Remote
	}
	return x.standing.Domains()
}

// meshStats is what a mesh has come to.
type meshStats struct {
	Variant     string           `js:"variant"`
	Layout      string           `js:"layout"`
	Pairs       int              `js:"pairs"`
	Connections int64            `js:"connections"`
	Handshakes  int64            `js:"tlsHandshakes"`
	Proofs      int64            `js:"authorisations"` // of authority: EXTERNAL, dialback, attribute certificates
	Bytes       int64            `js:"bytes"`          // of XML, both directions
	Duration    float64          `js:"duration"`
	Counts      map[string]int64 `js:"counts"`
	Expected    any              `js:"expected"` // by the closed form; null against a server
	Agrees      any              `js:"agrees"`   // whether counts and closed form do; null against a server
}

// figures reads what the mesh has come to.
func (x *mesh) figures(ctx context.Context, s *standing, took time.Duration) (*meshStats, error) {
	got, want, err := s.Figures(ctx)
	if err != nil {
		return nil, err
	}
	local, remote := s.Domains()
	out := &meshStats{
		Variant: x.config.Variant.Name, Layout: x.config.Variant.Layout(x.config.Params).String(),
		Pairs: len(local) * len(remote), Connections: got[s2s.FigureAlive], Handshakes: got[s2s.FigureFull] + got[s2s.FigureResumed],
		Proofs: got[s2s.FigureSASL] + got[s2s.FigureResults] + got[s2s.FigureProofs],
		Bytes:  got[s2s.FigureBytesOut], Duration: milliseconds(took), Counts: got,
	}
	if want == nil {
		// The server's connections count as well.
		out.Connections = got[s2s.FigureStreams]
		return out, nil
	}
	agrees := true
	expected := make(map[string]int64, len(want))
	for name, n := range want {
		if x.config.Params.Resumption && (name == s2s.FigureFull || name == s2s.FigureSigned || name == s2s.FigureVerified) {
			continue // depends on who comes first
		}
		expected[name] = int64(n)
		agrees = agrees && got[name] == int64(n)
	}
	out.Expected, out.Agrees = expected, agrees
	return out, nil
}

// run does something with the standing mesh; after runs on the event loop.
func (x *mesh) run(ctx context.Context, r recorder, s *standing, timeout time.Duration, after func(), work func(ctx context.Context) (any, error)) sobek.Value {
	if s == nil {
		panic(x.m.jsError(&fault{stage: stageS2S, condition: "not-connected", err: errors.New("the mesh is not open")}))
	}
	return x.m.async(ctx, after, func(ctx context.Context) (any, error) {
		bounded, cancel := within(ctx, timeout)
		defer cancel()
		defer context.AfterFunc(s.life, cancel)()
		result, err := work(bounded)
		if err != nil {
			err = timedOut(ctx, bounded, err)
			if s.life.Err() != nil {
				err = &fault{stage: stageS2S, condition: conditionLost, err: errors.New("the mesh was closed meanwhile")}
			}
			f := fail(stageS2S, err)
			r.failed(stageS2S, f)
			return nil, f
		}
		return result, nil
	})
}

func (x *mesh) current() *standing {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.standing
}

// open starts the providers and makes all pairs talk.
func (x *mesh) open(call sobek.FunctionCall) sobek.Value {
	ctx := x.m.vuContext("Mesh.open()")
	p := x.m.options("Mesh.open()", call.Argument(0), false)
	r := x.recorder(ctx, p)
	p.done()
	if x.busy || x.current() != nil {
		x.m.typeErrorf("Mesh.open(): the mesh is open already")
	}
	x.busy = true
	type outcome struct {
		stats *meshStats
		err   error
	}
	raised := make(chan outcome, 1)
	// Certificates take their time, and so does the end of what has begun: the iteration does not wait for it.
	x.m.root.work.Go(func() {
		stats, err := x.raise(ctx, r)
		raised <- outcome{stats, err}
	})
	return x.m.async(ctx, func() { x.busy = false }, func(ctx context.Context) (any, error) {
		var (
			stats *meshStats
			err   error
		)
		select {
		case o := <-raised:
			stats, err = o.stats, o.err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			f := fail(stageS2S, err)
			r.failed(stageS2S, f)
			return nil, f
		}
		return stats, nil
	})
}

func (x *mesh) raise(ctx context.Context, r recorder) (*meshStats, error) {
	made, err := scenarios.OpenMesh(ctx, x.config)
	if err != nil {
		return nil, err
	}
	s := &standing{StandingMesh: made}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	start := time.Now()
	elapsed, trips, err := s.BringUp(ctx)
	if err != nil && time.Since(start) >= x.config.Limit {
		err = fmt.Errorf("%w: %w", errTimeout, err)
	}
	var stats *meshStats
	if err == nil {
		stats, err = x.figures(ctx, s, elapsed)
	}
	if err != nil {
		s.end()
		_ = s.Close(context.WithoutCancel(ctx)) // what went wrong before counts
		return nil, err
	}
	x.mu.Lock()
	x.standing, x.stats = s, stats
	x.mu.Unlock()
	// The end of the iteration ends the mesh.
	context.AfterFunc(ctx, func() { _ = x.end(s) })
	now := time.Now()
	figures := []figure{
		took(metricSetup, elapsed), {metricConnections, float64(stats.Connections)}, {metricHandshakes, float64(stats.Handshakes)},
	}
	for _, t := range trips {
		figures = append(figures, took(metricPairReady, t.Ready))
	}
	r.push(now, figures...)
	return stats, nil
}

// end closes the mesh, unless that has been done.
func (x *mesh) end(s *standing) error {
	x.mu.Lock()
	mine := x.standing == s
	if mine {
		x.standing = nil
	}
	x.mu.Unlock()
	if !mine {
		return nil
	}
	s.end()
	return s.Close(context.Background())
}

// added is what addDomain() resolves with.
type added struct {
	Duration float64 `js:"duration"`
}

// addDomain adds a domain to the local provider.
func (x *mesh) addDomain(call sobek.FunctionCall) sobek.Value {
	ctx := x.m.vuContext("Mesh.addDomain()")
	domain, ok := call.Argument(0).Export().(string)
	if !ok || !domainName(domain) {
		x.m.typeErrorf("Mesh.addDomain(): %v is not a domain in lower case", call.Argument(0))
	}
	p := x.m.options("Mesh.addDomain()", call.Argument(1), false)
	timeout := p.duration("timeout", x.config.Limit)
	r := x.recorder(ctx, p)
	p.done()
	if x.busy {
		x.m.typeErrorf("Mesh.addDomain(): wait for what the mesh is doing")
	}
	s := x.current()
	x.busy = s != nil
	return x.run(ctx, r, s, timeout, func() { x.busy = false }, func(ctx context.Context) (any, error) {
		elapsed, _, err := s.Add(ctx, domain)
		if err != nil {
			return nil, err
		}
		r.push(time.Now(), took(metricDomainAuth, elapsed))
		stats, err := x.figures(ctx, s, elapsed)
		if err != nil {
			return nil, err
		}
		x.mu.Lock()
		stats.Duration = x.stats.Duration
		x.stats = stats
		x.mu.Unlock()
		return &added{milliseconds(elapsed)}, nil
	})
}

// pair reads the pair of a call, any of the mesh where none is given.
func (x *mesh) pair(p *options) func() s2s.Pair {
	from, to := p.text("from", ""), p.text("to", "")
	local, remote := x.domains()
	for _, end := range []struct {
		name, domain string
		among        []string
	}{{"from", from, local}, {"to", to, remote}} {
		if end.domain != "" {
			p.among(end.name, end.domain, end.among)
		}
	}
	return func() s2s.Pair {
		pair := s2s.Pair{From: from, To: to}
		if from == "" {
			pair.From = local[rand.IntN(len(local))] // #nosec G404 -- any pair will do
		}
		if to == "" {
			pair.To = remote[rand.IntN(len(remote))] // #nosec G404 -- as above
		}
		return pair
	}
}

// ping sends one message over a pair and waits for its echo.
func (x *mesh) ping(call sobek.FunctionCall) sobek.Value {
	ctx := x.m.vuContext("Mesh.ping()")
	p := x.m.options("Mesh.ping()", call.Argument(0), false)
	pick := x.pair(p)
	timeout := p.duration("timeout", x.config.Limit)
	size := p.integer("size", x.config.Size, 1, 1<<20)
	r := x.recorder(ctx, p)
	p.done()
	s := x.current()
	return x.run(ctx, r, s, timeout, nil, func(ctx context.Context) (any, error) {
		d, err := s.Echo(ctx, pick(), size)
		if err != nil {
			return nil, err
		}
		r.push(time.Now(), took(metricS2SRTT, d))
		return milliseconds(d), nil
	})
}

// burstStats is what burst() resolves with.
type burstStats struct {
	Sent     int64   `js:"sent"`
	Failed   int64   `js:"failed"`
	Duration float64 `js:"duration"`
}

// burst sends many messages over random pairs, some at a time, and waits for the echoes.
func (x *mesh) burst(call sobek.FunctionCall) sobek.Value {
	ctx := x.m.vuContext("Mesh.burst()")
	p := x.m.options("Mesh.burst()", call.Argument(0), true)
	if !p.has("count") {
		p.bad("count", "is required")
	}
	count := p.integer("count", 0, 1, 100_000_000)
	concurrency := p.integer("concurrency", 16, 1, 10_000)
	size := p.integer("size", x.config.Size, 1, 1<<20)
	pick := x.pair(p)
	timeout := p.duration("timeout", x.config.Limit)
	r := x.recorder(ctx, p)
	p.done()
	s := x.current()
	return x.run(ctx, r, s, timeout, nil, func(ctx context.Context) (any, error) {
		start := time.Now()
		var (
			wait          sync.WaitGroup
			next          atomic.Int64
			sent, failing atomic.Int64
		)
		for range min(concurrency, count) {
			wait.Go(func() {
				for next.Add(1) <= int64(count) && ctx.Err() == nil {
					sent.Add(1)
					d, err := s.Echo(ctx, pick(), size)
					if err != nil {
						failing.Add(1)
						if ctx.Err() == nil {
							r.failed(stageS2S, err)
						}
						continue
					}
					r.push(time.Now(), took(metricS2SRTT, d))
				}
			})
		}
		wait.Wait()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return &burstStats{sent.Load(), failing.Load(), since(start)}, nil
	})
}

// close ends the mesh in order.
func (x *mesh) close(sobek.FunctionCall) sobek.Value {
	ctx := x.m.vuContext("Mesh.close()")
	s := x.current()
	return x.m.async(ctx, nil, func(ctx context.Context) (any, error) {
		if s == nil {
			return nil, nil
		}
		if err := x.m.ending(ctx, func() error { return x.end(s) }); err != nil {
			return nil, fail(stageS2S, err)
		}
		return nil, nil
	})
}
