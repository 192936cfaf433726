package roster

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// The peers here are written from the protocol alone, on encoding/xml and fmt:
// each half talks to one that shares no code with it.

// node is any XML element.
type node struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Nodes   []node     `xml:",any"`
	Text    string     `xml:",chardata"`
}

func (n *node) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

func (n *node) child(space, name string) *node {
	for i := range n.Nodes {
		if n.Nodes[i].XMLName == (xml.Name{Space: space, Local: name}) {
			return &n.Nodes[i]
		}
	}
	return nil
}

const (
	peerRoster  = "jabber:iq:roster"
	peerRSM     = "http://jabber.org/protocol/rsm"
	peerChunk   = "urn:example:xmppbench:chunk:0"
	peerRosterX = "urn:example:xmppbench:roster:0"
)

// peer is one end of a stream, on encoding/xml.
type peer struct {
	t    testing.TB
	conn net.Conn
	dec  *xml.Decoder
}

func newPeer(t testing.TB, c net.Conn) *peer {
	p := &peer{t: t, conn: c, dec: xml.NewDecoder(io.MultiReader(strings.NewReader("<stream xmlns='jabber:client'>"), c))}
	if _, err := p.dec.Token(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *peer) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(p.conn, format, args...); err != nil {
		p.t.Error(err)
	}
}

// next reads a stanza; nil at the end.
func (p *peer) next() *node {
	for {
		tok, err := p.dec.Token()
		if err != nil {
			return nil
		}
		if start, ok := tok.(xml.StartElement); ok {
			n := &node{}
			if err := p.dec.DecodeElement(n, &start); err != nil {
				return nil
			}
			return n
		}
	}
}

// xmlServer serves a roster of fixed items to one client.
type xmlServer struct {
	*peer
	items           []string // as XML, in key order
	jids            []string
	sent, answered  int
	window, perPage int
	from            int // first item to push
	message         bool
	deaf            bool // does not know any extension, as deployed servers do
}

func (s *xmlServer) serve() {
	for st := s.next(); st != nil; st = s.next() {
		id := st.attr("id")
		switch {
		case st.attr("type") == "get" && st.child(peerRoster, "query") != nil:
			s.roster(id, st.child(peerRoster, "query"))
		case st.attr("type") == "get" && st.child(peerRosterX, "query") != nil && !s.deaf:
			s.chunked(id, st.child(peerRosterX, "query"))
		case st.attr("type") == "set" && st.child(peerChunk, "ack") != nil:
			n, err := strconv.Atoi(st.child(peerChunk, "ack").attr("seq"))
			if err != nil {
				s.t.Error(err)
			}
			s.answered = n + 1
			s.printf("<iq type='result' id='%s'/>", id)
			s.pump()
		case st.attr("type") == "result" && strings.HasPrefix(id, "chunk"):
			s.answered++
			s.pump()
		case st.attr("type") == "get" || st.attr("type") == "set":
			s.printf("<iq type='error' id='%s'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", id)
		}
	}
}

func (s *xmlServer) roster(id string, q *node) {
	set := q.child(peerRSM, "set")
	if set == nil || s.deaf {
		if ver := slices.IndexFunc(q.Attrs, func(a xml.Attr) bool { return a.Name.Local == "ver" }); ver >= 0 && !s.deaf && q.Attrs[ver].Value == "now" {
			s.printf("<iq type='result' id='%s'></iq>", id)
			return
		}
		s.printf("<iq id=\"%s\" type=\"result\">\n<query xmlns=\"%s\" ver=\"now\">%s</query></iq>", id, peerRoster, strings.Join(s.items, "\n"))
		return
	}
	most, err := strconv.Atoi(set.child(peerRSM, "max").Text)
	if err != nil {
		s.t.Error(err)
	}
	first := 0
	if after := set.child(peerRSM, "after"); after != nil {
		first = slices.Index(s.jids, after.Text) + 1
	}
	if index := set.child(peerRSM, "index"); index != nil {
		first, _ = strconv.Atoi(index.Text)
	}
	end := min(first+most, len(s.items))
	s.printf("<iq type='result' id='%s'><query xmlns='%s'>%s<set xmlns='%s'>", id, peerRoster, strings.Join(s.items[first:end], ""), peerRSM)
	if end > first {
		s.printf("<first index='%d'>%s</first><last>%s</last>", first, s.jids[first], s.jids[end-1])
	}
	s.printf("<count>%d</count></set></query></iq>", len(s.items))
}

// versions returns items with their versions.
func (s *xmlServer) versions(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteString(strings.Replace(s.items[i], "<item ", fmt.Sprintf("<item v=\"%d\" ", i+1), 1))
	}
	return b.String()
}

