package results

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// sampled makes a series by hand: one sample a second for half a minute. A figure that ends in "+" grows by the value each second,
// the others stay.
func sampled(figures map[string]float64) []Second {
	var all []Second
	for i := range 31 {
		s := Second{Time: time.Unix(1000+int64(i), 0), Figures: make(map[string]float64)}
		for name, v := range figures {
			if counter, ok := strings.CutSuffix(name, "+"); ok {
				s.Figures[counter] = 100 + v*float64(i)
				continue
			}
			s.Figures[name] = v
		}
		all = append(all, s)
	}
	return all
}

func TestFirstLimit(t *testing.T) {
	from, to := time.Unix(1000, 0), time.Unix(1030, 0)
	for _, tt := range []struct {
		name    string
		figures map[string]float64
		c       Ceilings
		first   string // limit that comes first
		reached bool
		text    string
	}{
		{"nothing sampled", nil, Ceilings{}, "", false, "the first limit is not known: nothing was sampled of the server"},
		{
			"idle", map[string]float64{"cpu.server+": 0.1, "wait.server+": 0, "cpus.server": 2, "fds.server": 200, "fds.limit.server": 20000, "thread.cpu.server/lua-7+": 0.1},
			Ceilings{}, LimitThread, false, "no limit was found; closest came the thread: thread lua of the server used 10 % of one CPU, and 90 % or more for 0 of 30 s",
		},
		{
			"one thread", map[string]float64{"cpu.server+": 1.1, "cpus.server": 4, "thread.cpu.server/lua-7+": 0.98, "thread.wait.server/lua-7+": 0.01, "thread.cpu.server/dns-8+": 0.12},
			Ceilings{}, LimitThread, true, "the first limit is the thread: thread lua of the server used 98 % of one CPU, and 90 % or more for 30 of 30 s; it was ready and waited for a CPU 1 % of the time",
		},
		{
			"all processors", map[string]float64{"cpu.server+": 3.8, "cpus.server": 4, "thread.cpu.server/1_sched-7+": 0.85},
			Ceilings{}, LimitProcessors, true, "the first limit is the processors: the server used 95 % of 4 CPUs, and 90 % or more for 30 of 30 s",
		},
		{
			"quota", map[string]float64{"cpu.server+": 0.5, "cpus.server": 4, "cgroup.cpus.server": 0.5, "cgroup.cpu.server+": 0.5, "cgroup.throttled.server+": 0.4},
			Ceilings{}, LimitQuota, true, "the first limit is the quota: the control group of the server was held back 40 % of the time, and used 100 % of its quota of 0.5 CPUs",
		},
		{
			"no quota pressed", map[string]float64{"cpu.server+": 0.1, "cpus.server": 4, "cgroup.cpus.server": 2, "cgroup.cpu.server+": 0.1, "cgroup.throttled.server+": 0.01},
			Ceilings{}, LimitQuota, false, "no limit was found; closest came the quota: the control group of the server was held back 1 % of the time, and used 5 % of its quota of 2 CPUs",
		},
		{
			"shared machine", map[string]float64{"cpu.server+": 1, "cpu.generator+": 0.9, "cpus.server": 2, "pressure.cpu+": 0.7},
			Ceilings{Shared: true}, LimitMachine, true, "the first limit is the machine: server and generator share a machine, and used 95 % of its 2 CPUs: 50 % and 45 %; tasks waited for a CPU 70 % of the time",
		},
		{
			"apart, the generator's CPUs are its own", map[string]float64{"cpu.server+": 1, "cpu.generator+": 0.9, "cpus.server": 2},
			Ceilings{}, LimitProcessors, false, "no limit was found; closest came the processors: the server used 50 % of 2 CPUs, and 90 % or more for 0 of 30 s",
		},
		{
			"run queue", map[string]float64{"cpu.server+": 0.5, "wait.server+": 0.5, "cpus.server": 2},
			Ceilings{}, LimitRunQueue, true, "the first limit is the run queue: threads of the server that were ready to run waited for a CPU 50 % of that time: 15 s of waiting beside 15 s of running",
		},
		{
			"a server that hardly runs", map[string]float64{"cpu.server+": 0.01, "wait.server+": 0.01, "cpus.server": 2},
			Ceilings{}, LimitRunQueue, false, "no limit was found; closest came the run queue: threads of the server that were ready to run waited for a CPU 50 % of that time: 0.3 s of waiting beside 0.3 s of running",
		},
		{
			"descriptors", map[string]float64{"fds.server": 19990, "fds.limit.server": 20000},
			Ceilings{}, LimitDescriptors, true, "the first limit is the descriptors: the server had 19990 of 20000 descriptors open",
		},
		{
			"ports", map[string]float64{"sockets.server": 28200, "fds.server": 28300, "fds.limit.server": 100000},
			Ceilings{Ports: 28232}, LimitPorts, true, "the first limit is the ports: the server had 28200 sockets open, and the generator has 28232 local ports to connect from",
		},
		{
			"ports of two addresses, sockets not counted", map[string]float64{"fds.server": 28200, "fds.limit.server": 100000},
			Ceilings{Ports: 28232, Sources: 2}, LimitPorts, false, "no limit was found; closest came the ports: the server had 28200 descriptors open, and the generator has 56464 local ports to connect from",
		},
		{
			"listen queue", map[string]float64{"net.overflows.server+": 2, "cpu.server+": 0.2, "cpus.server": 2},
			Ceilings{}, LimitListenQueue, true, "the first limit is the listen queue: 60 connections to the machine of the server were dropped by a full listen queue",
		},
		{
			"link that is full", map[string]float64{"net.in.server+": 1e5, "net.out.server+": 1.2375e6, "net.speed.server": 1e7},
			Ceilings{}, LimitLink, true, "the first limit is the link: the link from the server carried 9.9 of 10 Mbit/s",
		},
		{
			"link that is half full", map[string]float64{"net.in.server+": 6.25e7, "net.out.server+": 1e5, "net.speed.server": 1e9},
			Ceilings{}, LimitLink, false, "no limit was found; closest came the link: the link to the server carried 500 of 1000 Mbit/s",
		},
		{
			"links of the clients", map[string]float64{"cpu.server+": 0.2, "cpus.server": 2},
			Ceilings{Access: &AccessUse{Way: "from", Rate: 1e6, Busy: 66, Connected: 100, Wait: 0.0021, Queue: 0.131}}, LimitAccess, true,
			"the first limit is the access link: the access links from the server, 1 Mbit/s each, were sending 66 % of the time for which sessions were connected; a segment waited 2.1 ms before, of 131 ms that their queue holds",
		},
		{
			"links of idle clients", nil, Ceilings{Access: &AccessUse{Way: "to", Rate: 1e6, Busy: 1, Connected: 100}}, LimitAccess, false,
			"no limit was found; closest came the access link: the access links to the server, 1 Mbit/s each, were sending 1 % of the time for which sessions were connected; a segment waited 0 ms before, of 0 ms that their queue holds",
		},
		{
			"memory of the group", map[string]float64{"cgroup.memory.server": 1000 << 20, "cgroup.memory.limit.server": 1 << 30, "memory.server": 64 << 30, "memory.available.server": 60 << 30},
			Ceilings{}, LimitMemory, true, "the first limit is the memory: the control group of the server had 1000MiB of 1GiB of memory in use",
		},
		{
			"memory of the machine", map[string]float64{"memory.server": 64 << 30, "memory.available.server": 1 << 30},
			Ceilings{}, LimitMemory, true, "the first limit is the memory: the machine of the server had 63GiB of 64GiB of memory in use",
		},
		{
			"generator before all others", map[string]float64{"cpu.generator+": 1.84, "thread.cpu.server/lua-7+": 1},
			Ceilings{GeneratorCPUs: 2}, LimitGenerator, true, "the first limit is the generator: the generator used 92 % of its 2 CPUs, and is in doubt from 70 % on",
		},
		{
			"generator with another share", map[string]float64{"cpu.generator+": 0.84, "cpu.server+": 0.1, "cpus.server": 2},
			Ceilings{GeneratorCPUs: 1, GeneratorShare: 0.9}, LimitGenerator, false, "no limit was found; closest came the generator: the generator used 84 % of its one CPU, and is in doubt from 90 % on",
		},
		{
			"descriptors of the generator", map[string]float64{"cpu.generator+": 0.2, "fds.generator": 1020, "thread.cpu.server/lua-7+": 1},
			Ceilings{GeneratorCPUs: 2, GeneratorDescriptors: 1024}, LimitGenerator, true, "the first limit is the generator: the generator had 1020 of 1024 descriptors open",
		},
		{
			"flags of the self-check", map[string]float64{"cpu.generator+": 0.2, "thread.cpu.server/lua-7+": 1},
			Ceilings{GeneratorCPUs: 2, Flags: []Flag{{Kind: "gc", Severity: Warning, Text: "w"}, {Kind: "dropped", Severity: Invalid, Text: "5 arrivals were dropped, at most 0 may be"}}},
			LimitGenerator, true, "the first limit is the generator: 5 arrivals were dropped, at most 0 may be",
		},
		{
			"another role", map[string]float64{"fds.simulator": 90, "fds.limit.simulator": 90, "fds.server": 1, "fds.limit.server": 90},
			Ceilings{Server: "simulator"}, LimitDescriptors, true, "the first limit is the descriptors: the simulator had 90 of 90 descriptors open",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := FirstLimit(sampled(tt.figures), from, to, tt.c)
			if s := LimitSentence(got); s != tt.text {
				t.Errorf("got  %s\nwant %s", s, tt.text)
			}
			if tt.first == "" {
				return
			}
			if len(got) == 0 || got[0].Limit != tt.first || got[0].Reached != tt.reached {
				t.Errorf("got %+v, want %s first, reached %t", got, tt.first, tt.reached)
			}
			if !slices.IsSortedFunc(got, func(a, b Evidence) int { return -compareBool(a.Reached, b.Reached) }) {
				t.Errorf("what was not reached stands before what was: %+v", got)
			}
		})
	}
}

