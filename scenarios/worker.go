package scenarios

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// A ProviderWorker is one process of a federating provider: the provider itself, and
// the traffic that starts at its domains. Times are taken where traffic starts and
// where its echo arrives, which is the same process and the same clock.
type ProviderWorker struct {
	provider *s2s.Provider
	recorder *results.Recorder
	config   WorkerConfig
	trace    *os.File // nil without

	mu      sync.Mutex
	seq     uint64
	waiting map[uint64]func(at time.Time, failed error) // for the echo of a message
}

// WorkerConfig says where a worker listens.
type WorkerConfig struct {
	Listen string `json:"listen"` // host:port; port 0 takes a free one
	// Trace, where set, is a file that gets the XML of all streams, a line for each
	// read and write, after what others write there. Label names the worker in it,
	// Epoch is when its times begin.
	Trace string    `json:"trace,omitempty"`
	Label string    `json:"label,omitempty"`
	Epoch time.Time `json:"epoch,omitzero"`
}

// Methods of [ProviderWorker.Handle], with what goes in and comes out.
const (
	workerAddress  = "address"     // nothing -> string
	workerFederate = "federate"    // s2s.ProviderConfig -> nothing
	workerFigures  = "figures"     // nothing -> s2s.Figures
	workerBringUp  = "bring-up"    // bringUp -> brought
	workerTraffic  = "traffic"     // traffic -> trafficStats
	workerTake     = "take"        // nothing -> results.Delta
	workerCrash    = "crash"       // nothing -> nothing
	workerRevive   = "revive"      // s2s.ProviderConfig -> nothing
	workerAdd      = "add-domain"  // s2s.NewDomain -> nothing
	workerTrust    = "trust"       // trust -> nothing
	workerFree     = "free-memory" // nothing -> bytes alive on the heap afterwards
)

// OpenWorker opens the listener of a worker.
func OpenWorker(ctx context.Context, c WorkerConfig) (*ProviderWorker, error) {
	w := &ProviderWorker{config: c, recorder: results.NewRecorder(), waiting: make(map[uint64]func(time.Time, error))}
	var err error
	if c.Trace != "" {
		if w.trace, err = os.OpenFile(c.Trace, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err != nil { // #nosec G302 -- servers send each other no passwords
			return nil, err
		}
	}
	if w.provider, err = s2s.Listen(ctx, c.Listen, w.deliver); err != nil {
		return nil, errors.Join(err, w.endTrace())
	}
	return w, nil
}

func (w *ProviderWorker) endTrace() error {
	if w.trace == nil {
		return nil
	}
	return w.trace.Close()
}

// line writes what passed on a stream into the trace, in one write, so that lines of
// several processes do not mix.
func (w *ProviderWorker) line(stream uint64, out bool, b []byte) {
	way := "in"
	if out {
		way = "out"
	}
	// A trace that cannot be written is no reason to end a run; the file shows it.
	_, _ = fmt.Fprintf(w.trace, "%10.6f %s/%d %s: %s\n", time.Since(w.config.Epoch).Seconds(), w.config.Label, stream, way, b)
}

// closeWorker bounds the end of all streams of a worker.
const closeWorker = 8 * time.Second

// Close ends the provider.
func (w *ProviderWorker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWorker)
	defer cancel()
	return errors.Join(w.provider.Close(ctx), w.endTrace())
}

