//go:build interop

package interop

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestReference has real servers federate with each other, 3 domains at each end, and counts the
// connections: what deployed federation comes to without us, which is what our side is compared
// with. One message goes from each domain to each one of the other server, first in one direction,
// then in the other.
func TestReference(t *testing.T) {
	var (
		external = Federation{}
		dialback = Federation{Dialback: true}
		plain    = Federation{Dialback: true, Plain: true}
	)
	// Connections after the first direction, and after both.
	type counts struct{ First, Both int }
	rows := []struct {
		kinds [2]string
		Federation
		bidi   bool // in Prosody
		direct bool // TLS
		want   counts
	}{
		{[2]string{"prosody", "prosody"}, external, false, false, counts{9, 18}},
		{[2]string{"prosody", "prosody"}, external, true, false, counts{9, 9}},
		// To verify a key Prosody opens the stream of the other direction, and keeps it: even
		// where streams carry both.
		{[2]string{"prosody", "prosody"}, dialback, false, false, counts{18, 18}},
		{[2]string{"prosody", "prosody"}, dialback, true, false, counts{18, 18}},
		{[2]string{"prosody", "prosody"}, plain, false, false, counts{18, 18}},
		{[2]string{"prosody", "prosody"}, external, false, true, counts{9, 18}},
		{[2]string{"prosody", "ejabberd"}, external, false, false, counts{9, 18}},
		{[2]string{"prosody", "ejabberd"}, external, true, false, counts{9, 18}},
		// ejabberd closes connections that have verified a key.
		{[2]string{"prosody", "ejabberd"}, dialback, false, false, counts{9, 18}},
		{[2]string{"prosody", "ejabberd"}, plain, false, false, counts{9, 18}},
	}
	var mu sync.Mutex
	lines := [][]string{{"servers", "mode", "first direction", "both", "time of the first", "of the second"}}
	t.Run("pairs", func(t *testing.T) {
		for _, row := range rows {
			mode := row.Federation
			mode.Bidi = row.bidi
			name := mode.String()
			if row.direct {
				name += ", direct TLS"
			}
			t.Run(fmt.Sprintf("%s and %s, %s", row.kinds[0], row.kinds[1], name), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				var ends [2]*users
				for i, kind := range row.kinds {
					f := foreigner{kind: kind, Federation: mode}
					ends[i] = f.start(t, w, string("ab"[i]), 3, Options{DirectTLS: row.direct})
					ends[i].silent = true
				}
				var got counts
				var took [2]time.Duration
				for i, count := range []*int{&got.First, &got.Both} {
					from, to := ends[i], ends[1-i]
					pairs := crossed(from.server.Domains, to.server.Domains)
					c := newConversation(pairs)
					from.current.Store(c)
					to.current.Store(c)
					from.ask(t, c, pairs, to.address)
					if verdict := c.verdict(clientLimit); verdict != spoken {
						t.Fatalf("%s: %s", c.delivered(), verdict)
					}
					want := row.want.First
					if i == 1 {
						want = row.want.Both
					}
					took[i], *count = c.took, settled(t, want, ends[:])
				}
				if diff := cmp.Diff(row.want, got); diff != "" {
					t.Errorf("connections (-want +got):\n%s", diff)
				}
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, []string{
					row.kinds[0] + ", " + row.kinds[1], name, fmt.Sprint(got.First), fmt.Sprint(got.Both),
					took[0].Round(time.Millisecond).String(), took[1].Round(time.Millisecond).String(),
				})
			})
		}
	})
	t.Logf("\n%s", table(lines))
}

// settled counts the connections between servers until there are as many as expected, for a while,
// or for good another number.
func settled(t *testing.T, want int, ends []*users) int {
	t.Helper()
	const (
		interval = 20 * time.Millisecond
		stable   = 10 // times in a row
	)
	for same, limit := 0, time.Now().Add(10*time.Second); ; time.Sleep(interval) {
		n, all := 0, mustSockets(t)
		for _, end := range ends {
			n += connections(all, end.server.Host, s2sPort, "") + connections(all, end.server.Host, s2sDirectPort, "")
		}
		if same++; n != want {
			same = 0
		}
		if same == stable || time.Now().After(limit) {
			return n
		}
	}
}