// TestFirstLimitPart looks at a part of the run alone, and bridges gaps.
func TestFirstLimitPart(t *testing.T) {
	all := sampled(map[string]float64{"thread.cpu.server/lua-7+": 0, "rss.generator": 1})
	for i := range all {
		all[i].Figures["thread.cpu.server/lua-7"] = float64(max(0, min(i, 20)-10)) // busy from 10 to 20
	}
	delete(all[15].Figures, "thread.cpu.server/lua-7")
	busy := FirstLimit(all, time.Unix(1010, 0), time.Unix(1020, 0), Ceilings{})
	// Seconds 14 to 16 are not known: eight of ten are left.
	if len(busy) != 1 || !busy[0].Reached || !strings.Contains(busy[0].Text, "used 80 % of one CPU, and 90 % or more for 8 of 10 s") {
		t.Errorf("busy: %+v", busy)
	}
	if idle := FirstLimit(all, time.Unix(1022, 0), time.Unix(1030, 0), Ceilings{}); len(idle) > 0 && idle[0].Reached {
		t.Errorf("idle: %+v", idle)
	}
	// Counts have lines of their own, and are no samples of figures.
	mixed := slices.Clone(all)
	for i := range all {
		mixed = append(mixed, Second{Time: all[i].Time.Add(time.Millisecond), Counts: []SecondCounts{{}}})
	}
	slices.SortStableFunc(mixed, func(a, b Second) int { return a.Time.Compare(b.Time) })
	if got := FirstLimit(mixed, time.Unix(1010, 0), time.Unix(1020, 0), Ceilings{}); !slices.Equal(got, busy) {
		t.Errorf("beside counts: %+v, want %+v", got, busy)
	}
	// A window between two samples gets both.
	if short := FirstLimit(all, time.Unix(1012, 4e8), time.Unix(1012, 8e8), Ceilings{}); len(short) != 1 || !short[0].Reached {
		t.Errorf("short: %+v", short)
	}
	if none := FirstLimit(all[:1], time.Unix(0, 0), time.Unix(2000, 0), Ceilings{}); none != nil {
		t.Errorf("one sample: %+v", none)
	}
	// A counter that fell, since its thread's number went to another one, has not grown.
	all[13].Figures["thread.cpu.server/lua-7"] = 0.01
	if got := FirstLimit(all, time.Unix(1012, 0), time.Unix(1013, 0), Ceilings{}); len(got) > 0 {
		t.Errorf("fell: %+v", got)
	}
}

