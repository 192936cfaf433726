package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// CPU returns the processor time that a process has used since its start, all threads, user and system. It reads the nanosecond
// clock that the kernel keeps for each process, and where that is refused adds up the scheduler's account of the living threads.
// It returns an error that matches [os.ErrProcessDone] if there is no such process.
func CPU(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, fmt.Errorf("proc: CPU of process %d: %w", pid, os.ErrProcessDone)
	}
	d, err := cpuClock(pid)
	if err != nil {
		d, err = cpuThreads(pid)
	}
	if err != nil {
		return 0, fmt.Errorf("proc: CPU of process %d: %w", pid, gone(err))
	}
	return d, nil
}

// cpuClock reads the CPU clock of a process, whose number the kernel derives from the process's: clock_getcpuclockid(3).
func cpuClock(pid int) (time.Duration, error) {
	const schedulerClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulerClock), &ts); err != nil { // #nosec G115 -- Numbers of processes have 22 bits.
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// cpuThreads adds up /proc/PID/task/*/schedstat, since /proc/PID/schedstat is the account of the first thread alone. Threads that
// have ended are missing.
func cpuThreads(pid int) (time.Duration, error) {
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, t := range threads {
		stat, err := t.Schedstat()
		if errors.Is(gone(err), os.ErrProcessDone) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += time.Duration(stat.RunningNanoseconds) // #nosec G115 -- below 292 years
	}
	return sum, nil
}

// gone gives the ways of saying that a process does not exist one name.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// Usage returns the figures of one process. It returns an error that matches [os.ErrProcessDone] if there is no such process.
func Usage(pid int) (Figures, error) {
	f, err := usage(pid)
	if err != nil {
		return Figures{}, fmt.Errorf("proc: usage of process %d: %w", pid, gone(err))
	}
	return f, nil
}

func usage(pid int) (Figures, error) {
	p, stat, err := open(pid)
	if err != nil {
		return Figures{}, err
	}
	return figures(p, stat)
}

// open finds a process, and what tells it from others that had its number.
func open(pid int) (procfs.Proc, procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return p, procfs.ProcStat{}, err
	}
	stat, err := p.Stat()
	return p, stat, err
}

func figures(p procfs.Proc, stat procfs.ProcStat) (Figures, error) {
	status, err := p.NewStatus()
	if err != nil {
		return Figures{}, err
	}
	cpu, err := CPU(p.PID)
	if err != nil {
		return Figures{}, err
	}
	descriptors, err := p.FileDescriptorsLen()
	switch {
	case errors.Is(err, fs.ErrPermission):
		descriptors = -1
	case err != nil:
		return Figures{}, err
	}
	return Figures{
		CPU:         cpu,
		RSS:         int64(status.VmRSS), // #nosec G115 -- below 8 EiB
		PeakRSS:     int64(status.VmHWM), // #nosec G115 -- below 8 EiB
		Descriptors: descriptors,
		Threads:     stat.NumThreads,
	}, nil
}

// ResetPeak makes the present resident memory of a process its peak, so that a later peak belongs to the time since.
func ResetPeak(pid int) error {
	const resetHighWaterMark = "5" // proc_pid_clear_refs(5)
	if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/clear_refs", []byte(resetHighWaterMark), 0); err != nil {
		return fmt.Errorf("proc: reset the memory peak of process %d: %w", pid, gone(err))
	}
	return nil
}

// DescriptorLimit returns how many file descriptors this process may hold at once.
func DescriptorLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("proc: descriptor limit: %w", err)
	}
	return int(min(limit.Cur, math.MaxInt)), nil
}

// EphemeralPorts returns how many local ports the kernel gives to connections that do not ask for one: the most that one address can
// have open at a time to one port of another.
func EphemeralPorts() (int, error) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, fmt.Errorf("proc: ephemeral ports: %w", err)
	}
	var first, last int
	if _, err := fmt.Sscan(string(b), &first, &last); err != nil {
		return 0, fmt.Errorf("proc: ephemeral ports: %w", err)
	}
	return last - first + 1, nil
}

// AvailableMemory returns how many bytes new work can have without swapping.
func AvailableMemory() (int64, error) {
	available, _, err := Memory()
	return available, err
}

// Memory returns how many bytes new work can have without swapping, and how many the machine has.
func Memory() (available, total int64, err error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, fmt.Errorf("proc: available memory: %w", err)
	}
	m, err := proc.Meminfo()
	if err == nil && (m.MemAvailableBytes == nil || m.MemTotalBytes == nil) {
		err = ErrUnavailable
	}
	if err != nil {
		return 0, 0, fmt.Errorf("proc: available memory: %w", err)
	}
	return int64(*m.MemAvailableBytes), int64(*m.MemTotalBytes), nil // #nosec G115 -- below 8 EiB
}

// CPUPressure returns for how long, since the machine started, at least one task was ready to run and waited for a processor. The
// difference of two readings over the time between them is the share that the kernel calls "some".
func CPUPressure() (time.Duration, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("proc: CPU pressure: %w", err)
	}
	stats, err := proc.PSIStatsForResource("cpu")
	if err != nil || stats.Some == nil {
		// Kernels without pressure accounting lack the file or refuse to read it.
		return 0, fmt.Errorf("proc: CPU pressure: %w", errors.Join(ErrUnavailable, err))
	}
	return time.Duration(stats.Some.Total) * time.Microsecond, nil // #nosec G115 -- below 292 years
}

// Steal returns the processor time that the hypervisor gave to others although this machine had work, and all processor time
// together, idle included, both summed over the processors since the machine started and exact to 10 ms.
func Steal() (stolen, total time.Duration, err error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, fmt.Errorf("proc: stolen CPU time: %w", err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("proc: stolen CPU time: %w", err)
	}
	t := stat.CPUTotal
	// Guest time is part of user time already.
	seconds := t.User + t.Nice + t.System + t.Idle + t.Iowait + t.IRQ + t.SoftIRQ + t.Steal
	return time.Duration(t.Steal * float64(time.Second)), time.Duration(seconds * float64(time.Second)), nil
}
