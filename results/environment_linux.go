package results

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func gatherMachine(e *Environment) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		e.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	e.CPU = field("/proc/cpuinfo", "model name")
	if kb, ok := strings.CutSuffix(field("/proc/meminfo", "MemTotal"), " kB"); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(kb), 10, 64); err == nil {
			e.Memory = n << 10
		}
	}
	e.Governor = oneLine("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	e.Clock = oneLine("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	e.Sysctl = make(map[string]string)
	for _, name := range []string{
		"net.ipv4.tcp_congestion_control", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_mem",
		"net.core.rmem_max", "net.core.wmem_max", "net.core.somaxconn", "net.core.default_qdisc",
		"net.ipv4.ip_local_port_range", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_tw_reuse",
		"net.ipv4.tcp_notsent_lowat", "fs.file-max", "fs.nr_open",
	} {
		if v := oneLine("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); v != "" {
			e.Sysctl[name] = v
		}
	}
	e.Ulimit = make(map[string]string)
	for name, which := range map[string]int{"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "memlock": unix.RLIMIT_MEMLOCK, "as": unix.RLIMIT_AS} {
		var r unix.Rlimit
		if unix.Getrlimit(which, &r) == nil {
			e.Ulimit[name] = limit(r.Cur) + "/" + limit(r.Max)
		}
	}
}

func limit(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func oneLine(path string) string {
	b, err := os.ReadFile(path) // #nosec G304 -- a file of the kernel's
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// field is the value of the first "name : value" line of a file.
func field(path, name string) string {
	f, err := os.Open(path) // #nosec G304 -- a file of the kernel's
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