func (s *xmlServer) chunked(id string, asked *node) {
	req := asked.child(peerChunk, "chunked")
	s.perPage = 100
	if n, err := strconv.Atoi(req.attr("max-items")); err == nil {
		s.perPage = n
	}
	query := fmt.Sprintf("<query xmlns='%s' epoch='p' ver='%d'", peerRosterX, len(s.items))
	// Item i has version i+1, so a client of version v lacks the items from v on.
	fresh := "full"
	s.from = 0
	if v, err := strconv.Atoi(asked.attr("ver")); err == nil && asked.attr("epoch") == "p" {
		if v == len(s.items) {
			s.printf("<iq type='result' id='%s'>%s mode='none'/></iq>", id, query)
			return
		}
		fresh, s.from = "delta", v
	}
	if req.attr("mode") == "push" {
		s.sent, s.answered, s.message = 0, 0, req.attr("delivery") == "message"
		s.window = 4
		if n, err := strconv.Atoi(req.attr("window")); err == nil {
			s.window = n
		}
		s.printf("<iq type='result' id='%s'>%s mode='%s'><started xmlns='%s' sid='one' window='%d' max-items='%d' max-bytes='4096'/></query></iq>",
			id, query, fresh, peerChunk, s.window, s.perPage)
		s.pump()
		return
	}
	from, mode := s.from, fresh
	if after := req.attr("after"); after != "" {
		from, _ = strconv.Atoi(after)
		mode = "resume"
	}
	to := min(from+s.perPage, len(s.items))
	window := 1
	if n, err := strconv.Atoi(req.attr("window")); err == nil {
		window = n
	}
	var ahead []string
	for n := to + s.perPage; n < len(s.items) && len(ahead) < window-1; n += s.perPage {
		ahead = append(ahead, strconv.Itoa(n))
	}
	end := ""
	if to == len(s.items) && req.attr("until") == "" {
		end = " last='true'"
	}
	s.printf("<iq type='result' id='%s'>%s mode='%s'><items xmlns='%s'>%s</items><page xmlns='%s' cursor='%d' ahead='%s'%s/>",
		id, query, mode, peerRosterX, s.versions(from, to), peerChunk, to, strings.Join(ahead, " "), end)
	if end != "" {
		s.printf("<complete xmlns='%s' epoch='p' ver='%d'/>", peerRosterX, len(s.items))
	}
	s.printf("</query></iq>")
}

// pump sends what the window admits.
func (s *xmlServer) pump() {
	for ; s.sent-s.answered < s.window && (s.sent == 0 || s.from+s.sent*s.perPage < len(s.items)); s.sent++ {
		from := s.from + s.sent*s.perPage
		to := min(from+s.perPage, len(s.items))
		body := fmt.Sprintf("<chunk xmlns='%s' sid='one' seq='%d' cursor='%d'", peerChunk, s.sent, to)
		if to == len(s.items) {
			body += " last='true'"
		}
		body += fmt.Sprintf("><items xmlns='%s'>%s</items>", peerRosterX, s.versions(from, to))
		if to == len(s.items) {
			body += fmt.Sprintf("<complete xmlns='%s' epoch='p' ver='%d'/>", peerRosterX, len(s.items))
		}
		body += "</chunk>"
		if s.message {
			s.printf("<message type='headline' id='m%d'>%s</message>", s.sent, body)
		} else {
			s.printf("<iq type='set' id='chunk%d'>%s</iq>", s.sent, body)
		}
	}
}

// newXMLServer starts a server on the far end of a connection and returns a
// client half on the near one.
func newXMLServer(t *testing.T, base Base, deaf bool) (client *Client, wait func()) {
	t.Helper()
	near, far := newConn(uncut)
	s := &xmlServer{peer: newPeer(t, far), deaf: deaf}
	for n := range base.Len() {
		it := base.Item(n)
		s.items = append(s.items, string(population.AppendItem(nil, it)))
		s.jids = append(s.jids, it.JID)
	}
	stream := wire.NewStream(near, nil, wire.StreamOptions{Opened: true, Verify: true})
	client = NewClient(stream, accountJID, nil)
	var wg sync.WaitGroup
	wg.Go(s.serve)
	wg.Go(func() { _ = stream.Serve(t.Context()) }) // ends with the connection
	return client, func() {
		near.Close()
		wg.Wait()
	}
}

