package results

import (
	"slices"
	"strings"
)

// SeriesFigure describes a figure that is sampled once an interval: what stands in [Second.Figures].
type SeriesFigure struct {
	// Name is that of the figure. The role follows after a dot, as in "cpu.server", and for figures of one thread or one metric its
	// name after a slash, as in "thread.cpu.server/lua-7090"; a figure of the machine has neither.
	Name string
	Unit string // one of the Unit constants
	// Counter marks figures that only grow: what matters is the difference between two seconds.
	Counter bool
	// Each marks figures that there are several of, one for each thread or metric.
	Each bool
	// Machine marks figures of the generator's machine, which have no role.
	Machine bool
	Doc     string // one sentence
}

// The names of the figures in [Second.Figures], to which a role is added; see [SeriesFigures].
const (
	SeriesCPU         = "cpu"
	SeriesWait        = "wait"
	SeriesThreadCPU   = "thread.cpu"
	SeriesThreadWait  = "thread.wait"
	SeriesThreads     = "threads"
	SeriesCPUs        = "cpus"
	SeriesVoluntary   = "switches.voluntary"
	SeriesInvoluntary = "switches.involuntary"
	SeriesRSS         = "rss"
	SeriesPeakRSS     = "rss.peak"
	SeriesFDs         = "fds"
	SeriesFDLimit     = "fds.limit"
	SeriesSockets     = "sockets"
	SeriesRead        = "storage.read"
	SeriesWritten     = "storage.written"
	SeriesNetIn       = "net.in"
	SeriesNetOut      = "net.out"
	SeriesLoopback    = "net.loopback"
	SeriesNetSpeed    = "net.speed"
	SeriesOverflows   = "net.overflows"
	SeriesRetransmits = "net.retransmits"
	SeriesGroupCPU    = "cgroup.cpu"
	SeriesThrottled   = "cgroup.throttled"
	SeriesQuota       = "cgroup.cpus"
	SeriesGroupMemory = "cgroup.memory"
	SeriesGroupPeak   = "cgroup.memory.peak"
	SeriesGroupLimit  = "cgroup.memory.limit"
	SeriesMemory      = "memory"
	SeriesAvailable   = "memory.available"
	SeriesSessions    = "sessions"
	SeriesMetric      = "metric"
	SeriesGCPause     = "gc.pause.max"
	SeriesSchedP99    = "sched.p99"
	SeriesPressure    = "pressure.cpu"
)

// SeriesFigures returns the figures of series.jsonl in the order in which they are documented.
func SeriesFigures() []SeriesFigure {
	gauge := func(name, unit, doc string) SeriesFigure { return SeriesFigure{Name: name, Unit: unit, Doc: doc} }
	counter := func(name, unit, doc string) SeriesFigure {
		return SeriesFigure{Name: name, Unit: unit, Counter: true, Doc: doc}
	}
	each := func(f SeriesFigure) SeriesFigure { f.Each = true; return f }
	machine := func(f SeriesFigure) SeriesFigure { f.Machine = true; return f }
	return []SeriesFigure{
		counter(SeriesCPU, UnitSeconds, "CPU time of the processes, from nanosecond clocks; of a server that was started again, that of all its processes."),
		counter(SeriesWait, UnitSeconds, "Time in which threads that live were ready to run and waited for a CPU, summed."),
		each(counter(SeriesThreadCPU, UnitSeconds, "CPU time of one thread, of those that were busiest since the second before.")),
		each(counter(SeriesThreadWait, UnitSeconds, "Time in which this thread was ready to run and waited for a CPU.")),
		gauge(SeriesThreads, UnitCount, "Threads."),
		gauge(SeriesCPUs, UnitCount, "CPUs of the machine that the processes are on."),
		counter(SeriesVoluntary, UnitCount, "Context switches of threads that live, to wait for something."),
		counter(SeriesInvoluntary, UnitCount, "Context switches of threads that live, because the CPU was taken away."),
		gauge(SeriesRSS, UnitBytes, "Resident memory."),
		gauge(SeriesPeakRSS, UnitBytes, "The most that was resident since the processes began."),
		gauge(SeriesMemory, UnitBytes, "Memory of the machine that the processes are on."),
		gauge(SeriesAvailable, UnitBytes, "Memory of that machine that new work could have without swapping."),
		gauge(SeriesFDs, UnitCount, "Open descriptors."),
		gauge(SeriesFDLimit, UnitCount, "Descriptors that the process closest to its limit may open."),
		gauge(SeriesSockets, UnitCount, "Descriptors that are sockets; where there are many, not every second."),
		counter(SeriesRead, UnitBytes, "Bytes really read from storage."),
		counter(SeriesWritten, UnitBytes, "Bytes really written to storage."),
		counter(SeriesNetIn, UnitBytes, "Bytes received by all network interfaces of the processes' network namespace but the loopback one, whoever they were for."),
		counter(SeriesNetOut, UnitBytes, "Bytes sent by them."),
		counter(SeriesLoopback, UnitBytes, "Bytes over the loopback interface there, whoever they were for."),
		gauge(SeriesNetSpeed, UnitCount, "Speed of these interfaces in bit/s, where they tell."),
		counter(SeriesOverflows, UnitCount, "Connections dropped there because the queue of a listening socket was full."),
		counter(SeriesRetransmits, UnitCount, "TCP segments sent again there."),
		counter(SeriesGroupCPU, UnitSeconds, "CPU time of the control group (cgroup v2) of the processes."),
		counter(SeriesThrottled, UnitSeconds, "Time for which the group was held back by its quota."),
		gauge(SeriesQuota, UnitCount, "CPUs that the quota of the group allows."),
		gauge(SeriesGroupMemory, UnitBytes, "Memory of the group."),
		gauge(SeriesGroupPeak, UnitBytes, "The most memory that the group had."),
		gauge(SeriesGroupLimit, UnitBytes, "Memory that the group may have."),
		gauge(SeriesSessions, UnitCount, "Sessions of clients that the server counts itself; every five seconds."),
		each(gauge(SeriesMetric, UnitCount, "What the server tells of itself, under the name and in the unit that it uses; every five seconds.")),
		gauge(SeriesGCPause, UnitSeconds, "Longest stop for garbage collection of a process of ours since the second before."),
		gauge(SeriesSchedP99, UnitSeconds, "99th percentile of the time in which goroutines of a process of ours waited for a CPU since the second before."),
		machine(counter(SeriesPressure, UnitSeconds, "Time for which at least one task of the generator's machine waited for a CPU.")),
	}
}

// FindSeries returns the description of a figure by the name that it has in [Second.Figures], with its role and the part of it that is
// a thread or a metric.
func FindSeries(key string) (f SeriesFigure, role, part string, ok bool) {
	name, part, _ := strings.Cut(key, "/")
	all := SeriesFigures()
	if i := slices.IndexFunc(all, func(f SeriesFigure) bool { return f.Machine && f.Name == name }); i >= 0 {
		return all[i], "", part, true
	}
	// Some names begin another: the longest one counts.
	for _, candidate := range all {
		if r, found := strings.CutPrefix(name, candidate.Name+"."); found && r != "" && !candidate.Machine && len(candidate.Name) > len(f.Name) {
			f, role, ok = candidate, r, true
		}
	}
	return f, role, part, ok && (f.Each == (part != ""))
}
