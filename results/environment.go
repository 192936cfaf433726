package results

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// Environment is the machine and the program that a run was made with. What
// the operating system does not tell stays empty.
type Environment struct {
	Host       string            `json:"host,omitempty"`
	OS         string            `json:"os"`
	Arch       string            `json:"arch"`
	Kernel     string            `json:"kernel,omitempty"`
	CPU        string            `json:"cpu,omitempty"` // model
	CPUs       int               `json:"cpus"`          // usable by this process
	Governor   string            `json:"governor,omitempty"`
	Memory     int64             `json:"memory,omitempty"` // bytes
	Clock      string            `json:"clock,omitempty"`  // clock source of the kernel
	Sysctl     map[string]string `json:"sysctl,omitempty"`
	Ulimit     map[string]string `json:"ulimit,omitempty"` // "soft/hard"
	Go         string            `json:"go"`
	GOMAXPROCS int               `json:"gomaxprocs"`
	GOGC       int               `json:"gogc"`       // percent, -1 if off
	GOMEMLIMIT int64             `json:"gomemlimit"` // bytes
	Module     string            `json:"module,omitempty"`
	Version    string            `json:"version,omitempty"`
	Revision   string            `json:"revision,omitempty"` // of the source
	Modified   bool              `json:"modified,omitempty"` // the source was changed after that revision
	Modules    map[string]string `json:"modules,omitempty"`  // path to version
	Taken      time.Time         `json:"taken"`
}

// GatherEnvironment reads what this process and this machine tell of
// themselves. It reads files under /proc and /sys only.
func GatherEnvironment() Environment {
	host, _ := os.Hostname()
	e := Environment{
		Host:       host,
		OS:         runtime.GOOS,
		Arch:       runtime.GOARCH,
		CPUs:       runtime.NumCPU(),
		Go:         runtime.Version(),
		GOMAXPROCS: runtime.GOMAXPROCS(0),
		GOGC:       gogc(),
		GOMEMLIMIT: debug.SetMemoryLimit(-1),
		Taken:      time.Now().Round(0),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		e.Module, e.Version = info.Main.Path, info.Main.Version
		e.Modules = make(map[string]string, len(info.Deps))
		for _, d := range info.Deps {
			if d.Replace != nil {
				d = d.Replace
			}
			e.Modules[d.Path] = d.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				e.Revision = s.Value
			case "vcs.modified":
				e.Modified, _ = strconv.ParseBool(s.Value)
			}
		}
	}
	gatherMachine(&e)
	return e
}

// differences lists what differs in a way that makes figures incomparable.
func (e Environment) differences(o Environment) []string {
	var out []string
	add := func(what, a, b string) {
		if a != b {
			out = append(out, what+" "+orUnknown(a)+" / "+orUnknown(b))
		}
	}
	add("host", e.Host, o.Host)
	add("operating system", e.OS+"/"+e.Arch, o.OS+"/"+o.Arch)
	add("kernel", e.Kernel, o.Kernel)
	add("CPU", e.CPU, o.CPU)
	add("number of CPUs", strconv.Itoa(e.CPUs), strconv.Itoa(o.CPUs))
	add("GOMAXPROCS", strconv.Itoa(e.GOMAXPROCS), strconv.Itoa(o.GOMAXPROCS))
	add("GOGC", strconv.Itoa(e.GOGC), strconv.Itoa(o.GOGC))
	add("GOMEMLIMIT", memoryLimit(e.GOMEMLIMIT), memoryLimit(o.GOMEMLIMIT))
	add("congestion control", e.Sysctl["net.ipv4.tcp_congestion_control"], o.Sysctl["net.ipv4.tcp_congestion_control"])
	return out
}

// memoryLimit writes GOMEMLIMIT, of which the largest number is none; so is none in a
// manifest.
func memoryLimit(bytes int64) string {
	if bytes == 0 || bytes == math.MaxInt64 {
		return "off"
	}
	return formatBytes(float64(bytes))
}

func orUnknown(s string) string {
	if s == "" {
		return "(unknown)"
	}
	return s
}

// gogc reads the GC percentage through the metrics of the runtime: the only
// way that does not set it.
func gogc() int {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int(int64(s[0].Value.Uint64())) // #nosec G115 -- "off" is -1.
}
