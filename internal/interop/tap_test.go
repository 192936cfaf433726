//go:build interop

package interop

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// tap keeps the XML that passes on the streams of a provider.
type tap struct {
	mu      sync.Mutex
	streams map[uint64]*tapped
}

// tapped is one stream, from our side.
type tapped struct {
	opened  bool // by us
	in, out strings.Builder
}

func newTap() *tap { return &tap{streams: make(map[uint64]*tapped)} }

// trace is the function of [s2s.Config] of that name.
func (t *tap) trace(stream uint64, out bool, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.streams[stream]
	if s == nil {
		s = &tapped{opened: out}
		t.streams[stream] = s
	}
	if out {
		s.out.Write(b)
	} else {
		s.in.Write(b)
	}
}

// overheard is what passed.
type overheard struct {
	sasl, results, verifies exchanged // requests
	// verifying streams of the server have carried nothing but requests to verify keys.
	verifying int
	// announced are the features after TLS on streams that we have opened.
	announced []string
	quirks    []string
}

// exchanged counts what we have sent and what the server has.
type exchanged struct{ out, in int }

var (
	reHeader   = regexp.MustCompile(`<stream:stream[^>]*>`)
	reFeatures = regexp.MustCompile(`(?s)<stream:features>.*?</stream:features>`)
	reDialback = regexp.MustCompile(`<db:(result|verify)\b([^>]*)>([^<]*)`)
	reStanza   = regexp.MustCompile(`<(?:message|iq|presence)\b[^>]*>`)
	reFrom     = regexp.MustCompile(`\bfrom=['"](?:[^'"@/]*@)?([^'"@/]*)`)
	reSpace    = regexp.MustCompile(`>\s+<(?:message|iq|presence)\b|>\s+$`)
	reTo       = regexp.MustCompile(`\bto=['"](?:[^'"@/]*@)?([^'"@/]*)`)
)

// listen reads all streams.
func (t *tap) listen() overheard {
	t.mu.Lock()
	defer t.mu.Unlock()
	var o overheard
	for _, s := range t.streams {
		s.listen(&o)
	}
	slices.Sort(o.announced)
	slices.Sort(o.quirks)
	return o
}

// features are what a server may announce, by what tells each.
func features() map[string]string {
	return map[string]string{
		"EXTERNAL": ">EXTERNAL<", "dialback": "urn:xmpp:features:dialback", "dialback-errors": "<errors", "bidi": "urn:xmpp:features:bidi",
		"limits": "urn:xmpp:stream-limits:0", "sm": "urn:xmpp:sm:3",
	}
}

func (s *tapped) listen(o *overheard) {
	in, out := s.in.String(), s.out.String()
	sent, received := dialback(out), dialback(in)
	o.results.out += sent.results
	o.results.in += received.results
	o.verifies.out += sent.verifies
	o.verifies.in += received.verifies
	o.sasl.out += strings.Count(out, "<auth ")
	o.sasl.in += strings.Count(in, "<auth ")

	headers, stanzas := reHeader.FindAllString(in, -1), reStanza.FindAllString(in, -1)
	if !s.opened && received.verifies > 0 && received.results == 0 && len(stanzas) == 0 && !strings.Contains(in, "<auth ") {
		o.verifying++
	}
	quirks := map[string]bool{"returns-key": received.keys, "result-with-id": received.ids, "whitespace": reSpace.MatchString(in)}
	for _, h := range headers {
		quirks["empty-id"] = quirks["empty-id"] || strings.Contains(h, "id=''")
		quirks["header-without-from"] = quirks["header-without-from"] || domainIn(reFrom, h) == ""
		quirks["header-without-to"] = quirks["header-without-to"] || domainIn(reTo, h) == ""
	}
	for name, seen := range quirks {
		if seen && !slices.Contains(o.quirks, name) {
			o.quirks = append(o.quirks, name)
		}
	}
	if !s.opened {
		return
	}
	for _, f := range reFeatures.FindAllString(in, -1) {
		for name, mark := range features() {
			if strings.Contains(f, mark) && !slices.Contains(o.announced, name) {
				o.announced = append(o.announced, name)
			}
		}
	}
}

// asked counts the requests of dialback in a text, and notes what its answers have.
type asked struct {
	results, verifies int
	keys, ids         bool
}

func dialback(text string) (a asked) {
	for _, found := range reDialback.FindAllStringSubmatch(text, -1) {
		name, attributes, content := found[1], found[2], found[3]
		switch answer := strings.Contains(attributes, "type="); {
		case answer:
			a.keys = a.keys || content != ""
			a.ids = a.ids || name == "result" && strings.Contains(attributes, " id=")
		case name == "result":
			a.results++
		default:
			a.verifies++
		}
	}
	return a
}

func domainIn(re *regexp.Regexp, tag string) string {
	if found := re.FindStringSubmatch(tag); found != nil {
		return found[1]
	}
	return ""
}
