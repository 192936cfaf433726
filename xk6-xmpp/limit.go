package xk6xmpp

import (
	"context"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
)

// limit lets callers of one process pass at even distances.
type limit struct {
	mu   sync.Mutex
	next time.Time
}

// turn returns when the next caller may pass.
func (l *limit) turn(now time.Time, distance time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now
	if l.next.After(now) {
		at = l.next
	}
	l.next = at.Add(distance)
	return at
}

// rateLimit is the class RateLimit: a rate of the whole test, of which each instance
// takes its portion.
type rateLimit struct {
	m    *instance
	name string
	rate float64 // of the test, per second
}

func rateLimitClass() class[*rateLimit] {
	return class[*rateLimit]{
		name:    "RateLimit",
		make:    newRateLimit,
		methods: map[string]func(*rateLimit, sobek.FunctionCall) sobek.Value{"pass": (*rateLimit).pass},
	}
}

func newRateLimit(m *instance, call sobek.ConstructorCall) *rateLimit {
	p := m.options("RateLimit()", call.Argument(0), true)
	l := &rateLimit{m: m, name: p.text("name", "default")}
	if !p.has("rate") {
		p.bad("rate", "is required")
	}
	l.rate = p.number("rate", 0, 1e-3, 1e6)
	p.done()
	return l
}

// limit returns the limit of a name, which all virtual users share.
func (r *RootModule) limit(name string) *limit {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.limits[name]
	if l == nil {
		l = new(limit)
		r.limits[name] = l
	}
	return l
}

// pass waits for its turn.
func (l *rateLimit) pass(sobek.FunctionCall) sobek.Value {
	ctx := l.m.vuContext("RateLimit.pass()")
	portion := 1.0
	if s := l.m.vu.State().Options.ExecutionSegment; s != nil {
		portion = s.FloatLength()
	}
	distance := time.Duration(float64(time.Second) / (l.rate * portion))
	shared := l.m.root.limit(l.name)
	return l.m.async(ctx, nil, func(ctx context.Context) (any, error) {
		start := time.Now()
		if err := pause(ctx, shared.turn(start, distance).Sub(start)); err != nil {
			return nil, fail(stageSession, err)
		}
		return since(start), nil
	})
}

// share returns this instance's portion of a number that stands for the whole test.
func (m *instance) share(call sobek.FunctionCall) sobek.Value {
	const name = "share()"
	total := m.index(name, "the total", call.Argument(0), 0, 1<<53)
	state := m.vu.State()
	if state == nil {
		common.Throw(m.rt, common.NewInitContextError(name+" depends on the instance, which the init context does not know"))
	}
	return m.rt.ToValue(state.Options.ExecutionSegment.Scale(int64(total)))
}