// Handle answers one call of the process that runs the plan.
func (w *ProviderWorker) Handle(ctx context.Context, method string, in json.RawMessage) (any, error) {
	switch method {
	case workerAddress:
		return w.provider.Address(), nil
	case workerFederate, workerRevive:
		var c s2s.ProviderConfig
		if err := json.Unmarshal(in, &c); err != nil {
			return nil, err
		}
		if method == workerRevive {
			if err := w.provider.Revive(ctx); err != nil {
				return nil, err
			}
		}
		if w.trace != nil {
			c.Trace = w.line
		}
		return nil, w.provider.Federate(c)
	case workerFigures:
		return w.provider.Host().Figures(), nil
	case workerBringUp:
		var b bringUp
		if err := json.Unmarshal(in, &b); err != nil {
			return nil, err
		}
		got, err := w.bringUp(ctx, b)
		if err == nil && b.More > 0 && len(got.Errors) == 0 {
			err = w.exchange(ctx, b)
		}
		return got, err
	case workerTraffic:
		var t traffic
		if err := json.Unmarshal(in, &t); err != nil {
			return nil, err
		}
		return w.traffic(ctx, t)
	case workerTake:
		return w.recorder.Take(time.Now()), nil
	case workerCrash:
		return nil, w.provider.Crash()
	case workerAdd:
		var d s2s.NewDomain
		if err := json.Unmarshal(in, &d); err != nil {
			return nil, err
		}
		return nil, w.provider.Host().AddDomain(d)
	case workerTrust:
		var t trust
		if err := json.Unmarshal(in, &t); err != nil {
			return nil, err
		}
		w.provider.Host().AddPartnerDomain(t.Partner, t.Domain)
		return nil, nil
	case workerFree:
		w.mu.Lock()
		if len(w.waiting) == 0 {
			w.waiting = make(map[uint64]func(time.Time, error)) // a map does not shrink, and this one is no server's
		}
		w.mu.Unlock()
		return SettleMemory(), nil
	}
	return nil, fmt.Errorf("scenarios: a worker has no method %q", method)
}

// freeCycles is how often the collector runs before memory is read. Stacks shrink by
// half in each cycle, and what lies in pools goes with the second: after a single one
// much is held that no stream needs.
const freeCycles = 4

// SettleMemory frees what nobody in this process needs and returns the bytes of what is
// then alive on its heap. Stacks are not among them: how many the runtime keeps for later
// is chance. It takes several cycles of the garbage collector.
func SettleMemory() uint64 {
	for range freeCycles {
		runtime.GC()
	}
	debug.FreeOSMemory()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}

// trust is a domain that a partner speaks for from now on.
type trust struct {
	Partner string `json:"partner"`
	Domain  string `json:"domain"`
}

// A matrix is the pairs from some domains of this worker to domains elsewhere.
type matrix struct {
	From []string `json:"from"`
	To   []string `json:"to"`
	// Users are the accounts of domains that return messages, where that is not
	// s2s.EchoUser.
	Users map[string]string `json:"users,omitempty"`
}

// message makes a message of about the given size for a pair.
func (m matrix) message(p s2s.Pair, id uint64, size int) []byte {
	return message(p, cmp.Or(m.Users[p.To], s2s.EchoUser), id, size)
}

func (m matrix) len() int { return len(m.From) * len(m.To) }

// pair returns the i-th pair. Neighbours differ in both domains, so that a few pairs
// in a row stand for all.
func (m matrix) pair(i int) s2s.Pair {
	n := len(m.From)
	return s2s.Pair{From: m.From[i%n], To: m.To[(i/n+i%n)%len(m.To)]}
}

// bringUp asks for a message and its echo for each pair, all at once.
type bringUp struct {
	matrix
	Size  int           `json:"size"`
	Limit time.Duration `json:"limit"`
	// More is how many messages of each pair follow once all of them talk. They are
	// not timed.
	More int `json:"more,omitempty"`
	// Only, where not empty, are single pairs in place of all.
	Only []s2s.Pair `json:"only,omitempty"`
}

// A trip is what one message of a bring-up took, in nanoseconds from when the pair was
// asked for; -1 where it did not happen.
type trip struct {
	Ready int64 `json:"r"` // stanzas may pass (s6)
	Echo  int64 `json:"e"` // the echo has arrived (s8)
}

// brought is what became of a bring-up.
type brought struct {
	Elapsed time.Duration    `json:"elapsed"` // from the first message to the last echo
	Trips   []trip           `json:"trips"`
	Errors  map[string]int64 `json:"errors,omitempty"` // by kind
	First   string           `json:"first,omitempty"`  // text of the first error
}

