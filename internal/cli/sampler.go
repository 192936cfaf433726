package cli

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// The roles of processes in series.jsonl; children are called by their own.
const (
	roleGenerator = "generator"
	roleServer    = "server"
)

// serverRole is the role of a target's server in series.jsonl: where a run has several targets, their names tell them apart.
func serverRole(target string, targets int) string {
	if targets < 2 {
		return roleServer
	}
	return roleServer + "@" + strings.ReplaceAll(target, "/", "-")
}

const (
	// childPatience is how long a child may take to tell its figures.
	childPatience = 200 * time.Millisecond
	// busyThreads is how many threads of a process are told apart, and idleThread the part of a CPU below which none is.
	busyThreads = 4
	idleThread  = 0.01
)

// A sampler reads once a second what the processes of a run use: its own, its children, and the servers.
type sampler struct {
	run     *runJob
	meter   *proc.RuntimeMeter
	own     *process
	servers []*process

	mu       sync.Mutex // held while sampling
	children map[*proc.Child]*process
}

// A process is what has a role, with what its threads had used a second ago.
type process struct {
	role     string
	observer *observe.Observer
	threads  map[string]time.Duration
	last     time.Time
	missing  map[string]bool // told already
}

func newProcess(role string, pid int) *process {
	o, err := observe.Open(observe.Config{PID: pid})
	if err != nil {
		return nil // there is no such number
	}
	return &process{role: role, observer: o}
}

// newSampler makes ready for the processes of a run.
func newSampler(r *runJob) *sampler {
	s := &sampler{run: r, meter: proc.NewRuntimeMeter(), own: newProcess(roleGenerator, os.Getpid()), children: make(map[*proc.Child]*process)}
	for _, t := range r.targets {
		if server, ok := t.(scenarios.ServerTargets); ok && server.Observer != nil {
			s.servers = append(s.servers, &process{
				role: serverRole(t.Name(), len(r.targets)), observer: server.Observer, missing: make(map[string]bool),
			})
		}
	}
	return s
}

// close lets go of the servers.
func (s *sampler) close() {
	for _, p := range s.servers {
		p.observer.Close()
	}
}

// sample returns what series.jsonl holds of a second.
func (s *sampler) sample(ctx context.Context) map[string]float64 {
	// What is written at the end of an interrupted run is still read.
	ctx = context.WithoutCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	figures := make(map[string]float64)
	runtime := func(role string, f proc.RuntimeFigures) {
		for name, v := range map[string]time.Duration{results.SeriesGCPause: f.GCPauseMax, results.SeriesSchedP99: f.SchedP99} {
			figures[name+"."+role] = max(figures[name+"."+role], v.Seconds())
		}
	}
	s.read(ctx, s.own, figures)
	runtime(roleGenerator, s.meter.Read())

	s.run.mu.Lock()
	children := maps.Clone(s.run.children)
	s.run.mu.Unlock()
	for c, role := range children {
		select {
		case <-c.Done():
			delete(s.children, c)
			continue
		default:
		}
		if s.children[c] == nil {
			s.children[c] = newProcess(role, c.PID())
		}
		// A child that is busy is asked again a second later.
		asking, cancel := context.WithTimeout(ctx, childPatience)
		f, _ := c.Runtime(asking)
		cancel()
		s.read(ctx, s.children[c], figures)
		runtime(role, f)
	}
	for _, p := range s.servers {
		s.read(ctx, p, figures)
	}
	if pressure, err := proc.CPUPressure(); err == nil {
		figures[results.SeriesPressure] = pressure.Seconds()
	}
	return figures
}

// read adds the figures of a process. A server that cannot be seen leaves a gap, and one event for each reason.
func (s *sampler) read(ctx context.Context, p *process, figures map[string]float64) {
	r, err := p.observer.Read(ctx)
	if err != nil {
		s.tell(p, err.Error())
		return
	}
	for _, text := range r.Missing {
		s.tell(p, text)
	}
	p.add(figures, r)
}

// tell notes once what could not be read of a server.
func (s *sampler) tell(p *process, text string) {
	s.run.mu.Lock()
	w := s.run.results
	s.run.mu.Unlock()
	if p.missing == nil || p.missing[text] || w == nil {
		return
	}
	p.missing[text] = true
	w.Event("observe", text, map[string]string{"role": p.role})
}

