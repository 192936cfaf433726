package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// Inspect returns the details of one process. It reads three small files for each thread, so call it once a second rather than a
// thousand times. It returns an error that matches [os.ErrProcessDone] if there is no such process.
func Inspect(pid int) (Details, error) {
	d, err := inspect(pid)
	if err != nil {
		return Details{}, fmt.Errorf("proc: inspect process %d: %w", pid, gone(err))
	}
	return d, nil
}

func inspect(pid int) (Details, error) {
	d := Details{StorageRead: -1, StorageWritten: -1, DescriptorLimit: -1}
	p, stat, err := open(pid)
	if err != nil {
		return d, err
	}
	d.Started = stat.Starttime
	if d.Figures, err = figures(p, stat); err != nil {
		return d, err
	}
	if limits, err := p.Limits(); err == nil {
		d.DescriptorLimit = int(min(limits.OpenFiles, 1<<40))
	}
	// Another user's are not to be read.
	if io, err := p.IO(); err == nil {
		d.StorageRead, d.StorageWritten = int64(io.ReadBytes), int64(io.WriteBytes) // #nosec G115 -- below 8 EiB
	}
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return d, err
	}
	for _, t := range threads {
		task, err := thread(t)
		if errors.Is(gone(err), os.ErrProcessDone) {
			continue // It ended since the listing.
		}
		if err != nil {
			return d, err
		}
		d.Tasks = append(d.Tasks, task)
	}
	return d, nil
}

func thread(p procfs.Proc) (Thread, error) {
	t := Thread{ID: p.PID}
	status, err := p.NewStatus()
	if err != nil {
		return t, err
	}
	t.Name = status.Name
	t.Voluntary, t.Involuntary = status.VoluntaryCtxtSwitches, status.NonVoluntaryCtxtSwitches
	account, err := p.Schedstat()
	if err != nil {
		return t, err
	}
	t.CPU, t.Wait = time.Duration(account.RunningNanoseconds), time.Duration(account.WaitingNanoseconds) // #nosec G115 -- below 292 years
	return t, nil
}

// Started returns when a process began, as [Details] does.
func Started(pid int) (uint64, error) {
	_, stat, err := open(pid)
	if err != nil {
		return 0, fmt.Errorf("proc: start of process %d: %w", pid, gone(err))
	}
	return stat.Starttime, nil
}

// Sockets counts the descriptors of a process that are sockets. It looks at each descriptor, about a microsecond for one.
func Sockets(pid int) (int, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("proc: sockets of process %d: %w", pid, gone(err))
	}
	n := 0
	for _, e := range entries {
		// One that was closed since the listing is none.
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n, nil
}

// Listeners returns the processes that hold a socket which takes TCP connections to an address, in order of their numbers: one that
// is bound to the address itself, or to all addresses. An address that is not valid stands for any. It looks at all descriptors of
// all processes that this user may see; the error matches [ErrNoListener] if nothing listens there, and [fs.ErrPermission] if
// something does but its process cannot be told.
func Listeners(at netip.Addr, port uint16) ([]int, error) {
	inodes, err := listening(at, port)
	if err != nil {
		return nil, fmt.Errorf("proc: listeners: %w", err)
	}
	where := ":" + strconv.Itoa(int(port))
	if at.IsValid() {
		where = netip.AddrPortFrom(at, port).String()
	}
	if len(inodes) == 0 {
		return nil, fmt.Errorf("proc: %w %s", ErrNoListener, where)
	}
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("proc: listeners: %w", err)
	}
	var pids []int
	for _, p := range all {
		// Processes of other users, and those that have ended, cannot be looked at.
		targets, err := p.FileDescriptorTargets()
		if err == nil && slices.ContainsFunc(targets, func(target string) bool { return inodes[target] }) {
			pids = append(pids, p.PID)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("proc: the process that listens at %s belongs to another user: %w", where, fs.ErrPermission)
	}
	slices.Sort(pids)
	return pids, nil
}

// listening returns the sockets that listen at an address and port, as descriptors are called in /proc.
func listening(at netip.Addr, port uint16) (map[string]bool, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, err
	}
	const stateListen = 0x0a
	found := make(map[string]bool)
	for _, read := range []func() (procfs.NetTCP, error){proc.NetTCP, proc.NetTCP6} { //nolint:staticcheck // the module would have us write the requests of netlink instead, for what is looked up once
		lines, err := read()
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a machine without IPv6 has no such file
			return nil, err
		}
		for _, line := range lines {
			if line.St != stateListen || line.LocalPort != uint64(port) {
				continue
			}
			local, ok := netip.AddrFromSlice(line.LocalAddr)
			local = local.Unmap()
			if ok && (!at.IsValid() || local == at.Unmap() || local.IsUnspecified()) {
				found["socket:["+strconv.FormatUint(line.Inode, 10)+"]"] = true
			}
		}
	}
	return found, nil
}