// bringUp sends the messages and waits for their echoes.
func (w *ProviderWorker) bringUp(ctx context.Context, b bringUp) (brought, error) {
	pairs := b.Only
	if len(pairs) == 0 {
		pairs = make([]s2s.Pair, b.len())
		for i := range pairs {
			pairs[i] = b.pair(i)
		}
	}
	out := brought{Trips: make([]trip, len(pairs)), Errors: make(map[string]int64)}
	for i := range out.Trips {
		out.Trips[i] = trip{-1, -1}
	}
	var (
		mu   sync.Mutex
		left = len(pairs)
		last time.Time
		done = make(chan struct{})
		over = make([]bool, len(pairs))
	)
	// step notes a part of a trip. It has ended when it has failed or has both parts:
	// an echo may be read before the writer of the message goes on.
	step := func(i int, at time.Time, err error, note func(t *trip)) {
		mu.Lock()
		defer mu.Unlock()
		if over[i] {
			return
		}
		t := &out.Trips[i]
		if err != nil {
			out.Errors[results.ErrorKind(err)]++
			if out.First == "" {
				out.First = err.Error()
			}
		} else if note(t); t.Ready < 0 || t.Echo < 0 {
			return
		}
		over[i] = true
		if at.After(last) {
			last = at
		}
		if left--; left == 0 {
			close(done)
		}
	}
	// All pairs are asked for at one moment, which is when their times begin: what is
	// handed over one by one would be gathered by how fast that goes.
	start := time.Now()
	if err := w.provider.Host().Connect(pairs...); err != nil {
		return out, err
	}
	ids := make([]uint64, 0, len(pairs))
	for i, p := range pairs {
		id := w.expect(func(at time.Time, err error) {
			step(i, at, err, func(t *trip) { t.Echo = int64(at.Sub(start)) })
		})
		ids = append(ids, id)
		err := w.provider.Host().Send(s2s.Stanza{Pair: p, XML: b.message(p, id, b.Size), Done: func(times s2s.Times, err error) {
			if err != nil {
				w.forget(id)
			}
			step(i, times.Flushed, err, func(t *trip) { t.Ready = int64(times.Usable.Sub(start)) })
		}})
		if err != nil {
			w.forget(id)
			step(i, time.Now(), err, nil)
		}
	}
	if len(pairs) == 0 {
		return out, nil
	}
	limit := time.NewTimer(b.Limit)
	defer limit.Stop()
	var cause error
	select {
	case <-done:
	case <-limit.C:
		cause = &unfinishedError{limit: b.Limit}
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	if cause != nil {
		for _, id := range ids {
			w.forget(id)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if unfinished, ok := errors.AsType[*unfinishedError](cause); ok {
		unfinished.done, unfinished.all = len(pairs)-left, len(pairs)
		out.Errors[results.ErrorKind(unfinished)] += int64(left)
		if out.First == "" {
			out.First = unfinished.Error()
		}
		last, cause = time.Now(), nil
	}
	out.Elapsed = last.Sub(start)
	// What comes later must not change what is encoded now.
	late := out
	late.Trips, late.Errors = slices.Clone(out.Trips), maps.Clone(out.Errors)
	return late, cause
}

// exchangeWindow is how many messages of an exchange are on their way at a time: a
// fixed number, so that the price of one does not depend on how many pairs there are.
const exchangeWindow = 16

// exchange sends further messages to pairs that talk, all pairs in turn, a few at a
// time: the next leaves when the echo of an earlier one has come. It is a closed loop,
// and nothing of it is timed.
func (w *ProviderWorker) exchange(ctx context.Context, b bringUp) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.Limit, &unfinishedError{limit: b.Limit, all: b.len()})
	defer cancel()
	type echo struct {
		id  uint64
		err error
	}
	echoes := make(chan echo, exchangeWindow)
	total := b.len() * b.More
	ids := make(map[uint64]bool) // that are awaited
	defer func() {
		for id := range ids {
			w.forget(id)
		}
	}()
	for sent, back := 0, 0; back < total; {
		if sent < total && sent-back < exchangeWindow {
			p := b.pair(sent % b.len())
			var id uint64
			id = w.expect(func(_ time.Time, err error) { echoes <- echo{id, err} })
			ids[id] = true
			err := w.provider.Host().Send(s2s.Stanza{Pair: p, XML: b.message(p, id, b.Size), Done: func(_ s2s.Times, err error) {
				if err != nil {
					w.fail(id, err)
				}
			}})
			if err != nil {
				return err
			}
			sent++
			continue
		}
		select {
		case e := <-echoes:
			delete(ids, e.id)
			if e.err != nil {
				return e.err
			}
			back++
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// unfinishedError says that not all pairs talked in time.
type unfinishedError struct {
	limit     time.Duration
	done, all int
}

func (e *unfinishedError) Error() string {
	return fmt.Sprintf("%d of %d pairs talked within %s (mesh.limit)", e.done, e.all, e.limit)
}

// Kind returns the class of the error for counting.
func (*unfinishedError) Kind() string { return "unfinished" }

// expect registers for the echo of a message and returns its id.
func (w *ProviderWorker) expect(got func(at time.Time, failed error)) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	w.waiting[w.seq] = got
	return w.seq
}

// fail answers a message that could not be sent.
func (w *ProviderWorker) fail(id uint64, err error) {
	w.mu.Lock()
	got := w.waiting[id]
	delete(w.waiting, id)
	w.mu.Unlock()
	if got != nil {
		got(time.Now(), err)
	}
}

func (w *ProviderWorker) forget(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, id)
}

// deliver takes echoes and errors.
func (w *ProviderWorker) deliver(in s2s.Inbound) {
	raw, _ := wire.Attr(in.Stanza.Tag, "id")
	id, err := strconv.ParseUint(string(raw), 36, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	got := w.waiting[id]
	delete(w.waiting, id)
	w.mu.Unlock()
	if got == nil {
		return
	}
	if in.Stanza.Type() == "error" {
		failure := error(&wire.StanzaError{Condition: "undefined-condition"})
		if el, err := in.Stanza.Element(); err == nil {
			failure = wire.ParseStanzaError(el)
		}
		got(in.Stanza.End, failure)
		return
	}
	got(in.Stanza.End, nil)
}

// message makes a message of about the given size to a user of a domain.
func message(p s2s.Pair, user string, id uint64, size int) []byte {
	b := make([]byte, 0, size+64)
	b = append(b, "<message type='chat' from='u@"...)
	b = append(b, p.From...)
	b = append(append(append(b, "' to='"...), user...), '@')
	b = append(b, p.To...)
	b = append(b, "' id='"...)
	b = strconv.AppendUint(b, id, 36)
	b = append(b, "'><body>"...)
	const end = "</body></message>"
	if pad := size - len(b) - len(end); pad > 0 {
		b = append(b, bytes.Repeat([]byte{'x'}, pad)...)
	}
	return append(b, end...)
}

// traffic asks for a load of messages with echo.
type traffic struct {
	matrix
	Key      results.Key   `json:"key"`
	Metric   string        `json:"metric"`
	Kind     string        `json:"kind"` // one of the matrices of a Traffic
	Zipf     float64       `json:"zipf,omitempty"`
	Rate     float64       `json:"rate"` // of this worker, per second
	Arrivals string        `json:"arrivals"`
	Size     int           `json:"size"`
	Duration time.Duration `json:"duration"`
	Drain    time.Duration `json:"drain"`
	Seed     uint64        `json:"seed"`
	// Spare leaves the first pair out, where it has a load of its own.
	Spare bool `json:"spare,omitempty"`
	// First asks for the times of the first message of each pair under pair.ready and
	// pair.echo, and for the pairs that had one.
	First bool `json:"first,omitempty"`
}

// trafficStats is what became of a load.
type trafficStats struct {
	Planned, Answered, Failed, Unanswered, Dropped uint64
	Pairs                                          []s2s.Pair // that had traffic, with First
}

// traffic makes the load and waits for its echoes.
func (w *ProviderWorker) traffic(ctx context.Context, t traffic) (trafficStats, error) {
	if t.len() == 0 || t.Spare && t.len() == 1 {
		return trafficStats{}, nil
	}
	pacer, err := bench.Constant(t.Rate)
	if t.Arrivals == "poisson" {
		pacer, err = bench.Poisson(t.Rate, t.Seed)
	}
	if err != nil {
		return trafficStats{}, err
	}
	choose := t.chooser()
	sink := w.recorder.Sink(t.Key)
	var mu sync.Mutex
	met := make(map[s2s.Pair]bool)
	send := func(_ context.Context, seq uint64, done func(time.Time, error)) error {
		p := choose(seq)
		first := false
		if t.First {
			mu.Lock()
			first = !met[p]
			met[p] = true
			mu.Unlock()
		}
		start := time.Now()
		id := w.expect(func(at time.Time, failed error) {
			if first && failed == nil {
				sink.Observe(results.Sample{Metric: "pair.echo", Intended: start, Start: start, End: at})
			}
			done(at, failed)
		})
		return w.provider.Host().Send(s2s.Stanza{Pair: p, XML: t.message(p, id, t.Size), Done: func(times s2s.Times, err error) {
			if err != nil {
				w.forget(id)
				done(time.Now(), err)
				return
			}
			if first {
				sink.Observe(results.Sample{Metric: "pair.ready", Intended: times.Handed, Start: times.Handed, End: times.Usable})
			}
		}})
	}
	stats, err := bench.Probe(ctx, bench.ProbeConfig{
		Pacer: bench.Until(pacer, t.Duration), Classify: func(time.Time) string { return t.Metric },
		Drain: t.Drain, Timer: bench.TimerThread,
	}, send, sink)
	out := trafficStats{
		Planned: stats.Planned, Answered: stats.Answered, Failed: stats.Failed, Unanswered: stats.Unanswered, Dropped: stats.Dropped,
	}
	if t.First {
		for p := range met {
			out.Pairs = append(out.Pairs, p)
		}
		sort.Slice(out.Pairs, func(i, j int) bool { return out.Pairs[i].String() < out.Pairs[j].String() })
	}
	return out, err
}

// chooser returns who talks to whom: a pure function of the number of the message
// and the seed.
func (t traffic) chooser() func(seq uint64) s2s.Pair {
	skip := 0
	if t.Spare {
		skip = 1
	}
	n := t.len() - skip
	switch t.Kind {
	case MatrixUniform:
		return func(seq uint64) s2s.Pair {
			return t.pair(skip + rand.New(rand.NewPCG(t.Seed, seq)).IntN(n)) // #nosec G404 -- seeded on purpose
		}
	case MatrixZipf:
		from, to := newZipf(len(t.From), t.Zipf), newZipf(len(t.To), t.Zipf)
		return func(seq uint64) s2s.Pair {
			random := rand.New(rand.NewPCG(t.Seed, seq)) // #nosec G404 -- seeded on purpose
			for {
				p := s2s.Pair{From: t.From[from.draw(random)], To: t.To[to.draw(random)]}
				if skip == 0 || p != t.pair(0) {
					return p
				}
			}
		}
	}
	return func(seq uint64) s2s.Pair { return t.pair(skip + int(seq%uint64(n))) } // #nosec G115 -- below n, which is above 0
}

// zipf draws ranks with a probability that falls as a power of the rank.
type zipf []float64 // cumulated

func newZipf(n int, exponent float64) zipf {
	z := make(zipf, n)
	sum := 0.0
	for i := range z {
		sum += math.Pow(float64(i+1), -exponent)
		z[i] = sum
	}
	return z
}

func (z zipf) draw(r *rand.Rand) int {
	at := r.Float64() * z[len(z)-1]
	return min(sort.SearchFloat64s(z, at), len(z)-1)
}

// OwnWorkers starts workers in this process, where CPU time and memory of providers
// and generator cannot be told apart: for tests and debuggers.
type OwnWorkers struct{}

// Start implements WorkerStarter.
func (OwnWorkers) Start(ctx context.Context, c WorkerConfig) (Worker, error) {
	w, err := OpenWorker(ctx, c)
	if err != nil {
		return nil, err
	}
	return ownWorker{w}, nil
}

// ownWorker is a worker of this process. What goes in and out takes the way of a
// child's all the same.
type ownWorker struct{ *ProviderWorker }

func (ownWorker) PID() int { return 0 }

func (w ownWorker) Call(ctx context.Context, method string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := w.Handle(ctx, method, raw)
	if err != nil || out == nil {
		return err
	}
	if raw, err = json.Marshal(answer); err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}