// TestClientAgainstPeer runs every client half against the other server.
func TestClientAgainstPeer(t *testing.T) {
	for _, n := range []int{0, 1, testChunk, 47} {
		people := contacts(t, n, 0)
		for _, c := range ways() {
			if c.params["diff"] == true || c.params["window"] == "unbounded" || c.params["max-bytes"] != nil {
				continue // what the other server does not do
			}
			t.Run(fmt.Sprintf("%d/%v", n, c), func(t *testing.T) {
				client, wait := newXMLServer(t, PopulationBase(people, 0), false)
				defer wait()
				_, v, p := c.prepare(t, nil)
				o := Options{Digest: true}
				want := n
				if c.have != nil {
					o.Have = c.have(n)
					o.Have.Epoch = "p"
				}
				switch {
				case p.State == StateUnchanged:
					o.Have.Ver = "now"
					want = 0
				case p.State == StateStale && p.Chunk > 0:
					want = min(n, p.Changes)
				}
				r, err := v.Fetch(bounded(t), client, p, o)
				if err != nil {
					t.Fatal(err)
				}
				if r.Items != want || want == n && n > 0 && r.Digest != people.Expected(0) || p.State == StateUnchanged && r.Mode != modeNone {
					t.Errorf("%d items, want %d, mode %s, digest %v", r.Items, want, r.Mode, r.Digest)
				}
				if got := v.Detect(p, r, err); got.Verdict != Spoken {
					t.Errorf("answer %+v", got)
				}
			})
		}
	}
}

// TestDetect runs the client halves against a server that knows none of the
// extensions, as deployed ones do.
func TestDetect(t *testing.T) {
	tests := []struct {
		variant string
		params  params
		want    Verdict
		items   int
	}{
		{"monolithic", nil, Spoken, 25},
		{"versioned", params{"state": "unchanged"}, Ignored, 25},
		{"versioned", params{"state": "stale", "diff": true}, Ignored, 25},
		{"versioned", params{"state": "cold"}, Spoken, 25},
		{"rsm", params{"chunk": 10}, Ignored, 25},
		{"rsm-index", params{"chunk": 10}, Ignored, 25},
		{"chunked-push", nil, Refused, 0},
		{"chunked-pull", nil, Refused, 0},
		{"chunked-pull", params{"state": "stale"}, Refused, 0},
	}
	people := contacts(t, 25, 0)
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.variant, tt.params), func(t *testing.T) {
			client, wait := newXMLServer(t, PopulationBase(people, 0), true)
			defer wait()
			_, v, p := conformance{variant: tt.variant, params: tt.params}.prepare(t, nil)
			r, err := v.Fetch(bounded(t), client, p, Options{Digest: true, Have: Have{Ver: "old", Target: "now"}})
			got := v.Detect(p, r, err)
			if got.Verdict != tt.want || r.Items != tt.items || (got.Reason == "") != (tt.want == Spoken) {
				t.Errorf("answer %+v with %d items, %v; want %s with %d", got, r.Items, err, tt.want, tt.items)
			}
			if (err != nil) != (tt.want == Refused) || tt.items > 0 && r.Digest != people.Expected(0) {
				t.Errorf("error %v, digest %v", err, r.Digest)
			}
		})
	}
}

// xmlClient collects a roster.
type xmlClient struct {
	*peer
	jids []string
}

func (c *xmlClient) take(items *node) int {
	if items == nil {
		return 0
	}
	n := 0
	for _, it := range items.Nodes {
		if it.XMLName.Local == "item" {
			c.jids = append(c.jids, it.attr("jid"))
			n++
		}
	}
	return n
}

// whole asks for the whole roster.
func (c *xmlClient) whole(attrs string) {
	c.printf("<iq id='1' type='get'><query xmlns='%s'%s/></iq>", peerRoster, attrs)
	c.take(c.next().child(peerRoster, "query"))
}

// pages asks page by page, by key or by index.
func (c *xmlClient) pages(byIndex bool) {
	position, got := "", 0
	for id := 1; ; id++ {
		c.printf("<iq id='%d' type='get'><query xmlns='%s'><set xmlns='%s'><max>%d</max>%s</set></query></iq>", id, peerRoster, peerRSM, testChunk, position)
		q := c.next().child(peerRoster, "query")
		got += c.take(q)
		set := q.child(peerRSM, "set")
		count, err := strconv.Atoi(set.child(peerRSM, "count").Text)
		if err != nil {
			c.t.Fatal(err)
		}
		if got >= count {
			return
		}
		position = "<after>" + set.child(peerRSM, "last").Text + "</after>"
		if byIndex {
			position = fmt.Sprintf("<index>%d</index>", got)
		}
	}
}

