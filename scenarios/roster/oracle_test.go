package roster

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xmppbench/xmppbench/internal/chunk"
)

// The oracle: a server and a client of the chunked protocol, and a roster that
// changes at random while it is retrieved. The link is cut at random, and the
// client resumes in whichever mode comes up. Whenever a retrieval is complete the
// client's map has to be the server's of the very version that it was told.
//
// Nothing runs at the same time: the seed decides which end speaks next.

var errCut = errors.New("the link is cut")

// world is one run of the oracle.
type world struct {
	r       *rand.Rand
	account *account
	wrong   func(*MemStore) Store // puts a faulty server in place of the right one
	deaf    bool                  // the server forgets to push some changes

	epochs  int
	history []Entry // changes of this epoch, base first

	m      *Map
	client *Client
	stream *simStream
	f      *fetch
	resume Resume
	log    []string
}

const oracleKeys = 12

func newWorld(seed uint64, wrong func(*MemStore) Store) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7)), wrong: wrong, m: &Map{}}
	w.restore()
	return w
}

func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// restore puts a new store with a new numbering in place, as after a restore from
// a backup.
func (w *world) restore() {
	w.epochs++
	var base sliceBase
	w.history = nil
	for n := range oracleKeys {
		if w.r.IntN(3) > 0 {
			base = append(base, Item{JID: key(n), Name: fmt.Sprint("base", w.epochs), Subscription: "both"})
			w.history = append(w.history, Entry{JID: key(n), V: uint64(len(base)), Item: base[len(base)-1]})
		}
	}
	store := NewMemStore(fmt.Sprint("e", w.epochs), base)
	w.account = &account{store: store}
	if w.wrong != nil {
		w.account.view = w.wrong(store)
	}
	w.logf("epoch %s with %d items", store.Epoch(), len(base))
}

// mutate adds, renames, removes or adds again.
func (w *world) mutate() error {
	store := w.account.store
	jid := key(w.r.IntN(oracleKeys))
	var e Entry
	if w.r.IntN(2) == 0 {
		var ok bool
		if e, ok = store.Remove(jid); !ok {
			return nil
		}
	} else {
		var err error
		if e, err = store.Put(Item{JID: jid, Name: fmt.Sprint("n", store.Version()), Subscription: "none"}); err != nil {
			return err
		}
	}
	w.logf("change %d: %s gone %v", e.V, e.JID, e.Gone)
	w.history = append(w.history, e)
	if w.deaf && w.r.IntN(3) == 0 {
		return nil
	}
	return w.account.changed(e)
}

// at returns the roster at a version.
func (w *world) at(version uint64) map[string]Entry {
	m := map[string]Entry{}
	for _, e := range w.history {
		switch {
		case e.V > version:
		case e.Gone:
			delete(m, e.JID)
		default:
			m[e.JID] = e
		}
	}
	return m
}