// NetworkOf returns the counters of the network namespace that a process is in.
func NetworkOf(pid int) (Network, error) {
	n, err := network(pid)
	if err != nil {
		return Network{}, fmt.Errorf("proc: network of process %d: %w", pid, gone(err))
	}
	return n, nil
}

func network(pid int) (Network, error) {
	var n Network
	p, err := procfs.NewProc(pid)
	if err != nil {
		return n, err
	}
	devices, err := p.NetDev()
	if err != nil {
		return n, err
	}
	for name, line := range devices {
		if name == "lo" {
			n.Loopback += int64(line.RxBytes) // #nosec G115 -- below 8 EiB
			continue
		}
		n.Received += int64(line.RxBytes) // #nosec G115 -- below 8 EiB
		n.Sent += int64(line.TxBytes)     // #nosec G115 -- below 8 EiB
		n.Speed += interfaceSpeed(name)
	}
	count := func(v *float64) int64 {
		if v == nil {
			return 0
		}
		return int64(*v)
	}
	extended, err := p.Netstat()
	if err != nil {
		return n, err
	}
	n.Overflows = count(extended.ListenOverflows)
	plain, err := p.Snmp()
	if err != nil {
		return n, err
	}
	n.Retransmits = count(plain.RetransSegs)
	return n, nil
}

// interfaceSpeed is what an interface of this process's namespace can carry, in bit/s; 0 if it is down or does not tell, as virtual
// ones do not.
func interfaceSpeed(name string) int64 {
	dir := filepath.Join("/sys/class/net", name)
	state, err := os.ReadFile(filepath.Join(dir, "operstate")) // #nosec G304 -- The kernel names its interfaces.
	if err != nil || string(bytes.TrimSpace(state)) != "up" {
		return 0
	}
	return max(0, whole(filepath.Join(dir, "speed"))) * 1e6 // in Mbit/s; below 0 if unknown
}

// CgroupOf returns the account of the control group that a process is in. The error matches [ErrUnavailable] where the machine has
// no hierarchy of version 2, or the process is in its root, which accounts for nothing of its own.
func CgroupOf(pid int) (Cgroup, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err == nil {
		var groups []byte
		if groups, err = os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup"); err == nil {
			var c Cgroup
			if c, err = cgroup(string(mounts), string(groups)); err == nil {
				return c, nil
			}
		}
	}
	return Cgroup{}, fmt.Errorf("proc: control group of process %d: %w", pid, gone(err))
}

// cgroup finds the directory of a process's group from the mounts of the machine and the groups of the process, and reads it.
func cgroup(mounts, groups string) (Cgroup, error) {
	root := ""
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			root = fields[1]
		}
	}
	path := ""
	for line := range strings.Lines(groups) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = p
		}
	}
	// A group outside of this process's view has a path that leads up.
	if root == "" || path == "" || path == "/" || strings.HasPrefix(path, "/..") {
		return Cgroup{}, ErrUnavailable
	}
	dir := filepath.Join(root, path)
	if _, err := os.Stat(dir); err != nil {
		return Cgroup{}, errors.Join(ErrUnavailable, err)
	}
	c := Cgroup{Path: path}
	stat := fields(filepath.Join(dir, "cpu.stat"))
	c.CPU = time.Duration(stat["usage_usec"]) * time.Microsecond
	c.Throttled = time.Duration(stat["throttled_usec"]) * time.Microsecond
	c.CPULimit = quota(filepath.Join(dir, "cpu.max"))
	c.Memory = whole(filepath.Join(dir, "memory.current"))
	c.MemoryPeak = whole(filepath.Join(dir, "memory.peak"))
	c.MemoryLimit = whole(filepath.Join(dir, "memory.max"))
	return c, nil
}

// fields reads lines of a name and a number. What a controller that is off does not offer is absent.
func fields(file string) map[string]int64 {
	b, err := os.ReadFile(file) // #nosec G304 -- a file of the kernel's
	if err != nil {
		return nil
	}
	all := make(map[string]int64)
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				all[name] = n
			}
		}
	}
	return all
}

// whole reads a file of one number: 0 where there is none, or it says "max".
func whole(file string) int64 {
	b, err := os.ReadFile(file) // #nosec G304 -- a file of the kernel's
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// quota reads cpu.max, a quota and the period that it holds for, as a number of processors.
func quota(file string) float64 {
	b, err := os.ReadFile(file) // #nosec G304 -- a file of the kernel's
	if err != nil {
		return 0
	}
	var most, period float64
	if _, err := fmt.Sscan(string(b), &most, &period); err != nil || period <= 0 {
		return 0 // "max" is no quota
	}
	return most / period
}
