//go:build unix

package provision

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// owner is the user who is to own what is written. The zero value stands for
// the user of this process.
type owner struct {
	name     string
	uid, gid uint32
}

func lookupOwner(name string) (owner, error) {
	if name == "" {
		return owner{}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return owner{}, fmt.Errorf("provision: owner: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return owner{}, fmt.Errorf("provision: owner %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return owner{}, fmt.Errorf("provision: owner %s: %w", name, err)
	}
	if int(uid) == os.Geteuid() {
		return owner{}, nil
	}
	if os.Geteuid() != 0 {
		return owner{}, fmt.Errorf("provision: only root can write files for %s: run as root or as %s", name, name)
	}
	return owner{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
}

// take hands an open file over to the owner.
func (o owner) take(f *os.File) error {
	if o.name == "" {
		return nil
	}
	return f.Chown(int(o.uid), int(o.gid))
}

// run makes cmd run as the owner.
func (o owner) run(cmd *exec.Cmd) {
	if o.name != "" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.uid, Gid: o.gid}}
	}
}

// lock takes f for this process, until f is closed.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