// check compares the client's map with the server's roster of a version.
func (w *world) check(when string, version uint64) error {
	want := w.at(version)
	for e := range w.m.Items() {
		if want[e.JID].V != e.V || want[e.JID].Item.Name != e.Item.Name {
			return fmt.Errorf("%s at version %d: client holds %s %d %q, server has %d %q",
				when, version, e.JID, e.V, e.Item.Name, want[e.JID].V, want[e.JID].Item.Name)
		}
		delete(want, e.JID)
	}
	if len(want) > 0 {
		return fmt.Errorf("%s at version %d: client lacks %v", when, version, slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// connect opens a new stream; the old one is lost with all that was queued.
func (w *world) connect() {
	for _, s := range w.account.sessions {
		s.Close()
	}
	w.account.sessions = nil
	w.account.settings = Settings{NoInterleave: w.r.IntN(4) == 0}
	w.client, _, w.stream = w.account.connect()
	w.client.live = w.m
}

// begin asks for the roster, in any mode.
func (w *world) begin() {
	o := Options{Have: w.m.Have(), Map: w.m, Resume: w.resume}
	most := 1 + w.r.IntN(4)
	req := chunk.Request{Mode: chunk.Pull, MaxItems: most, MaxBytes: chunk.MinBytes, Window: 1}
	switch w.r.IntN(5) {
	case 0, 1:
		req.Mode, req.Window = chunk.Push, 1+w.r.IntN(4)
		req.Delivery = chunk.DeliverIQ
		if w.r.IntN(2) == 0 {
			req.Delivery = chunk.DeliverMessage
		}
		if w.r.IntN(6) == 0 {
			req.Window = chunk.Unbounded
		}
	case 2, 3:
		req.Window = 2 + w.r.IntN(4)
	}
	w.logf("ask %s %d items, window %d, %s, have %+v, cursor %v", req.Mode, most, req.Window, req.Delivery, o.Have, o.Resume.Cursor != "")
	w.f = w.client.begin(o, func(f *fetch) error {
		if req.Mode == chunk.Push {
			return f.push(req)
		}
		return f.pull(req)
	})
}

// run makes the client retrieve the roster a few times and checks it each time.
func (w *world) run() error {
	w.connect()
	for range 3 {
		if err := w.retrieve(); err != nil {
			return err
		}
		for range w.r.IntN(6) {
			if err := w.mutate(); err != nil {
				return err
			}
		}
		settle(w.stream)
		if err := w.failed(); err != nil {
			return err
		}
		// Live pushes keep the map current.
		if err := w.check("idle", w.m.Have().Version); err != nil {
			return err
		}
		if have := w.m.Have(); have.Version != w.account.store.Version() || have.Epoch != w.account.store.Epoch() {
			return fmt.Errorf("idle: client is at %s %d, server at %s %d", have.Epoch, have.Version, w.account.store.Epoch(), w.account.store.Version())
		}
		if w.r.IntN(2) == 0 {
			if err := w.away(); err != nil {
				return err
			}
		}
	}
	return nil
}

// away lets the client be off for a while.
func (w *world) away() error {
	for _, s := range w.account.sessions {
		s.Close()
	}
	w.account.sessions = nil
	w.logf("away")
	if w.r.IntN(12) == 0 {
		w.restore()
	}
	for range w.r.IntN(5) {
		if err := w.mutate(); err != nil {
			return err
		}
		w.compact()
	}
	w.connect()
	return nil
}

// compact moves the horizon now and then.
func (w *world) compact() {
	if w.r.IntN(5) == 0 {
		w.account.store.Compact(uint64(w.r.IntN(int(w.account.store.Version()) + 1)))
		w.logf("horizon %d", w.account.store.Horizon())
	}
}

// failed returns the first error of either end.
func (w *world) failed() error {
	return errors.Join(w.stream.err, w.stream.peer.err)
}

// retrieve goes on until the roster is complete, through cuts.
func (w *world) retrieve() error {
	w.begin()
	for steps := 0; ; steps++ {
		if steps > 2000 {
			return errors.New("no end")
		}
		if w.f.over {
			r, err := w.f.result(nil)
			if err != nil {
				return err
			}
			w.resume = Resume{}
			have := w.m.Have()
			w.logf("complete at %d (%s, %d chunks)", have.Version, r.Mode, r.Chunks)
			if have.Version < r.Version {
				return fmt.Errorf("complete at %d, but the client holds %d", r.Version, have.Version)
			}
			return w.check("complete", have.Version)
		}
		client, server := w.stream, w.stream.peer
		switch n := w.r.IntN(40); {
		case n == 0:
			cut, _ := w.f.result(errCut)
			w.resume = cut.Resume
			w.logf("cut, cursor %v", w.resume.Cursor != "")
			if err := w.away(); err != nil {
				return err
			}
			w.begin()
		case n < 8:
			if err := w.mutate(); err != nil {
				return err
			}
			w.compact()
		case n < 24 && len(client.queue) > 0:
			client.deliver()
		case len(server.queue) > 0:
			server.deliver()
		case len(client.queue) > 0:
			client.deliver()
		default:
			return errors.New("both ends wait")
		}
		if err := w.failed(); err != nil {
			return err
		}
	}
}

// TestOracle runs the oracle for thousands of seeds.
func TestOracle(t *testing.T) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				seed := next.Add(1)
				if seed > oracleSeeds {
					return
				}
				w := newWorld(seed, nil)
				if err := w.run(); err != nil {
					t.Errorf("seed %d: %v\n%s", seed, err, strings.Join(w.log, "\n"))
				}
			}
		})
	}
	wg.Wait()
}

// boundedTombstones is a server that, when a client resumes, tells it of the
// removals among the keys that it has passed, and not of any key.
type boundedTombstones struct{ *MemStore }

func (s boundedTombstones) Changed(v uint64) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for e := range s.MemStore.Changed(v) {
			if e.Gone && e.JID > key(5) {
				continue
			}
			if !yield(e) {
				return
			}
		}
	}
}

// boundlessCursors is a server that takes every cursor and version, whatever
// tombstones it has forgotten.
type boundlessCursors struct{ *MemStore }

func (boundlessCursors) Horizon() uint64 { return 0 }

// TestOracleSeesFaults proves that the oracle notices servers that break a rule.
func TestOracleSeesFaults(t *testing.T) {
	faults := []struct {
		name  string
		wrong func(*MemStore) Store
		deaf  bool
	}{
		{name: "no tombstones of any key", wrong: func(s *MemStore) Store { return boundedTombstones{s} }},
		{name: "horizon ignored", wrong: func(s *MemStore) Store { return boundlessCursors{s} }},
		{name: "changes not pushed", deaf: true},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			for seed := range uint64(3000) {
				w := newWorld(seed, fault.wrong)
				w.deaf = fault.deaf
				if err := w.run(); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("the oracle did not notice")
		})
	}
}

