package scenarios

import (
	"context"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
)

// presenceCount counts the presence that a session receives.
type presenceCount struct {
	mu         sync.Mutex
	stanzas    int64
	errors     int64 // of type error: bounces of contacts' domains
	first, end time.Time
}

func (p *presenceCount) add(st *wire.Stanza) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stanzas++
	if st.Type() == "error" {
		p.errors++
	}
	if p.first.IsZero() {
		p.first = st.End
	}
	p.end = st.End
	return nil
}

func (p *presenceCount) read() (stanzas, bounced int64, end time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stanzas, p.errors, p.end
}

// startPresence sends initial presence (RFC 6121 §4.2) and observes, in the
// background, when the presence of the contacts has come in: at the last stanza
// before plan.Presence.Quiet passed without another.
func (s *site) startPresence(ctx context.Context, c *client, sink results.Sink) chan error {
	settled := make(chan error, 1)
	count := new(presenceCount)
	c.presence.Store(count)
	sent := time.Now()
	if err := c.Stream.Send([]byte("<presence/>")); err != nil {
		settled <- &stepError{step: "presence", err: err}
		return settled
	}
	go func() { settled <- s.settle(ctx, count, sink, sent) }()
	return settled
}

func (s *site) settle(ctx context.Context, count *presenceCount, sink results.Sink, sent time.Time) error {
	quiet := s.plan.Presence.Quiet
	last := sent
	for {
		if err := sleep(ctx, time.Until(last.Add(quiet))); err != nil {
			return &stepError{step: "presence", err: err}
		}
		_, _, end := count.read()
		if !end.After(last) {
			break
		}
		last = end
	}
	stanzas, bounced, end := count.read()
	sink.Count("presence.in", stanzas)
	sink.Count("presence.bounced", bounced)
	if end.Before(sent) {
		end = sent
	}
	sink.Observe(results.Sample{Metric: "presence.settled", Intended: sent, Start: sent, End: end})
	return nil
}
