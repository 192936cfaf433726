package proc_test

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/proc"
)

func TestInspect(t *testing.T) {
	child := start(t, "worker", workerConfig{}, proc.Options{})
	before, err := proc.Inspect(child.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Call(t.Context(), "burn", nil, nil); err != nil {
		t.Fatal(err)
	}
	after, err := proc.Inspect(child.PID())
	if err != nil {
		t.Fatal(err)
	}
	sum := func(d proc.Details) (cpu time.Duration, switches uint64) {
		for _, task := range d.Tasks {
			cpu += task.CPU
			switches += task.Voluntary + task.Involuntary
		}
		return cpu, switches
	}
	cpu, switches := sum(after)
	was, wereSwitches := sum(before)
	// The threads' accounts are those of the scheduler, which the process's clock adds up: the same work twice.
	if got, want := cpu-was, after.CPU-before.CPU; got < want/2 || got > want*2 {
		t.Errorf("the threads used %v, the process %v", got, want)
	}
	if switches <= wereSwitches {
		t.Errorf("context switches went from %d to %d", wereSwitches, switches)
	}
	if after.Started == 0 || after.Started != before.Started {
		t.Errorf("it began at %d, and then at %d", before.Started, after.Started)
	}
	if s, err := proc.Started(child.PID()); err != nil || s != after.Started {
		t.Errorf("Started: %d, %v; want %d", s, err, after.Started)
	}
	if limit, err := proc.DescriptorLimit(); err != nil || after.DescriptorLimit != limit {
		t.Errorf("descriptor limit %d, want that of its parent, %d (%v)", after.DescriptorLimit, limit, err)
	}
	if len(after.Tasks) != after.Threads || after.Tasks[0].Name == "" {
		t.Errorf("%d threads are listed of %d: %+v", len(after.Tasks), after.Threads, after.Tasks)
	}
	if after.StorageRead < 0 || after.StorageWritten < 0 {
		t.Errorf("storage of a process of one's own is not known: %+v", after)
	}
	if err := child.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Inspect":   func() error { _, err := proc.Inspect(child.PID()); return err }(),
		"Started":   func() error { _, err := proc.Started(child.PID()); return err }(),
		"Sockets":   func() error { _, err := proc.Sockets(child.PID()); return err }(),
		"NetworkOf": func() error { _, err := proc.NetworkOf(child.PID()); return err }(),
		"CgroupOf":  func() error { _, err := proc.CgroupOf(child.PID()); return err }(),
	} {
		if !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s after its end: got %v, want os.ErrProcessDone", name, err)
		}
	}
}

func TestSocketsAndListeners(t *testing.T) {
	before, err := proc.Sockets(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	any, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer any.Close()
	if after, err := proc.Sockets(os.Getpid()); err != nil || after != before+2 {
		t.Errorf("two listeners took the sockets from %d to %d, %v", before, after, err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	everywhere := uint16(any.Addr().(*net.TCPAddr).Port)
	for _, tt := range []struct {
		at   netip.Addr
		port uint16
		want bool
	}{
		{at.Addr(), at.Port(), true},
		{netip.Addr{}, at.Port(), true},
		{netip.MustParseAddr("127.0.0.2"), at.Port(), false},
		{netip.MustParseAddr("127.0.0.2"), everywhere, true},
		{netip.MustParseAddr("::1"), everywhere, true},
	} {
		pids, err := proc.Listeners(tt.at, tt.port)
		if found := err == nil && slices.Contains(pids, os.Getpid()); found != tt.want || !tt.want && !errors.Is(err, proc.ErrNoListener) {
			t.Errorf("%v %d: %v, %v", tt.at, tt.port, pids, err)
		}
	}
	l.Close()
	if _, err := proc.Listeners(at.Addr(), at.Port()); !errors.Is(err, proc.ErrNoListener) || errors.Is(err, fs.ErrPermission) {
		t.Errorf("after its end: %v", err)
	}
}

func TestNetworkOf(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before, err := proc.NetworkOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_, _ = c.Write(make([]byte, size))
			c.Close()
		}
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for got := 0; got < size; {
		n, err := c.Read(make([]byte, 64<<10))
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	after, err := proc.NetworkOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got := after.Loopback - before.Loopback; got < size {
		t.Errorf("the loopback interface counted %d bytes of %d", got, size)
	}
}

func TestMemory(t *testing.T) {
	available, total, err := proc.Memory()
	if err != nil || available <= 0 || available >= total {
		t.Errorf("%d of %d available, %v", available, total, err)
	}
}