// regression is one of the two histories that broke earlier wordings of the
// protocol.
type regression struct {
	name  string
	wrong func(*MemStore) Store // a server without the rule that was missing
	play  func(w *world) error
}

func regressions() []regression {
	return []regression{
		{
			// Full mode: an item is pushed whose key lies beyond the cursor, the link is
			// lost, the item is removed, the client resumes. Nothing in the keys that are
			// still to come tells of the removal, and the sweep spares the item because it
			// was seen.
			name:  "item pushed beyond the cursor and removed while away",
			wrong: func(s *MemStore) Store { return boundedTombstones{s} },
			play: func(w *world) error {
				if err := w.pullOne(Have{}); err != nil {
					return err
				}
				if err := w.set(key(9), "new"); err != nil {
					return err
				}
				settle(w.stream) // the push
				w.cut()
				w.drop(key(9))
				w.connect()
				return w.finish()
			},
		},
		{
			// Delta mode: the horizon moves past the client's version while it is away,
			// but not past the version at which the attempt began. A removal between the
			// two is forgotten and was not told yet.
			name:  "horizon moved past the version held, not past the start",
			wrong: func(s *MemStore) Store { return boundlessCursors{s} },
			play: func(w *world) error {
				w.f = w.client.begin(Options{Map: w.m}, func(f *fetch) error {
					return f.pull(chunk.Request{Mode: chunk.Pull, MaxItems: 100, MaxBytes: chunk.DefaultBytes, Window: 1})
				})
				settle(w.stream)
				w.cut()
				have := w.m.Have()
				// Two changes, so that a delta of one item per page can be cut between them.
				if err := w.set(key(0), "changed"); err != nil {
					return err
				}
				w.drop(key(8))
				w.connect()
				if err := w.pullOne(have); err != nil {
					return err
				}
				w.cut()
				w.account.store.Compact(w.account.store.Version())
				w.connect()
				return w.finish()
			},
		},
	}
}

// pullOne pulls a page of one item.
func (w *world) pullOne(have Have) error {
	w.f = w.client.begin(Options{Map: w.m, Have: have}, func(f *fetch) error {
		return f.pull(chunk.Request{Mode: chunk.Pull, MaxItems: 1, MaxBytes: chunk.MinBytes, Window: 1})
	})
	w.stream.deliver()
	w.stream.peer.deliver()
	w.stream.queue = nil // what it asks next is lost
	return w.failed()
}

func (w *world) cut() {
	cut, _ := w.f.result(errCut)
	w.resume = cut.Resume
	for _, s := range w.account.sessions {
		s.Close()
	}
	w.account.sessions = nil
}

func (w *world) set(jid, name string) error {
	e, err := w.account.store.Put(Item{JID: jid, Name: name, Subscription: "none"})
	if err != nil {
		return err
	}
	w.history = append(w.history, e)
	return w.account.changed(e)
}

func (w *world) drop(jid string) {
	if e, ok := w.account.store.Remove(jid); ok {
		w.history = append(w.history, e)
	}
}

// finish resumes by push and checks the outcome.
func (w *world) finish() error {
	o := Options{Map: w.m, Have: w.m.Have(), Resume: w.resume}
	w.f = w.client.begin(o, func(f *fetch) error {
		return f.push(chunk.Request{Mode: chunk.Push, MaxItems: 2, MaxBytes: chunk.DefaultBytes, Window: 2})
	})
	settle(w.stream)
	if _, err := w.f.result(errors.New("no end")); err != nil {
		return err
	}
	return w.check("complete", w.m.Have().Version)
}

// TestRegressions plays the two histories with the right server, which has to
// come out well, and with one that lacks the rule, which must not.
func TestRegressions(t *testing.T) {
	play := func(r regression, wrong func(*MemStore) Store) error {
		w := &world{r: rand.New(rand.NewPCG(1, 1)), m: &Map{}, wrong: wrong}
		var base sliceBase
		for n := range 9 {
			base = append(base, Item{JID: key(n), Name: "base", Subscription: "both"})
			w.history = append(w.history, Entry{JID: key(n), V: uint64(n + 1), Item: base[n]})
		}
		w.account = &account{store: NewMemStore("e1", base)}
		if wrong != nil {
			w.account.view = wrong(w.account.store)
		}
		w.connect()
		return r.play(w)
	}
	for _, r := range regressions() {
		t.Run(r.name, func(t *testing.T) {
			if err := play(r, nil); err != nil {
				t.Errorf("with the rule: %v", err)
			}
			if err := play(r, r.wrong); err == nil {
				t.Error("without the rule nothing went wrong: the case proves nothing")
			} else {
				t.Logf("without the rule: %v", err)
			}
		})
	}
}
