//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// A way is a variant with settings, as "pair-dialback verify=separate".
type way string

// options returns how our side is made.
func (w way) options() providerOptions {
	name, settings, _ := strings.Cut(string(w), " ")
	o := providerOptions{variant: name, params: make(map[string]any)}
	for _, setting := range strings.Fields(settings) {
		key, value, _ := strings.Cut(setting, "=")
		switch value {
		case "true", "false":
			o.params[key] = value == "true"
		default:
			o.params[key] = value
		}
	}
	return o
}

// A foreigner is a server of a kind, configured in one way, and what is tried with it.
type foreigner struct {
	kind string
	Federation
	ways    []way // with 3 and 3 domains
	further []way // of these, with other first speakers too
	many    []way // of these, with 20 and 20
}

func (f foreigner) String() string { return f.kind + " " + f.Federation.String() }

// foreigners are the servers that our side is tried with.
func foreigners() []foreigner {
	all := []way{
		"pair-external", "pair-external tls=direct", "pair-dialback", "pair-dialback verify=separate",
		"pair-dialback verify=separate verify-tls=false", "pair-bidi", "shared-dialback", "shared-dialback granularity=domain",
		"shared-dialback streams=one", "shared-7712", "shared-cert", "shared-cert streams=two", "shared-mux",
	}
	strict := []way{
		"pair-external", "pair-external tls=direct", "pair-dialback", "pair-bidi", "shared-dialback", "shared-7712", "shared-cert", "shared-mux",
		"zero-handshake",
	}
	plain := []way{"pair-external", "pair-dialback tls=none", "pair-dialback tls=none verify=separate", "shared-dialback tls=none", "zero-handshake tls=none"}
	dialback := []way{"pair-dialback", "shared-dialback", "shared-cert"}
	bidi := []way{"pair-bidi", "shared-dialback streams=one", "shared-cert", "shared-mux"}
	many := []way{"pair-dialback", "pair-dialback verify=separate", "shared-dialback", "shared-dialback streams=one", "shared-cert"}
	external := []way{"pair-external", "pair-external tls=direct"}
	return []foreigner{
		{"prosody", Federation{}, strict, external, external},
		{"prosody", Federation{Dialback: true}, all, dialback, many},
		{"prosody", Federation{Dialback: true, Certificates: true, Bidi: true}, all, bidi, []way{"pair-bidi", "shared-cert"}},
		{"prosody", Federation{Dialback: true, Plain: true}, plain, nil, nil},
		{"ejabberd", Federation{}, strict, external, external},
		{"ejabberd", Federation{Dialback: true}, all, dialback, many},
		{"ejabberd", Federation{Dialback: true, Certificates: true}, []way{"pair-external", "pair-dialback", "shared-cert"}, nil, nil},
		{"ejabberd", Federation{Dialback: true, Plain: true}, plain, nil, nil},
	}
}

// Who speaks first.
const (
	ours        = "ours"
	theirs      = "theirs"
	oneOfTheirs = "one of theirs" // and then all of ours
	oneOfOurs   = "one of ours"   // and nothing more
)

// orders are those in which a way is tried.
func (f foreigner) orders(by way) []string {
	switch {
	case strings.HasPrefix(string(by), "zero-handshake"):
		return []string{oneOfOurs} // what follows a refusal without a word is noise
	case slices.Contains(f.further, by):
		return []string{ours, theirs, oneOfTheirs}
	}
	return []string{ours}
}

// create configures the server.
func (f foreigner) create(t *testing.T, o Options) *Server {
	t.Helper()
	o.Federation = f.Federation
	if f.kind == "ejabberd" {
		o.Mnesia = true
		return NewEjabberd(t, o)
	}
	return NewProsody(t, o)
}

// start starts a server of n domains that begin with a prefix, with a user at each.
func (f foreigner) start(t *testing.T, w *world, prefix string, n int, o Options) *users {
	t.Helper()
	o.Domains, o.CA, o.DNS = numbered(prefix, n), w.ca, w.names.Addr()
	s := f.create(t, o)
	w.publish(t, s.Domains, s.Host, o.DirectTLS)
	return newUsers(t, s)
}

// A row is what became of one way with one server. Counts are told by what they are multiples of,
// so that the row of 3 and 3 domains is that of 20 and 20.
type row struct {
	server   string
	way      way
	first    string    // who speaks first
	verdicts [3]string // by topic
	counts   [8]string
	features string
	quirks   string

	delivered [3]string
	took      [3]time.Duration
}

// key names the row.
func (r row) key() string { return strings.Join([]string{r.server, string(r.way), r.first}, "|") }

// columns are what is expected of the row.
func (r row) columns() []string {
	return slices.Concat([]string{r.server, string(r.way), r.first}, r.counts[:], []string{r.features, r.quirks, r.verdicts[0], r.verdicts[1], r.verdicts[2]})
}

