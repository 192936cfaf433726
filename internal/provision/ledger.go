package provision

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// ledger is an append-only file of JSON lines that says which accounts this
// tool has created and not yet removed. One process at a time holds it.
type ledger struct {
	file *os.File
	// owned maps the bare JID of an account to the run that created it.
	owned map[string]string
	// dirs are directories that were made along with accounts.
	dirs []string
}

// entry is one line of the ledger. The first line has Version, Server and Place
// only, the others do without.
type entry struct {
	Version int    `json:"version,omitempty"`
	Server  string `json:"server,omitempty"`
	Place   string `json:"place,omitempty"`

	Run string `json:"run,omitempty"`
	// Creating names accounts that do not exist and are about to be created.
	Creating []string `json:"creating,omitempty"`
	// Gone names accounts that were removed, or not created after all.
	Gone []string `json:"gone,omitempty"`
	// Dirs are directories that were made.
	Dirs []string `json:"dirs,omitempty"`
}

const ledgerVersion = 1

// openLedger opens or makes the ledger for what is stored at place.
func openLedger(path, server, place string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- a file that the user names
	if err != nil {
		return nil, fmt.Errorf("provision: open ledger: %w", err)
	}
	l := &ledger{file: f, owned: make(map[string]string)}
	if err := l.load(server, place); err != nil {
		return nil, errors.Join(fmt.Errorf("provision: ledger %s: %w", path, err), f.Close())
	}
	return l, nil
}

func (l *ledger) load(server, place string) error {
	if err := lock(l.file); err != nil {
		return fmt.Errorf("in use by another process: %w", err)
	}
	r := bufio.NewReader(l.file)
	end := int64(0)
	for line := 1; ; line++ {
		text, err := r.ReadBytes('\n')
		if err == io.EOF {
			// A line without its end was cut off while it was written, and
			// nothing is done before a line is whole.
			break
		}
		if err != nil {
			return err
		}
		var e entry
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if line == 1 {
			switch {
			case e.Version != ledgerVersion:
				return fmt.Errorf("line 1: version %d, this program writes version %d", e.Version, ledgerVersion)
			case e.Server != server || e.Place != place:
				return fmt.Errorf("it belongs to the %s at %s, not to the %s at %s: name another ledger", e.Server, e.Place, server, place)
			}
		}
		l.apply(e)
		end += int64(len(text))
	}
	if err := l.file.Truncate(end); err != nil {
		return err
	}
	if _, err := l.file.Seek(end, io.SeekStart); err != nil {
		return err
	}
	if end == 0 {
		return l.record(entry{Version: ledgerVersion, Server: server, Place: place})
	}
	return nil
}

func (l *ledger) apply(e entry) {
	for _, jid := range e.Creating {
		l.owned[jid] = e.Run
	}
	for _, jid := range e.Gone {
		delete(l.owned, jid)
	}
	l.dirs = append(l.dirs, e.Dirs...)
}

// record appends e and returns once it is on disk.
func (l *ledger) record(e entry) error {
	text, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("provision: write ledger: %w", err)
	}
	l.apply(e)
	return nil
}

// discard removes the directories that are empty now, and the ledger itself.
func (l *ledger) discard() error {
	// What was made first holds what was made later.
	for _, dir := range slices.Backward(l.dirs) {
		_ = os.Remove(dir) // one with something in it stays
	}
	if err := os.Remove(l.file.Name()); err != nil {
		return fmt.Errorf("provision: remove ledger: %w", err)
	}
	return nil
}

func (l *ledger) close() error { return l.file.Close() }
