package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/proc"
)

// Config says which processes are looked at, and how. At most one of PID, PIDFile, Listen and Agent may be set; without any, only
// what Metrics and API tell is read.
type Config struct {
	// PID is a process of this machine, PIDFile a file that holds its number, which is read anew each time: a server that was
	// started again is found again.
	PID     int
	PIDFile string
	// Listen is an address, host:port or :port, and stands for the processes of this machine that listen there.
	Listen string
	// Agent is the host:port or URL of a [Handler] on another machine, and Token what it wants to be shown.
	Agent string
	Token string
	// CA is a PEM file of the authorities that certificates of an agent are trusted by, in place of the system's. An agent that is
	// named as host:port is asked over TLS if it is set.
	CA string
	// Metrics is the URL of metrics in the format of Prometheus or of OpenMetrics, API that of ejabberd's mod_http_api.
	Metrics string
	API     string
}

// check refuses a configuration that says nothing, or two things.
func (c Config) check() error {
	n := 0
	for _, set := range []bool{c.PID != 0, c.PIDFile != "", c.Listen != "", c.Agent != ""} {
		if set {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("observe: a process, a file with its number, a port and an agent are four ways to name the same thing: give one of them")
	case c.CA != "" && c.Agent == "":
		return errors.New("observe: authorities are for an agent, and none is named")
	case c == Config{}:
		return errors.New("observe: nothing to observe")
	}
	return nil
}

// Reading is what was seen at one moment. Counters are sums over the processes and over those that they have replaced: a server that
// is started again does not make them fall. A figure that could not be read is -1, a part that could not be read nil.
type Reading struct {
	Time time.Time `json:"time"`
	// PIDs are the processes; none if only the server itself was asked.
	PIDs []int `json:"pids,omitempty"`
	// CPU is the processor time used, Wait the time in which threads that still live were ready to run and waited for a processor.
	CPU  time.Duration `json:"cpu_ns"`
	Wait time.Duration `json:"wait_ns"`
	// Memory in bytes: resident, and the most that was resident since the processes began.
	RSS     int64 `json:"rss_bytes"`
	PeakRSS int64 `json:"peak_rss_bytes"`
	// Descriptors are open, of DescriptorLimit that the process closest to its limit may open; Sockets are those of them that are
	// sockets, which is not counted at every reading where there are many.
	Descriptors     int `json:"descriptors"`
	DescriptorLimit int `json:"descriptor_limit"`
	Sockets         int `json:"sockets"`
	// Voluntary and Involuntary count context switches of the threads that live.
	Voluntary   uint64 `json:"voluntary"`
	Involuntary uint64 `json:"involuntary"`
	// Storage that was really read and written, in bytes.
	StorageRead    int64         `json:"storage_read_bytes"`
	StorageWritten int64         `json:"storage_written_bytes"`
	Threads        []proc.Thread `json:"threads,omitempty"`
	// CPUs is the number of processors of the machine, Memory what it has and Available what new work could have of it, in bytes.
	CPUs      int   `json:"cpus"`
	Memory    int64 `json:"memory_bytes"`
	Available int64 `json:"available_bytes"`

	Network *proc.Network `json:"network,omitempty"`
	Cgroup  *proc.Cgroup  `json:"cgroup,omitempty"`
	// Sessions are those of clients that the server counts, -1 where it was not asked for them at this reading.
	Sessions int `json:"sessions"`
	// Metrics are what the server told of itself, by name, with labels where it has any.
	Metrics map[string]float64 `json:"metrics,omitempty"`
	// Missing says what was to be read and could not be, one sentence each.
	Missing []string `json:"missing,omitempty"`
}

// Observer reads the figures of one server. Its methods may be used concurrently.
type Observer struct {
	config Config
	listen netip.AddrPort // of config.Listen
	agent  *agent
	scrape *scraper

	mu      sync.Mutex
	live    map[int]*account // processes by number, as they were last seen
	base    totals           // what processes have used that are no more
	pids    []int            // that listen, as last found
	recount time.Time        // sockets are not counted before then
}

// totals are counters of a process.
type totals struct {
	cpu, wait              time.Duration
	voluntary, involuntary uint64
	read, written          int64
}

func (t *totals) add(o totals) {
	t.cpu += o.cpu
	t.wait += o.wait
	t.voluntary += o.voluntary
	t.involuntary += o.involuntary
	t.read += o.read
	t.written += o.written
}

// account is what is known of a process.
type account struct {
	started uint64
	totals
}

// Open checks a configuration and returns what reads it. It looks at nothing yet: [Observer.Read] tells whether there is anything.
func Open(c Config) (*Observer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o := &Observer{config: c, live: make(map[int]*account)}
	var err error
	if c.Listen != "" {
		if o.listen, err = parseListen(c.Listen); err != nil {
			return nil, err
		}
	}
	if c.Agent != "" {
		if o.agent, err = newAgent(c.Agent, c.Token, c.CA); err != nil {
			return nil, err
		}
	}
	if c.Metrics != "" || c.API != "" {
		if o.scrape, err = newScraper(c.Metrics, c.API); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// parseListen reads an address that a server listens at: PORT, :PORT or ADDRESS:PORT. Without an address it is not valid in the
// result.
func parseListen(text string) (netip.AddrPort, error) {
	host, port := "", text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		host, port = strings.Trim(text[:i], "[]"), text[i+1:]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return netip.AddrPort{}, fmt.Errorf("observe: %q is not a port, nor address:port", text)
	}
	var at netip.Addr
	if host != "" {
		if at, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, fmt.Errorf("observe: %q is not a port, nor address:port", text)
		}
	}
	return netip.AddrPortFrom(at, uint16(n)), nil
}

// Close lets go of connections. It does not block.
func (o *Observer) Close() {
	if o.agent != nil {
		o.agent.close()
	}
	if o.scrape != nil {
		o.scrape.close()
	}
}

// find returns the processes that are looked at, nil if there are none to look at here.
func (o *Observer) find() ([]int, error) {
	switch c := o.config; {
	case c.PID != 0:
		return []int{c.PID}, nil
	case c.PIDFile != "":
		pid, err := readPIDFile(c.PIDFile)
		if err != nil {
			return nil, err
		}
		return []int{pid}, nil
	case c.Listen != "":
		if len(o.pids) > 0 && !slices.ContainsFunc(o.pids, func(pid int) bool { return !o.same(pid) }) {
			return o.pids, nil // looking through all processes is slow
		}
		var err error
		o.pids, err = proc.Listeners(o.listen.Addr(), o.listen.Port())
		return o.pids, err
	}
	return nil, nil
}

// same reports whether a process is the one that was last seen under its number.
func (o *Observer) same(pid int) bool {
	started, err := proc.Started(pid)
	a := o.live[pid]
	return err == nil && a != nil && a.started == started
}

// maxPIDFile bounds what is read of a file that is to hold a number, in bytes.
const maxPIDFile = 64

func readPIDFile(name string) (int, error) {
	f, err := os.Open(name) // #nosec G304 -- a file that the user names
	if err != nil {
		return 0, fmt.Errorf("observe: pid file: %w: is the server running, and may this user read the file?", err)
	}
	defer f.Close()
	b := make([]byte, maxPIDFile)
	n, err := f.Read(b)
	if err != nil && n == 0 {
		return 0, fmt.Errorf("observe: pid file: %s is empty or cannot be read: %w", name, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("observe: pid file: %s holds %q in place of the number of a process", name, strings.TrimSpace(string(b[:min(n, 20)])))
	}
	return pid, nil
}

// CPU returns the processor time that the processes have used so far, without looking at anything else. It is exact to the moment,
// and asks an agent where there is one.
func (o *Observer) CPU(ctx context.Context) (time.Duration, error) {
	if o.agent != nil {
		r, err := o.agent.read(ctx, true)
		return r.CPU, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	pids, err := o.find()
	if err != nil {
		return 0, err
	}
	if len(pids) == 0 {
		return 0, fmt.Errorf("observe: no process is named: %w", proc.ErrUnavailable)
	}
	for _, pid := range pids {
		cpu, err := proc.CPU(pid)
		if err != nil {
			return 0, err
		}
		started, err := proc.Started(pid)
		if err != nil {
			return 0, err
		}
		a := o.open(pid, started)
		a.cpu = cpu
	}
	return o.sum(pids).cpu, nil
}

// open returns the account of a process. One that has another start than the account under its number has replaced that process.
func (o *Observer) open(pid int, started uint64) *account {
	a := o.live[pid]
	if a != nil && a.started == started {
		return a
	}
	if a != nil {
		o.base.add(a.totals)
	}
	a = &account{started: started}
	o.live[pid] = a
	return a
}

// sum adds up what the processes and those before them have used, and closes the accounts of processes that are not among them any
// more.
func (o *Observer) sum(pids []int) totals {
	for pid, a := range o.live {
		if !slices.Contains(pids, pid) {
			o.base.add(a.totals)
			delete(o.live, pid)
		}
	}
	t := o.base
	for _, a := range o.live {
		t.add(a.totals)
	}
	return t
}

// Read returns everything. What is not there is an error only if it is the processes; else it is noted in [Reading.Missing]. It
// waits for an agent and for what is asked over HTTP, five seconds at most.
func (o *Observer) Read(ctx context.Context) (Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := o.processes(ctx)
	if err != nil {
		return r, err
	}
	if o.scrape != nil {
		metrics, missing := o.scrape.read(ctx)
		if r.Metrics == nil {
			r.Metrics = make(map[string]float64)
		}
		maps.Copy(r.Metrics, metrics)
		r.Missing = append(r.Missing, missing...)
		if n, ok := Sessions(metrics); ok {
			r.Sessions = n
		}
	}
	return r, nil
}

// limit is how long anything that is asked over the network may take.
const limit = 5 * time.Second

func (o *Observer) processes(ctx context.Context) (Reading, error) {
	if o.agent != nil {
		return o.agent.read(ctx, false)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Reading{Time: time.Now().Round(0), Sockets: -1, Sessions: -1, CPUs: runtime.NumCPU()}
	pids, err := o.find()
	if err != nil || len(pids) == 0 {
		return r, err
	}
	r.PIDs = pids
	var headroom float64 = -1
	for _, pid := range pids {
		d, err := proc.Inspect(pid)
		if err != nil {
			return r, err
		}
		a := o.open(pid, d.Started)
		a.totals = totals{cpu: d.CPU, read: max(d.StorageRead, 0), written: max(d.StorageWritten, 0)}
		for _, t := range d.Tasks {
			a.wait += t.Wait
			a.voluntary += t.Voluntary
			a.involuntary += t.Involuntary
		}
		r.Threads = append(r.Threads, d.Tasks...)
		r.RSS += d.RSS
		r.PeakRSS += d.PeakRSS
		if d.StorageRead < 0 {
			r.StorageRead = -1
		}
		if d.Descriptors < 0 || r.Descriptors < 0 {
			r.Descriptors = -1
			continue
		}
		r.Descriptors += d.Descriptors
		if used := float64(d.Descriptors) / float64(max(d.DescriptorLimit, 1)); used > headroom {
			headroom, r.DescriptorLimit = used, d.DescriptorLimit
		}
	}
	t := o.sum(pids)
	r.CPU, r.Wait, r.Voluntary, r.Involuntary = t.cpu, t.wait, t.voluntary, t.involuntary
	if r.StorageRead >= 0 {
		r.StorageRead, r.StorageWritten = t.read, t.written
	} else {
		r.StorageWritten = -1
	}
	o.surroundings(&r)
	return r, nil
}

// surroundings adds what the processes share with others, and their sockets.
func (o *Observer) surroundings(r *Reading) {
	if available, total, err := proc.Memory(); err == nil {
		r.Available, r.Memory = available, total
	}
	if n, err := proc.NetworkOf(r.PIDs[0]); err == nil {
		r.Network = &n
	}
	if c, err := proc.CgroupOf(r.PIDs[0]); err == nil {
		r.Cgroup = &c
	}
	// Counting sockets looks at each descriptor: it may take a hundredth of the time.
	if r.Descriptors < 0 || time.Now().Before(o.recount) {
		return
	}
	began, sockets := time.Now(), 0
	for _, pid := range r.PIDs {
		n, err := proc.Sockets(pid)
		if err != nil {
			return
		}
		sockets += n
	}
	r.Sockets = sockets
	o.recount = time.Now().Add(99 * time.Since(began))
}
