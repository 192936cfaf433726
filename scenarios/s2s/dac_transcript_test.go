package s2s_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// recording is what passes on the streams of a host, by direction.
type recording struct {
	mu   sync.Mutex
	sent map[uint64]*[2]bytes.Buffer // by stream; first what comes in, then what goes out
}

func (r *recording) trace(stream uint64, out bool, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sent == nil {
		r.sent = map[uint64]*[2]bytes.Buffer{}
	}
	if r.sent[stream] == nil {
		r.sent[stream] = new([2]bytes.Buffer)
	}
	if out {
		r.sent[stream][1].Write(b)
	} else {
		r.sent[stream][0].Write(b)
	}
}

// lines returns the elements of the namespace that passed after TLS: what came in, and
// what went out.
func (r *recording) lines() (out [2][]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for stream := range uint64(len(r.sent)) {
		both := r.sent[stream+1]
		for i, who := range []string{"S: ", "C: "} {
			for _, el := range elements(both[i].Bytes()) {
				if at := strings.Index(el, "<dac "); at >= 0 {
					end := strings.Index(el, "</dac>") + len("</dac>")
					out[i] = append(out[i], who+el[at:end])
				} else if strings.Contains(el, "xmlns='"+s2s.NSDAC+"'") {
					out[i] = append(out[i], who+el)
				}
			}
		}
	}
	return out
}

// elements cuts the last stream in b into its elements.
func elements(b []byte) []string {
	start := bytes.LastIndex(b, []byte("<stream:stream"))
	if start < 0 {
		return nil
	}
	b = b[start:]
	dec := xml.NewDecoder(bytes.NewReader(b))
	var out []string
	depth, from := 0, int64(0)
	for {
		at := dec.InputOffset()
		tok, err := dec.Token()
		if err != nil {
			return out
		}
		switch tok.(type) {
		case xml.StartElement:
			if depth++; depth == 2 {
				from = at
			}
		case xml.EndElement:
			if depth--; depth == 1 {
				out = append(out, string(b[from:dec.InputOffset()]))
			}
		}
	}
}

// script is a world whose stanzas are compared with a transcript.
type script struct {
	*world
	a, b *provider
	rec  *recording
	seen [2]int
	name map[string]string // of base64
}

// play starts a world of four domains at each end.
func play(t *testing.T, given map[string]any, change func(name string, c *s2s.Config)) *script {
	s := &script{world: newWorld(t, "shared-attrcert", given), rec: &recording{}, name: map[string]string{}}
	owners, err := s.ca.Intermediate("owners", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.signers = newSigners(t, owners, false)
	s.change = func(name string, c *s2s.Config) {
		if name == "provider-a.test" {
			c.Trace = s.rec.trace
		}
		for domain, p := range c.Credentials.Proofs {
			s.learn(domain, p)
		}
		if change != nil {
			change(name, c)
		}
	}
	made := s.start(map[string][]string{"provider-a.test": domains("a", 4), "provider-b.test": domains("b", 3)})
	s.a, s.b = made["provider-a.test"], made["provider-b.test"]
	s.name[base64.StdEncoding.EncodeToString(owners.Certificate().Raw)] = "CERT(owners)"
	return s
}

// learn names the parts of a proof.
func (s *script) learn(domain string, p s2s.Proof) {
	hash := sha256.Sum256(p.AC)
	s.name[base64.StdEncoding.EncodeToString(p.AC)] = "AC(" + domain + ")"
	s.name[base64.StdEncoding.EncodeToString(hash[:])] = "HASH(" + domain + ")"
	s.name[base64.StdEncoding.EncodeToString(p.Chain[0])] = "CERT(" + domain + ")"
}

// anonymous replaces what differs from run to run.
func (s *script) anonymous(line string) string {
	line = regexp.MustCompile(`[A-Za-z0-9+/]{40,}=*`).ReplaceAllStringFunc(line, func(b string) string {
		if name, ok := s.name[b]; ok {
			return name
		}
		return b
	})
	line = regexp.MustCompile(`(<binding alg='[^']*'>)[^<]*`).ReplaceAllString(line, "${1}SIGNATURE")
	if strings.HasPrefix(line, "S: <dac ") {
		s.name[regexp.MustCompile(`nonce='([^']*)'`).FindStringSubmatch(line)[1]] = "NONCE-R"
	}
	line = regexp.MustCompile(`nonce='([^']*)'`).ReplaceAllStringFunc(line, func(attr string) string {
		nonce := attr[len("nonce='") : len(attr)-1]
		if strings.HasPrefix(nonce, "NONCE") {
			return attr
		}
		if name, ok := s.name[nonce]; ok {
			return "nonce='" + name + "'"
		}
		s.name[nonce] = "NONCE-I"
		return "nonce='NONCE-I'"
	})
	return strings.ReplaceAll(line, "until='"+s.signers.to.UTC().Format(time.RFC3339)+"'", "until='UNTIL'")
}

// next returns what has passed since it was called last, once it is as much as wanted.
func (s *script) next(want int) []string {
	var lines [2][]string
	for range 500 {
		lines = s.rec.lines()
		if len(lines[0])+len(lines[1]) >= s.seen[0]+s.seen[1]+want {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	var fresh []string
	for i := range lines {
		for _, line := range lines[i][s.seen[i]:] {
			fresh = append(fresh, s.anonymous(line))
		}
		s.seen[i] = len(lines[i])
	}
	return fresh
}

// section is a part of a transcript.
type section struct {
	title string
	lines []string
}

func readSections(t testing.TB, file string) []section {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []section
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "# "); ok {
			all = append(all, section{title: title})
		} else if line != "" {
			last := &all[len(all)-1]
			last.lines = append(last.lines, line)
		}
	}
	return all
}

// connect makes a pair ready, or says why it cannot be.
func (s *script) connect(from, to string) error {
	s.t.Helper()
	done := make(chan error, 1)
	p := s2s.Pair{From: from, To: to}
	err := s.a.host.Send(s2s.Stanza{Pair: p, XML: message(from, to, "1"), Done: func(_ s2s.Times, err error) { done <- err }})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%s: nothing came of it", p)
	}
}