// push takes chunks and credits each.
func (c *xmlClient) push(attrs string, window int) {
	c.printf("<iq id='1' type='get'><query xmlns='%s'><chunked xmlns='%s' mode='push' max-items='%d' window='%d'%s/></query></iq>", peerRosterX, peerChunk, testChunk, window, attrs)
	if c.next().child(peerRosterX, "query").child(peerChunk, "started") == nil {
		c.t.Fatal("not started")
	}
	for seq := 0; ; {
		st := c.next()
		if st.attr("type") == "result" {
			continue // to an ack
		}
		chunk := st.child(peerChunk, "chunk")
		if chunk.attr("seq") != strconv.Itoa(seq) {
			c.t.Fatalf("chunk %s where %d was due", chunk.attr("seq"), seq)
		}
		c.take(chunk.child(peerRosterX, "items"))
		if st.XMLName.Local == "iq" {
			c.printf("<iq type='result' id='%s'/>", st.attr("id"))
		} else {
			c.printf("<iq type='set' id='a%d'><ack xmlns='%s' sid='%s' seq='%d'/></iq>", seq, peerChunk, chunk.attr("sid"), seq)
		}
		if chunk.attr("last") == "true" {
			if chunk.child(peerRosterX, "complete") == nil {
				c.t.Error("last chunk without version")
			}
			return
		}
		seq++
	}
}

// pull asks for pages; with a window it walks along the boundaries ahead.
func (c *xmlClient) pull(window int) {
	attrs, epoch := "", ""
	var ahead []string
	for id := 1; ; id++ {
		c.printf("<iq id='%d' type='get'><query xmlns='%s'%s><chunked xmlns='%s' mode='pull' max-items='%d' window='%d'%s/></query></iq>", id, peerRosterX, epoch, peerChunk, testChunk, window, attrs)
		q := c.next().child(peerRosterX, "query")
		c.take(q.child(peerRosterX, "items"))
		page := q.child(peerChunk, "page")
		if page.attr("last") == "true" {
			return
		}
		epoch = fmt.Sprintf(" epoch='%s'", q.attr("epoch"))
		attrs = fmt.Sprintf(" after='%s'", page.attr("cursor"))
		if len(ahead) == 0 {
			ahead = strings.Fields(page.attr("ahead"))
		}
		if len(ahead) > 0 {
			attrs += fmt.Sprintf(" until='%s'", ahead[0])
			ahead = ahead[1:]
		}
	}
}

// TestServerAgainstPeer runs every server half against the other client.
func TestServerAgainstPeer(t *testing.T) {
	tests := []struct {
		variant string
		fetch   func(c *xmlClient)
	}{
		{"monolithic", func(c *xmlClient) { c.whole("") }},
		{"versioned", func(c *xmlClient) { c.whole(" ver=''") }},
		{"versioned", func(c *xmlClient) { c.whole(" ver='unheard of'") }},
		{"rsm", func(c *xmlClient) { c.pages(false) }},
		{"rsm-index", func(c *xmlClient) { c.pages(true) }},
		{"chunked-push", func(c *xmlClient) { c.push("", 1) }},
		{"chunked-push", func(c *xmlClient) { c.push("", 3) }},
		{"chunked-push", func(c *xmlClient) { c.push(" delivery='message'", 3) }},
		{"chunked-pull", func(c *xmlClient) { c.pull(1) }},
		{"chunked-pull", func(c *xmlClient) { c.pull(3) }},
	}
	tested := map[string]bool{}
	for _, n := range []int{0, 1, testChunk, 47} {
		for i, tt := range tests {
			tested[tt.variant] = true
			t.Run(fmt.Sprintf("%d/%s-%d", n, tt.variant, i), func(t *testing.T) {
				base := PopulationBase(contacts(t, n, 0), 0)
				a := &account{store: NewMemStore("e", base)}
				near, far := newConn(uncut)
				stream := wire.NewStream(far, nil, wire.StreamOptions{Opened: true, Server: true, Verify: true})
				session := a.session(stream)
				stream.Handle(a.serve(session, stream))
				var wg sync.WaitGroup
				wg.Go(func() { _ = stream.Serve(t.Context()) }) // ends with the connection
				c := &xmlClient{peer: newPeer(t, near)}
				tt.fetch(c)
				near.Close()
				wg.Wait()
				var want []string
				for i := range n {
					want = append(want, base.Item(i).JID)
				}
				if !slices.Equal(c.jids, want) {
					t.Errorf("got %d items, want %d in order", len(c.jids), n)
				}
				a.lock.Lock()
				defer a.lock.Unlock()
				session.Close()
			})
		}
	}
	for _, v := range Variants() {
		if !tested[v.Name] {
			t.Errorf("%s was not tried", v.Name)
		}
	}
}
