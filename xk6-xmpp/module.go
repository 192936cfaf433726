package xk6xmpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
	"go.k6.io/k6/v2/js/modules"
	"go.k6.io/k6/v2/metrics"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/session"
)

// RootModule is what all virtual users of a process share: keys of SCRAM, TLS
// settings, rate limits, and the sessions that are open.
type RootModule struct {
	keys       *session.KeyCache
	errorClass *sobek.Program
	subscribed sync.Once
	work       sync.WaitGroup // that goes on after the end of its iteration

	mu          sync.Mutex
	sessions    map[*live]struct{} // that are not over
	classes     map[any]any        // *class by the type of its Go values
	populations map[string]*population.Population
	limits      map[string]*limit
	tls         map[secured]*tls.Config
	authorities map[string]*x509.CertPool // by their text
	registry    *metrics.Registry         // of metrics
	metrics     *metricSet
}

// New returns the module, once for each process.
func New() *RootModule {
	return &RootModule{
		keys:        new(session.KeyCache),
		errorClass:  sobek.MustCompile("k6/x/xmpp", errorClass, true),
		sessions:    make(map[*live]struct{}),
		classes:     make(map[any]any),
		populations: make(map[string]*population.Population),
		limits:      make(map[string]*limit),
		tls:         make(map[secured]*tls.Config),
		authorities: make(map[string]*x509.CertPool),
	}
}

// instance is the module of one virtual user.
type instance struct {
	root    *RootModule
	vu      modules.VU
	rt      *sobek.Runtime
	metrics *metricSet
	exports modules.Exports

	errorClass *sobek.Object            // XMPPError
	errorProto *sobek.Object            // its prototype
	inner      *sobek.Symbol            // under which objects keep their Go value
	prototypes map[string]*sobek.Object // of classes, made when first needed
}

// NewModuleInstance implements modules.Module. Metrics are registered here, since
// thresholds are held against the registry as soon as the script is loaded.
func (r *RootModule) NewModuleInstance(vu modules.VU) modules.Instance {
	rt := vu.Runtime()
	set, err := r.metricSet(vu.InitEnv().Registry)
	if err != nil {
		common.Throw(rt, err)
	}
	m := &instance{root: r, vu: vu, rt: rt, metrics: set, inner: sobek.NewSymbol("xmpp")}
	class, err := rt.RunProgram(r.errorClass)
	if err != nil {
		common.Throw(rt, err)
	}
	m.errorClass = class.ToObject(rt)
	m.errorProto = m.errorClass.Get("prototype").ToObject(rt)
	must(rt, m.errorProto.DefineDataProperty("name", rt.ToValue(errorName), sobek.FLAG_TRUE, sobek.FLAG_TRUE, sobek.FLAG_FALSE))
	m.exports = m.makeExports()
	r.subscribe(vu.Events())
	return m
}

// metricSet registers the metrics, once for all virtual users.
func (r *RootModule) metricSet(registry *metrics.Registry) (*metricSet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.registry == registry {
		return r.metrics, nil
	}
	set, err := newMetricSet(registry)
	if err == nil {
		r.registry, r.metrics = registry, set
	}
	return set, err
}

// Exports implements modules.Instance. It is called more than once for a virtual user,
// and what it returns has an identity: an error must be an instance of the class that
// the script has imported.
func (m *instance) Exports() modules.Exports { return m.exports }

func (m *instance) makeExports() modules.Exports {
	return modules.Exports{Named: map[string]any{
		errorName:   m.errorClass,
		"Client":    constructor(m, clientClass),
		"Component": constructor(m, componentClass),
		"Mesh":      constructor(m, meshClass),
		"Swarm":     constructor(m, swarmClass),
		"UserPool":  constructor(m, userPoolClass),
		"RateLimit": constructor(m, rateLimitClass),
		"connect":   m.connect,
		"domains":   m.domains,
		"rosterFor": m.rosterFor,
		"share":     m.share,
	}}
}

// closeTimeout bounds the end of a session that nobody waits for.
const closeTimeout = 900 * time.Millisecond

// Numbers of k6's global events, whose names are internal to k6. A test runs a script
// that depends on them.
const (
	eventTestEnd = 3
	eventExit    = 6
)

// subscribe closes the sessions that outlive iterations when the test ends. It listens
// to the global events, once for each process: k6 logs a warning for each local listener
// whose virtual user was interrupted.
func (r *RootModule) subscribe(events common.Events) {
	if events.Global == nil {
		return
	}
	r.subscribed.Do(func() {
		id, coming := events.Global.Subscribe(eventTestEnd, eventExit)
		go func() {
			for event := range coming {
				r.closeAll()
				event.Done()
				if event.Type == eventExit {
					events.Global.Unsubscribe(id)
					return
				}
			}
		}()
	})
}

// closeAll ends every session that is left, and waits for them.
func (r *RootModule) closeAll() {
	var ending sync.WaitGroup
	r.mu.Lock()
	for l := range r.sessions {
		ending.Go(func() { _ = l.close(closeTimeout) })
	}
	r.mu.Unlock()
	ending.Wait()
	r.work.Wait()
}

// opened notes a session and returns how many there are.
func (r *RootModule) opened(l *live) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[l] = struct{}{}
	return int64(len(r.sessions))
}

// over notes the end of a session.
func (r *RootModule) over(l *live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, l)
}

// active is the number of sessions that are open.
func (r *RootModule) active() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.sessions))
}

// vuContext returns the context of the call, and throws in the init context.
func (m *instance) vuContext(what string) context.Context {
	if m.vu.State() == nil {
		common.Throw(m.rt, common.NewInitContextError(what+" waits for the network, which the init context must not"))
	}
	return m.vu.Context()
}