// add writes a reading under the names of [results.SeriesFigures]. Processes of one role are added up.
func (p *process) add(figures map[string]float64, r observe.Reading) {
	put := func(name string, v float64) { figures[name+"."+p.role] += v }
	known := func(name string, v int64) {
		if v >= 0 {
			put(name, float64(v))
		}
	}
	for name, v := range r.Metrics {
		figures[results.SeriesMetric+"."+p.role+"/"+name] = v
	}
	known(results.SeriesSessions, int64(r.Sessions))
	if r.PIDs == nil {
		return
	}
	put(results.SeriesCPU, r.CPU.Seconds())
	put(results.SeriesWait, r.Wait.Seconds())
	put(results.SeriesThreads, float64(len(r.Threads)))
	put(results.SeriesVoluntary, float64(r.Voluntary))
	put(results.SeriesInvoluntary, float64(r.Involuntary))
	put(results.SeriesRSS, float64(r.RSS))
	put(results.SeriesPeakRSS, float64(r.PeakRSS))
	known(results.SeriesFDs, int64(r.Descriptors))
	known(results.SeriesSockets, int64(r.Sockets))
	known(results.SeriesRead, r.StorageRead)
	known(results.SeriesWritten, r.StorageWritten)
	p.busiest(figures, r)

	// What processes of one role have in common is not added up.
	share := func(name string, v float64) { figures[name+"."+p.role] = v }
	share(results.SeriesFDLimit, float64(r.DescriptorLimit))
	share(results.SeriesCPUs, float64(r.CPUs))
	if r.Memory > 0 {
		share(results.SeriesMemory, float64(r.Memory))
		share(results.SeriesAvailable, float64(r.Available))
	}
	if n := r.Network; n != nil {
		share(results.SeriesNetIn, float64(n.Received))
		share(results.SeriesNetOut, float64(n.Sent))
		share(results.SeriesLoopback, float64(n.Loopback))
		share(results.SeriesOverflows, float64(n.Overflows))
		share(results.SeriesRetransmits, float64(n.Retransmits))
		if n.Speed > 0 {
			share(results.SeriesNetSpeed, float64(n.Speed))
		}
	}
	if c := r.Cgroup; c != nil {
		share(results.SeriesGroupCPU, c.CPU.Seconds())
		share(results.SeriesThrottled, c.Throttled.Seconds())
		for name, v := range map[string]float64{
			results.SeriesQuota: c.CPULimit, results.SeriesGroupMemory: float64(c.Memory),
			results.SeriesGroupPeak: float64(c.MemoryPeak), results.SeriesGroupLimit: float64(c.MemoryLimit),
		} {
			if v > 0 {
				share(name, v)
			}
		}
	}
}

// busiest adds the threads that used most since the last reading.
func (p *process) busiest(figures map[string]float64, r observe.Reading) {
	type used struct {
		name string
		proc.Thread
		since time.Duration
	}
	var all []used
	now := make(map[string]time.Duration, len(r.Threads))
	for _, t := range r.Threads {
		name := threadKey(t)
		now[name] = t.CPU
		if before, ok := p.threads[name]; ok {
			all = append(all, used{name, t, t.CPU - before})
		}
	}
	least := time.Duration(idleThread * float64(r.Time.Sub(p.last)))
	p.threads, p.last = now, r.Time
	slices.SortFunc(all, func(a, b used) int { return cmp.Compare(b.since, a.since) })
	for _, t := range all[:min(len(all), busyThreads)] {
		if t.since < least {
			return
		}
		figures[results.SeriesThreadCPU+"."+p.role+"/"+t.name] = t.CPU.Seconds()
		figures[results.SeriesThreadWait+"."+p.role+"/"+t.name] = t.Wait.Seconds()
	}
}

// threadKey names a thread for ever: by what it calls itself, which others may do too, and its number.
func threadKey(t proc.Thread) string {
	name := strings.Map(func(c rune) rune {
		if c <= ' ' || c == '/' || c == 0x7f {
			return '_'
		}
		return c
	}, t.Name)
	return name + "-" + strconv.Itoa(t.ID)
}
