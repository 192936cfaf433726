package results

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

// Ceilings say what there was to run into, besides what the series tells itself. What is zero is not known and not judged.
type Ceilings struct {
	// Server is the role whose limits are looked for; empty means "server". Generator is that of the load generator; empty means
	// "generator".
	Server, Generator string
	// Shared says that server and generator are on the same machine, and compete for its CPUs.
	Shared bool
	// GeneratorCPUs is how many CPUs the generator may use, GeneratorShare the part of them from which on its figures are in doubt;
	// zero means that of [DefaultLimits]. GeneratorDescriptors is how many descriptors it may open.
	GeneratorCPUs        float64
	GeneratorShare       float64
	GeneratorDescriptors int
	// Ports is how many local ports one address of the generator has for connections to one port of the server, and Sources how many
	// addresses it connects from; zero means one.
	Ports, Sources int
	// Access is what the access links of the clients were used in the window, each of which carries the streams of one session.
	Access *AccessUse
	// Flags are those of the self-check for the window.
	Flags []Flag
}

// The limits that [FirstLimit] looks for.
const (
	LimitGenerator   = "generator"
	LimitThread      = "thread"
	LimitProcessors  = "processors"
	LimitQuota       = "quota"
	LimitMachine     = "machine"
	LimitRunQueue    = "run queue"
	LimitDescriptors = "descriptors"
	LimitPorts       = "ports"
	LimitListenQueue = "listen queue"
	LimitLink        = "link"
	LimitAccess      = "access link"
	LimitMemory      = "memory"
)

// Evidence tells how close a run came to one limit.
type Evidence struct {
	Limit string `json:"limit"` // one of the Limit constants
	// Used is the part of the limit that was used, 1 being all of it; of a limit that has no end, the part of the time in which it
	// was met.
	Used Ratio `json:"used"`
	// Reached says that the limit was met: what was measured is not what would have been without it.
	Reached bool `json:"reached"`
	// Text is one sentence with the figures, without a full stop.
	Text string `json:"text"`
}

// Parts of a limit from which on it counts as reached.
const (
	busyShare  = 0.90 // of a CPU, of CPUs, of a link: queues grow long before all of it is used
	fullShare  = 0.98 // of what is counted: descriptors, ports
	timeShare  = 0.50 // of the window, or of all sessions, in which something has to be at its limit
	waitShare  = 0.30 // of the time, for a run queue
	heldShare  = 0.10 // of the time, for a quota
	memoryFull = 0.95
)

// FirstLimit looks in what was sampled from one time to another for what may have kept the server from doing more. It returns what
// it could judge in order: limits that were reached first, the generator's before all others, since a generator at its end says
// nothing of the server; then by how much of each was used. Without two samples in the window there is nothing to judge.
func FirstLimit(series []Second, from, to time.Time, c Ceilings) []Evidence {
	w := window{server: cmp.Or(c.Server, "server"), generator: cmp.Or(c.Generator, "generator"), Ceilings: c}
	w.seconds = between(series, from, to)
	var all []Evidence
	for _, look := range []func() (Evidence, bool){
		w.generatorLimit, w.thread, w.processors, w.quota, w.machine, w.runQueue, w.descriptors, w.ports, w.listenQueue, w.link, w.access, w.memory,
	} {
		if e, ok := look(); ok {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b Evidence) int {
		return cmp.Or(-compareBool(a.Reached, b.Reached), -compareBool(a.Reached && a.Limit == LimitGenerator, b.Reached && b.Limit == LimitGenerator),
			-cmp.Compare(a.Used, b.Used))
	})
	return all
}

// between returns the samples of figures from one time to another. A window that is too short to hold two gets the ones before and
// after it.
func between(series []Second, from, to time.Time) []Second {
	series = sampledSeconds(series)
	first := sort.Search(len(series), func(i int) bool { return !series[i].Time.Before(from) })
	end := sort.Search(len(series), func(i int) bool { return series[i].Time.After(to) })
	if end-first < 2 {
		first, end = max(first-1, 0), min(end+1, len(series))
	}
	return series[first:max(first, end)]
}

