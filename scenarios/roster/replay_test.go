package roster

import (
	"math"
	"testing"
	"time"
)

// near fails the test unless got is within a share of want.
func near(t *testing.T, what string, got, want time.Duration, share float64) {
	t.Helper()
	if math.Abs(float64(got-want)) > share*float64(want) {
		t.Errorf("%s is %v, by its closed form %v", what, got, want)
	}
}

// TestReplayAgainstClosedForms holds the replay against what can be said in a
// line of algebra, for probes so small that they take no room and so frequent that they are the mean
// over time.
func TestReplayAgainstClosedForms(t *testing.T) {
	const (
		rtt   = 50 * time.Millisecond
		rate  = 1.25e6 // bytes per second
		bytes = 1_000_000
	)
	link := Link{RTT: rtt, Rate: rate, ProbeBytes: 1, ProbeEvery: time.Millisecond}
	download := seconds(bytes / rate)

	t.Run("whole", func(t *testing.T) {
		got := link.Replay(Flow{Answers: []int64{bytes}})
		near(t, "complete", got.Complete, rtt+download, 0.002)
		// A probe waits for what is left of the stanza: the mean of a triangle.
		d, total := download.Seconds(), (rtt + download).Seconds()
		near(t, "mean probe", got.ProbeMean, rtt+seconds(d*d/(2*total)), 0.03)
		near(t, "longest probe", got.ProbeMax, rtt+download, 0.01)
	})
	t.Run("one page at a time", func(t *testing.T) {
		const pages = 20
		each := download / pages
		got := link.Replay(Flow{Answers: alike(bytes, pages), Window: 1})
		near(t, "complete", got.Complete, pages*(rtt+each), 0.005)
		e, cycle := each.Seconds(), (rtt + each).Seconds()
		near(t, "mean probe", got.ProbeMean, rtt+seconds(e*e/(2*cycle)), 0.01)
	})
	t.Run("pages that grow", func(t *testing.T) {
		answers := []int64{bytes / 7, 2 * bytes / 7, 4 * bytes / 7}
		got := link.Replay(Flow{Answers: answers, Window: 1})
		near(t, "complete", got.Complete, 3*rtt+download, 0.005)
		// The longest probe waits for the largest page.
		near(t, "longest probe", got.ProbeMax, rtt+download*4/7, 0.01)
	})
	t.Run("window that fills the link", func(t *testing.T) {
		const chunks, window = 200, 40
		each := download / chunks
		got := link.Replay(Flow{Answers: alike(bytes, chunks), Window: window})
		near(t, "complete", got.Complete, rtt+download, 0.005)
		// The standing queue is the window less what is on the way.
		near(t, "longest probe", got.ProbeMax, rtt+window*each, 0.02)
	})
	t.Run("window that does not", func(t *testing.T) {
		const chunks, window = 100, 4
		each := download / chunks
		got := link.Replay(Flow{Answers: alike(bytes, chunks), Window: window})
		near(t, "complete", got.Complete, chunks/window*(rtt+each)+(window-1)*each, 0.01)
	})
	t.Run("room for little", func(t *testing.T) {
		const chunks = 200
		limited := link
		limited.Unsent = 20_000
		all := link.Replay(Flow{Answers: alike(bytes, chunks), Passes: true})
		few := limited.Replay(Flow{Answers: alike(bytes, chunks), Passes: true})
		near(t, "complete", few.Complete, all.Complete, 0.005)
		near(t, "longest probe", few.ProbeMax, rtt+seconds((20_000+bytes/chunks)/rate), 0.1)
		if rude := limited.Replay(Flow{Answers: alike(bytes, chunks)}); rude.ProbeMax < all.ProbeMax*9/10 {
			t.Errorf("without interleaving the longest probe is %v, with all written at once %v", rude.ProbeMax, all.ProbeMax)
		}
	})
	t.Run("nothing in the way", func(t *testing.T) {
		got := Link{RTT: rtt, ProbeBytes: 100}.Replay(Flow{Answers: []int64{bytes}})
		if got.Complete != rtt || got.ProbeMax != rtt {
			t.Errorf("on a link without a rate: %+v, want everything after %v", got, rtt)
		}
	})
}

// TestFlows replays every variant in all its forms: none may be faster than its
// bytes take.
func TestFlows(t *testing.T) {
	link := Link{RTT: 20 * time.Millisecond, Rate: 1e6, ProbeBytes: 100}
	for _, c := range ways() {
		_, v, p := c.prepare(t, nil)
		for _, items := range []int{0, 1, 1000} {
			f := v.Flow(p, Size{Items: items, Bytes: int64(100 * items)})
			got := link.Replay(f)
			var bytes int64
			for _, n := range f.Answers {
				bytes += n
			}
			if least := link.RTT + seconds(float64(bytes)/link.Rate); got.Complete < least {
				t.Errorf("%v with %d items is complete after %v, before its bytes can be there, %v", c, items, got.Complete, least)
			}
			if got.First > got.Complete || got.ProbeMean > got.ProbeMax || got.ProbeMean < link.RTT {
				t.Errorf("%v with %d items: %+v", c, items, got)
			}
			var sum, most time.Duration
			for i, p := range got.Probes {
				sum, most = sum+p.Took, max(most, p.Took)
				if want := time.Duration(i) * 5 * time.Millisecond; p.Due != want || p.Took < link.RTT {
					t.Errorf("%v with %d items: probe %d was due at %v, want %v, and took %v", c, items, i, p.Due, want, p.Took)
				}
			}
			if n := len(got.Probes); n == 0 || most != got.ProbeMax || sum/time.Duration(n) != got.ProbeMean {
				t.Errorf("%v with %d items: %d probes do not make the mean %v and the maximum %v", c, items, n, got.ProbeMean, got.ProbeMax)
			}
		}
	}
}
