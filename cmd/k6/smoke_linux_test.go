package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSmokeWithoutNetwork runs examples/smoke.js in a network namespace in which there is
// nothing, not even an address of the machine itself.
func TestSmokeWithoutNetwork(t *testing.T) {
	run := exec.CommandContext(t.Context(), "k6", "run", "--quiet", "--no-color", filepath.Join("..", "..", "examples", "smoke.js"))
	run.Env = append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true", "HOME="+t.TempDir())
	run.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	said, err := run.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("this machine does not let users make namespaces: %v", err)
	}
	if err != nil || !strings.Contains(string(said), "checks_succeeded...: 100.00%") {
		t.Errorf("%v\n%s", err, said)
	}
}