// heads are the names of the columns.
func heads() []string {
	return []string{
		"server", "way", "first", "opened", "accepted", "kept", "TLS", "SASL", "results", "verifies", "verifying", "announced", "quirks", "ours to theirs", "theirs to ours", "pings",
	}
}

// speak lets our users talk to those of a server and the other way round, and returns what became
// of it once it is what the expected row has, or for good something else.
func speak(t *testing.T, w *world, u *users, f foreigner, by way, first string, expected *row) row {
	t.Helper()
	n := len(u.server.Domains)
	o := by.options()
	for _, port := range []int{s2sPort, s2sDirectPort} {
		// For ways that need to know the other end; a server that knows us is not to be had.
		o.partners = append(o.partners, s2s.Partner{
			Name: u.server.Domains[0], Address: net.JoinHostPort(u.server.Host, strconv.Itoa(port)), Domains: u.server.Domains,
		})
	}
	p := w.newProvider(t, w.fresh(n), o)
	got := row{server: f.String(), way: by, first: first}
	for i := range got.verdicts {
		got.verdicts[i], got.delivered[i] = "-", "-"
	}
	hear := func(about topic, some int) {
		limit := clientLimit
		if golden.Update() || expected != nil && strings.Contains(expected.verdicts[about], silence) {
			limit = silenceLimit
		}
		c := converse(t, p, u, about, some)
		got.verdicts[about], got.delivered[about], got.took[about] = c.verdict(limit), c.delivered(), c.took
	}
	switch all := n * n; first {
	case ours:
		hear(ourQuestions, all)
		hear(theirQuestions, all)
	case theirs:
		hear(theirQuestions, all)
		hear(ourQuestions, all)
	case oneOfTheirs:
		hear(theirQuestions, 1)
		hear(ourQuestions, all)
		hear(theirQuestions, all)
	case oneOfOurs:
		hear(ourQuestions, 1)
	}
	if got.verdicts[ourQuestions] == spoken {
		hear(ourPings, n*n)
	}
	// Streams that have served their purpose are still on their way out.
	limit := time.Now().Add(10 * time.Second)
	if golden.Update() {
		limit = time.Now().Add(time.Second)
	}
	for {
		got.measure(t, p, u.server, n)
		if expected != nil && slices.Equal(got.columns(), expected.columns()) || time.Now().After(limit) {
			return got
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A topic is what a conversation between our users and those of a server is about.
type topic int

const (
	ourQuestions topic = iota
	theirQuestions
	ourPings // of their domains
)

// converse begins a conversation of the first pairs of domains.
func converse(t *testing.T, p *ourProvider, u *users, about topic, some int) *conversation {
	t.Helper()
	pairs := crossed(p.domains, u.server.Domains)
	if about == theirQuestions {
		pairs = crossed(u.server.Domains, p.domains)
	}
	pairs = pairs[:min(some, len(pairs))]
	c := newConversation(pairs)
	p.current.Store(c)
	u.current.Store(c)
	switch about {
	case ourQuestions:
		p.ask(c, pairs, u.address)
	case theirQuestions:
		u.ask(t, c, pairs, anybody)
	case ourPings:
		p.ping(c, pairs)
	}
	return c
}

// anybody returns an address at one of our domains.
func anybody(domain string) string { return "user@" + domain }

// measure fills in what can be counted.
func (r *row) measure(t *testing.T, p *ourProvider, s *Server, n int) {
	t.Helper()
	o, f := p.tap.listen(), p.host.Figures()
	quirks := o.quirks
	var kept exchanged
	all := mustSockets(t)
	for _, port := range []int{s2sPort, s2sDirectPort} {
		in := connections(all, p.address.Addr().String(), port, "")
		kept.in += in
		if port == s2sDirectPort && in > 0 {
			quirks = append(quirks, "dials-direct")
		}
		kept.out += connections(all, s.Host, port, p.address.Addr().String())
	}
	for figure, quirk := range map[string]string{
		s2s.FigureUnsolicited: "unsolicited", s2s.FigureUnauthorised: "unauthorised",
		s2s.FigureLenientTarget: "lenient-target", s2s.FigureLenientAnswer: "lenient-answer",
	} {
		if f[figure] > 0 {
			quirks = append(quirks, quirk)
		}
	}
	slices.Sort(quirks)
	r.features, r.quirks = strings.Join(o.announced, " "), strings.Join(quirks, " ")
	if r.verdicts != [3]string{spoken, spoken, spoken} {
		for i := range r.counts {
			r.counts[i] = "-" // how far each stream got before the refusal is a matter of luck
		}
		return
	}
	one := func(count int64) string { return multiple(int(count), n) }
	both := func(e exchanged) string { return multiple(e.out, n) + "/" + multiple(e.in, n) }
	r.counts = [8]string{
		one(f[s2s.FigureOpened]), one(f[s2s.FigureAccepted]), both(kept), one(f[s2s.FigureFull]),
		both(o.sasl), both(o.results), both(o.verifies), multiple(o.verifying, n),
	}
}

// multiple writes a count of n and n domains in terms of n.
func multiple(count, n int) string {
	for _, form := range []struct {
		text  string
		value int
	}{
		{"0", 0}, {"1", 1}, {"2", 2}, {"n", n}, {"nn", n * n}, {"2nn", 2 * n * n}, {"3nn", 3 * n * n}, {"nn+n", n*n + n}, {"nn+1", n*n + 1}, {"nn-1", n*n - 1},
	} {
		if form.value == count {
			return form.text
		}
	}
	return fmt.Sprint(count)
}

const federationFile = "testdata/federation.txt"

// expectations reads the rows that are expected, by key.
func expectations(t *testing.T) (rows map[string]*row, head string) {
	t.Helper()
	text, err := os.ReadFile(federationFile)
	if err != nil {
		t.Fatal(err)
	}
	rows = make(map[string]*row)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if strings.HasPrefix(line, "#") || len(cells) != len(heads()) {
			if strings.HasPrefix(line, "#") {
				head += line
			}
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		r := &row{server: cells[0], way: way(cells[1]), first: cells[2], features: cells[11], quirks: cells[12], verdicts: [3]string{cells[13], cells[14], cells[15]}}
		copy(r.counts[:], cells[3:])
		rows[r.key()] = r
	}
	return rows, head
}

// table writes rows in columns.
func table(rows [][]string) string {
	var b bytes.Buffer
	tab := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(tab, strings.Join(r, "\t| "))
	}
	_ = tab.Flush() // into memory
	return b.String()
}

// TestFederationWays has our side federate with real servers in every way, with 3 domains at each
// end: what is spoken, what is refused and why, and what it comes to in connections and proofs is
// held against testdata/federation.txt, where the columns are explained.
func TestFederationWays(t *testing.T) {
	expected, head := expectations(t)
	got := tryAll(t, 3, func(f foreigner) []way { return f.ways }, foreigner.orders, expected)
	judge(t, got, expected)
	if !golden.Update() {
		return
	}
	lines := [][]string{heads()}
	for _, r := range got {
		lines = append(lines, r.columns())
	}
	if err := os.WriteFile(federationFile, []byte(head+"\n"+table(lines)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tryAll tries ways with all servers, several servers at a time, with n domains at each end.
func tryAll(t *testing.T, n int, ways func(foreigner) []way, orders func(foreigner, way) []string, expected map[string]*row) (got []row) {
	t.Helper()
	var mu sync.Mutex
	t.Run("servers", func(t *testing.T) {
		for _, f := range foreigners() {
			if len(ways(f)) == 0 {
				continue
			}
			t.Run(f.String(), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				u := f.start(t, w, "r", n, Options{DirectTLS: true})
				for _, by := range ways(f) {
					for _, first := range orders(f, by) {
						t.Run(string(by)+", first "+first, func(t *testing.T) {
							r := speak(t, w, u, f, by, first, expected[row{server: f.String(), way: by, first: first}.key()])
							mu.Lock()
							defer mu.Unlock()
							got = append(got, r)
						})
					}
				}
			})
		}
	})
	order := foreigners()
	slices.SortStableFunc(got, func(a, b row) int {
		place := func(r row) int {
			return slices.IndexFunc(order, func(f foreigner) bool { return f.String() == r.server })
		}
		return place(a) - place(b)
	})
	return got
}

// judge logs the rows, and fails the test for those that are not as expected.
func judge(t *testing.T, got []row, expected map[string]*row) {
	t.Helper()
	lines := [][]string{append([]string{"delivered", "time"}, heads()...)}
	for _, r := range got {
		lines = append(lines, append([]string{
			strings.Join(r.delivered[:], ", "),
			fmt.Sprintf("%v, %v, %v", r.took[0].Round(time.Millisecond), r.took[1].Round(time.Millisecond), r.took[2].Round(time.Millisecond)),
		}, r.columns()...))
		want := expected[r.key()]
		switch {
		case golden.Update():
		case want == nil:
			t.Errorf("nothing is expected of %s", r.key())
		default:
			if diff := cmp.Diff(want.columns(), r.columns()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", r.key(), diff)
			}
		}
	}
	t.Logf("\n%s", table(lines))
}

// TestFederationMany is TestFederationWays with 20 domains at each end, in the ways that are
// deployed or proposed.
func TestFederationMany(t *testing.T) {
	expected, _ := expectations(t)
	tried := tryAll(t, 20, func(f foreigner) []way { return f.many }, func(foreigner, way) []string { return []string{ours} }, expected)
	judge(t, tried, expected)
}