func TestFindSeries(t *testing.T) {
	for key, want := range map[string][3]string{
		"cpu.server":                           {"cpu", "server", ""},
		"cgroup.cpu.server":                    {"cgroup.cpu", "server", ""},
		"cgroup.cpus.server":                   {"cgroup.cpus", "server", ""},
		"fds.limit.server@old.prosody":         {"fds.limit", "server@old.prosody", ""},
		"thread.cpu.server/1_scheduler-70":     {"thread.cpu", "server", "1_scheduler-70"},
		"metric.server/a_b{c=\"/\",d=\"e.f\"}": {"metric", "server", "a_b{c=\"/\",d=\"e.f\"}"},
		"pressure.cpu":                         {"pressure.cpu", "", ""},
	} {
		f, role, part, ok := FindSeries(key)
		if got := [3]string{f.Name, role, part}; !ok || got != want {
			t.Errorf("%s: got %q %t, want %q", key, got, ok, want)
		}
	}
	for _, key := range []string{"", "cpu", "cpu.", "nothing.server", "thread.cpu.server", "cpu.server/x"} {
		if f, role, part, ok := FindSeries(key); ok {
			t.Errorf("%q is taken for %s of %q %q", key, f.Name, role, part)
		}
	}
	for _, f := range SeriesFigures() {
		if !strings.HasSuffix(f.Doc, ".") || f.Unit == "" {
			t.Errorf("%s: its doc is not a sentence, or it has no unit: %+v", f.Name, f)
		}
	}
}