// wantRefused returns an error unless err says that a domain could not be proved, for
// the reason.
func wantRefused(err error, domain, reason string) error {
	route, ok := errors.AsType[*s2s.RouteError](err)
	proof, also := errors.AsType[*s2s.ProofError](err)
	if ok && also && route.Condition == "remote-server-timeout" && proof.Domain == domain && proof.Reason == reason {
		return nil
	}
	return fmt.Errorf("got %w, want %s for %s", err, reason, domain)
}

// TestAttrcertTranscript plays the transcript, which was written before the code. The
// lines of a section come in any order: two ends speak at once.
func TestAttrcertTranscript(t *testing.T) {
	var s *script
	open := func(given map[string]any, change func(string, *s2s.Config)) func() error {
		return func() error {
			s = play(t, given, change)
			return s.connect("a1.test", "b1.test")
		}
	}
	steps := []func() error{
		open(nil, nil),
		func() error {
			return s.a.host.Connect(s2s.Pair{From: "a2.test", To: "b2.test"}, s2s.Pair{From: "a3.test", To: "b3.test"})
		},
		func() error { return s.connect("a1.test", "b3.test") },
		func() error {
			old := s.signers.sign("a4.test", "provider-a.test", func(t *attrcert.Template) { t.NotAfter = time.Now().Add(-time.Minute) })
			s.learn("a4.test", old)
			if err := s.a.host.Prove("a4.test", old); err != nil {
				return err
			}
			return wantRefused(s.connect("a4.test", "b1.test"), "a4.test", "expired")
		},
		func() error { return s.b.host.Retract("b3.test") },
		func() error { return wantRefused(s.connect("a1.test", "b3.test"), "b3.test", "impossible") },
		func() error {
			if err := s.a.host.Retract("a2.test"); err != nil {
				return err
			}
			again := s.signers.proofs["provider-a.test"]["a2.test"]
			if err := s.a.host.AddDomain(s2s.NewDomain{Domain: "a2.test", Proof: &again}); err != nil {
				return err
			}
			return s.connect("a2.test", "b2.test")
		},
		func() error {
			s.a.host.Revoke("b2.test", attrcert.Policy)
			return nil
		},
		open(map[string]any{"mode": "classic"}, nil),
		open(map[string]any{"binding": true}, nil),
		open(map[string]any{"mode": "warm"}, func(name string, c *s2s.Config) {
			if name == "provider-b.test" {
				c.Known = slices.DeleteFunc(slices.Clone(c.Known), func(k s2s.Known) bool { return k.Domain == "a1.test" })
			}
		}),
		func() error {
			s = play(t, map[string]any{"mode": "proactive"}, func(_ string, c *s2s.Config) {
				c.Known = slices.DeleteFunc(slices.Clone(c.Known), func(k s2s.Known) bool { return k.Domain > "b2.test" || k.Domain == "a3.test" || k.Domain == "a4.test" })
			})
			if err := s.b.host.Retract("b2.test"); err != nil {
				return err
			}
			return s.connect("a1.test", "b1.test")
		},
	}
	sections := readSections(t, "testdata/shared-attrcert.txt")
	if len(steps) != len(sections) {
		t.Fatalf("%d steps, %d sections of the transcript", len(steps), len(sections))
	}
	for i, section := range sections {
		if err := steps[i](); err != nil {
			t.Fatalf("%s: %v", section.title, err)
		}
		got := s.next(len(section.lines))
		if d := cmp.Diff(slices.Sorted(slices.Values(section.lines)), slices.Sorted(slices.Values(got))); d != "" {
			t.Errorf("%s (-want +got):\n%s", section.title, d)
		}
	}
}