// sampledSeconds are those that hold figures.
func sampledSeconds(series []Second) []Second {
	return slices.DeleteFunc(slices.Clone(series), func(s Second) bool { return len(s.Figures) == 0 })
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// LimitSentence says in one sentence what [FirstLimit] found first, or what came closest.
func LimitSentence(all []Evidence) string {
	switch {
	case len(all) == 0:
		return "the first limit is not known: nothing was sampled of the server"
	case all[0].Reached:
		return "the first limit is the " + all[0].Limit + ": " + all[0].Text
	}
	return "no limit was found; closest came the " + all[0].Limit + ": " + all[0].Text
}

// window is the part of a series that is looked at.
type window struct {
	Ceilings
	server, generator string
	seconds           []Second
}

// A rate is how fast a counter grew, over each interval between two samples that both have it.
type rate struct {
	each   []step
	sum    float64 // growth
	length float64 // seconds
}

type step struct{ perSecond, length float64 }

func (r rate) mean() float64 {
	if r.length == 0 {
		return 0
	}
	return r.sum / r.length
}

// above is the time in which the rate was at least v, in seconds.
func (r rate) above(v float64) (seconds float64) {
	for _, s := range r.each {
		if s.perSecond >= v {
			seconds += s.length
		}
	}
	return seconds
}

func (r rate) known() bool { return len(r.each) > 0 }

// grown returns the rate of a counter.
func (w window) grown(name string) rate {
	var r rate
	for i := 1; i < len(w.seconds); i++ {
		before, ok := w.seconds[i-1].Figures[name]
		after, also := w.seconds[i].Figures[name]
		length := w.seconds[i].Time.Sub(w.seconds[i-1].Time).Seconds()
		if !ok || !also || length <= 0 {
			continue
		}
		// A thread's number may have gone to another one.
		by := max(after-before, 0)
		r.each = append(r.each, step{by / length, length})
		r.sum += by
		r.length += length
	}
	return r
}

// most returns the largest value of a gauge.
func (w window) most(name string) (v float64, ok bool) {
	for _, s := range w.seconds {
		if x, found := s.Figures[name]; found && (!ok || x > v) {
			v, ok = x, true
		}
	}
	return v, ok
}

// least returns the smallest value of a gauge.
func (w window) least(name string) (v float64, ok bool) {
	for _, s := range w.seconds {
		if x, found := s.Figures[name]; found && (!ok || x < v) {
			v, ok = x, true
		}
	}
	return v, ok
}

// parts returns the threads that there are figures of.
func (w window) parts(name string) []string {
	var all []string
	for _, s := range w.seconds {
		for key := range s.Figures {
			if part, ok := strings.CutPrefix(key, name+"/"); ok && !slices.Contains(all, part) {
				all = append(all, part)
			}
		}
	}
	slices.Sort(all)
	return all
}

func (w window) generatorLimit() (Evidence, bool) {
	e := Evidence{Limit: LimitGenerator}
	for _, f := range w.Flags {
		if f.Severity == Invalid {
			return Evidence{LimitGenerator, 1, true, f.Text}, true
		}
	}
	share := cmp.Or(w.GeneratorShare, DefaultLimits().GeneratorCPU)
	cpu := w.grown(SeriesCPU + "." + w.generator)
	if cpu.known() && w.GeneratorCPUs > 0 {
		used := cpu.mean() / w.GeneratorCPUs
		e.Used, e.Reached = Ratio(used), used > share
		e.Text = fmt.Sprintf("the generator used %s of its %s, and is in doubt from %s on",
			percentOf(used), cpus(w.GeneratorCPUs), percentOf(share))
	}
	if open, ok := w.most(SeriesFDs + "." + w.generator); ok && w.GeneratorDescriptors > 0 {
		if used := open / float64(w.GeneratorDescriptors); e.Text == "" || used > float64(e.Used) && used >= fullShare {
			e.Used, e.Reached = Ratio(used), used >= fullShare
			e.Text = fmt.Sprintf("the generator had %s of %s descriptors open", formatCount(open), formatCount(float64(w.GeneratorDescriptors)))
		}
	}
	return e, e.Text != ""
}

// thread judges the busiest thread: one that cannot get more than one CPU.
func (w window) thread() (Evidence, bool) {
	name := SeriesThreadCPU + "." + w.server
	var (
		busiest string
		cpu     rate
	)
	for _, part := range w.parts(name) {
		// A thread that was seldom among the busiest was not the limit.
		if r := w.grown(name + "/" + part); r.sum > cpu.sum {
			busiest, cpu = part, r
		}
	}
	if busiest == "" {
		return Evidence{}, false
	}
	seen := w.length()
	above := cpu.above(busyShare)
	text := fmt.Sprintf("thread %s of the %s used %s of one CPU, and %s or more for %s of %s s",
		threadName(busiest), w.server, percentOf(cpu.sum/seen), percentOf(busyShare), wholeSeconds(above), wholeSeconds(seen))
	waited := w.grown(SeriesThreadWait + "." + w.server + "/" + busiest)
	if waited.known() {
		text += fmt.Sprintf("; it was ready and waited for a CPU %s of the time", percentOf(waited.mean()))
	}
	return Evidence{LimitThread, Ratio(cpu.sum / seen), above >= timeShare*seen, text}, true
}

// threadName is what a person calls a thread: its name, without its number.
func threadName(part string) string {
	if i := strings.LastIndexByte(part, '-'); i > 0 {
		return part[:i]
	}
	return part
}

// length of the window, from its first sample to its last, in seconds.
func (w window) length() float64 {
	if len(w.seconds) < 2 {
		return 0
	}
	return w.seconds[len(w.seconds)-1].Time.Sub(w.seconds[0].Time).Seconds()
}

// processors judges all threads together against the CPUs of the machine.
func (w window) processors() (Evidence, bool) {
	cpu := w.grown(SeriesCPU + "." + w.server)
	n, ok := w.most(SeriesCPUs + "." + w.server)
	if !ok || !cpu.known() {
		return Evidence{}, false
	}
	above := cpu.above(busyShare * n)
	text := fmt.Sprintf("the %s used %s of %s, and %s or more for %s of %s s", w.server, percentOf(cpu.mean()/n), cpus(n),
		percentOf(busyShare), wholeSeconds(above), wholeSeconds(cpu.length))
	return Evidence{LimitProcessors, Ratio(cpu.mean() / n), above >= timeShare*cpu.length, text}, true
}

// quota judges the control group's share of the CPUs.
func (w window) quota() (Evidence, bool) {
	most, ok := w.most(SeriesQuota + "." + w.server)
	held := w.grown(SeriesThrottled + "." + w.server)
	if !ok || !held.known() {
		return Evidence{}, false
	}
	cpu := w.grown(SeriesGroupCPU + "." + w.server)
	text := fmt.Sprintf("the control group of the %s was held back %s of the time, and used %s of its quota of %s",
		w.server, percentOf(held.mean()), percentOf(cpu.mean()/most), cpus(most))
	// What is held back is summed over the CPUs that it had threads on.
	return Evidence{LimitQuota, Ratio(max(min(held.mean(), 1), cpu.mean()/most)), held.mean() >= heldShare, text}, true
}

// machine judges the CPUs of a machine that server and generator share.
func (w window) machine() (Evidence, bool) {
	n, ok := w.most(SeriesCPUs + "." + w.server)
	server, generator := w.grown(SeriesCPU+"."+w.server), w.grown(SeriesCPU+"."+w.generator)
	if !w.Shared || !ok || !server.known() || !generator.known() {
		return Evidence{}, false
	}
	used := (server.mean() + generator.mean()) / n
	text := fmt.Sprintf("%s and generator share a machine, and used %s of its %s: %s and %s", w.server, percentOf(used), cpus(n),
		percentOf(server.mean()/n), percentOf(generator.mean()/n))
	pressure := w.grown(SeriesPressure)
	if pressure.known() {
		text += fmt.Sprintf("; tasks waited for a CPU %s of the time", percentOf(pressure.mean()))
	}
	return Evidence{LimitMachine, Ratio(used), used >= busyShare, text}, true
}

// runQueue judges a server that is kept from running, by whomever.
func (w window) runQueue() (Evidence, bool) {
	cpu, wait := w.grown(SeriesCPU+"."+w.server), w.grown(SeriesWait+"."+w.server)
	if !cpu.known() || !wait.known() || cpu.sum+wait.sum == 0 {
		return Evidence{}, false
	}
	share := wait.sum / (cpu.sum + wait.sum)
	text := fmt.Sprintf("threads of the %s that were ready to run waited for a CPU %s of that time: %s s of waiting beside %s s of running",
		w.server, percentOf(share), significant(wait.sum), significant(cpu.sum))
	// A server that hardly runs is not kept from anything.
	return Evidence{LimitRunQueue, Ratio(share), share >= waitShare && wait.mean() >= waitShare, text}, true
}

func (w window) descriptors() (Evidence, bool) {
	open, ok := w.most(SeriesFDs + "." + w.server)
	limit, also := w.most(SeriesFDLimit + "." + w.server)
	if !ok || !also || limit <= 0 {
		return Evidence{}, false
	}
	return Evidence{LimitDescriptors, Ratio(open / limit), open >= fullShare*limit,
		fmt.Sprintf("the %s had %s of %s descriptors open", w.server, formatCount(open), formatCount(limit))}, true
}

// ports judges what the generator has to connect from, by the sockets of the server, or where they were not counted by its
// descriptors: those to the same port are what counts, and may be fewer.
func (w window) ports() (Evidence, bool) {
	open, ok := w.most(SeriesSockets + "." + w.server)
	what := "sockets"
	if !ok {
		open, ok = w.most(SeriesFDs + "." + w.server)
		what = "descriptors"
	}
	if !ok || w.Ports <= 0 {
		return Evidence{}, false
	}
	limit := float64(w.Ports * max(w.Sources, 1))
	return Evidence{LimitPorts, Ratio(open / limit), open >= fullShare*limit,
		fmt.Sprintf("the %s had %s %s open, and the generator has %s local ports to connect from", w.server, formatCount(open), what, formatCount(limit))}, true
}

func (w window) listenQueue() (Evidence, bool) {
	lost := w.grown(SeriesOverflows + "." + w.server)
	if !lost.known() {
		return Evidence{}, false
	}
	text := fmt.Sprintf("no connection to the %s was dropped by a full listen queue", w.server)
	if lost.sum > 0 {
		text = fmt.Sprintf("%s connections to the machine of the %s were dropped by a full listen queue", formatCount(lost.sum), w.server)
	}
	return Evidence{LimitListenQueue, Ratio(lost.above(math.SmallestNonzeroFloat64) / lost.length), lost.sum > 0, text}, true
}

func (w window) link() (Evidence, bool) {
	limit, ok := w.most(SeriesNetSpeed + "." + w.server)
	in, out := w.grown(SeriesNetIn+"."+w.server), w.grown(SeriesNetOut+"."+w.server)
	if !ok || limit <= 0 || !in.known() || !out.known() {
		return Evidence{}, false
	}
	way, busier := "to", in
	if out.sum > in.sum {
		way, busier = "from", out
	}
	bits := 8 * busier.mean()
	return Evidence{LimitLink, Ratio(bits / limit), bits >= busyShare*limit,
		fmt.Sprintf("the link %s the %s carried %s of %s Mbit/s", way, w.server, significant(bits/1e6), significant(limit/1e6))}, true
}

// AccessUse tells what access links were used, each of which has its rate to itself, on the busier of their two ways.
type AccessUse struct {
	Way  string  `json:"way"`  // from the server, or to it
	Rate float64 `json:"rate"` // bit/s, of each link
	// Busy is how long links were sending, and Connected how long they carried a connection, in seconds summed over links.
	Busy      float64 `json:"busy"`
	Connected float64 `json:"connected"`
	// Wait is how long a segment waited to be sent, in the mean, and Queue the longest that the queue of a link lets it, in seconds.
	Wait  float64 `json:"wait"`
	Queue float64 `json:"queue"`
}

// access judges the links that sessions have of their own. Where one sends most of the time for which its session lasts, that is what
// the session takes.
func (w window) access() (Evidence, bool) {
	a := w.Access
	if a == nil || a.Connected <= 0 {
		return Evidence{}, false
	}
	used := a.Busy / a.Connected
	return Evidence{LimitAccess, Ratio(used), used >= timeShare, fmt.Sprintf(
		"the access links %s the %s, %s Mbit/s each, were sending %s of the time for which sessions were connected; a segment waited %s ms before, of %s ms that their queue holds",
		a.Way, w.server, significant(a.Rate/1e6), percentOf(used), significant(1e3*a.Wait), significant(1e3*a.Queue))}, true
}

// memory judges the control group where it has a limit, the machine otherwise.
func (w window) memory() (Evidence, bool) {
	used, ok := w.most(SeriesGroupMemory + "." + w.server)
	limit, also := w.most(SeriesGroupLimit + "." + w.server)
	whose := "control group"
	if !ok || !also || limit <= 0 {
		whose = "machine"
		var free float64
		limit, ok = w.most(SeriesMemory + "." + w.server)
		free, also = w.least(SeriesAvailable + "." + w.server)
		used = limit - free
	}
	if !ok || !also || limit <= 0 {
		return Evidence{}, false
	}
	return Evidence{LimitMemory, Ratio(used / limit), used >= memoryFull*limit,
		fmt.Sprintf("the %s of the %s had %s of %s of memory in use", whose, w.server, formatBytes(used), formatBytes(limit))}, true
}

func percentOf(share float64) string {
	return fmt.Sprintf("%.0f %%", 100*share)
}

func cpus(n float64) string {
	if n == 1 {
		return "one CPU"
	}
	return significant(n) + " CPUs"
}

func wholeSeconds(s float64) string { return fmt.Sprintf("%.0f", s) }
