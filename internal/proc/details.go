package proc

import "time"

// Details are what one process does and holds at the moment, thread by thread. A figure that this user may not know is -1.
type Details struct {
	Figures
	// Started tells when the process began, in ticks since the machine did: together with the process number it names a process for
	// ever.
	Started uint64 `json:"started"`
	// DescriptorLimit is how many descriptors it may hold.
	DescriptorLimit int `json:"descriptor_limit"`
	// StorageRead and StorageWritten are bytes that really moved between memory and storage on behalf of the process
	// (/proc/PID/io): neither sockets nor the page cache.
	StorageRead    int64 `json:"storage_read_bytes"`
	StorageWritten int64 `json:"storage_written_bytes"`
	// Tasks are the threads that live.
	Tasks []Thread `json:"tasks"`
}

// A Thread is one thread of a process. What it has used is counted since it began.
type Thread struct {
	ID   int    `json:"id"`
	Name string `json:"name"` // 15 bytes at most
	// CPU is the time for which it ran and Wait that for which it was ready to run and waited for a processor, in nanoseconds.
	CPU  time.Duration `json:"cpu_ns"`
	Wait time.Duration `json:"wait_ns"`
	// Voluntary counts how often it gave its processor away, to wait for something, and Involuntary how often the processor was
	// taken from it.
	Voluntary   uint64 `json:"voluntary"`
	Involuntary uint64 `json:"involuntary"`
}

// Network holds the counters of a network namespace since it began: all of its processes together.
type Network struct {
	// Received and Sent are the bytes of all interfaces but the loopback one, whose bytes are in Loopback.
	Received int64 `json:"received_bytes"`
	Sent     int64 `json:"sent_bytes"`
	Loopback int64 `json:"loopback_bytes"`
	// Speed is the sum of what the interfaces that are up can carry each way, in bit/s; 0 if none tells.
	Speed int64 `json:"speed"`
	// Overflows counts connections that were dropped because the queue of a listening socket was full.
	Overflows int64 `json:"listen_overflows"`
	// Retransmits counts segments of TCP that were sent again.
	Retransmits int64 `json:"retransmits"`
}

// Cgroup holds the account of a control group (cgroup v2), which may hold more than one process. What its controllers do not tell is
// zero.
type Cgroup struct {
	Path string `json:"path"` // below the root of the hierarchy
	// CPU is the processor time used, and Throttled that for which the group was held back by its quota, both in nanoseconds.
	CPU       time.Duration `json:"cpu_ns"`
	Throttled time.Duration `json:"throttled_ns"`
	// CPULimit is the quota in processors, 0 for none.
	CPULimit float64 `json:"cpu_limit"`
	// Memory is what the group has now, MemoryPeak the most that it had, and MemoryLimit what it may have, 0 for no limit, in bytes.
	Memory      int64 `json:"memory_bytes"`
	MemoryPeak  int64 `json:"memory_peak_bytes"`
	MemoryLimit int64 `json:"memory_limit_bytes"`
}
