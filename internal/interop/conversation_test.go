//go:build interop

package interop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// Types of messages: questions are returned as answers. ejabberd leaves out the type normal, which
// is therefore not one of them.
const (
	question = "chat"
	answer   = "headline"
)

// A conversation is a question for each of some pairs of domains, every one of which is to be
// answered.
type conversation struct {
	number  uint64
	awaited map[string]s2s.Pair // by id of the message; guarded by mu
	sent    time.Time
	over    chan struct{} // closed when nothing is awaited

	mu     sync.Mutex
	asked  int
	took   time.Duration
	failed map[string][]s2s.Pair // by reason
}

// conversations numbers them, so that what comes late is not taken for something else.
var conversations atomic.Uint64

func newConversation(pairs []s2s.Pair) *conversation {
	c := &conversation{
		number: conversations.Add(1), awaited: make(map[string]s2s.Pair), sent: time.Now(), over: make(chan struct{}),
		asked: len(pairs), failed: make(map[string][]s2s.Pair),
	}
	for _, p := range pairs {
		c.awaited[c.id(p)] = p
	}
	return c
}

// id names the message of a pair.
func (c *conversation) id(p s2s.Pair) string { return fmt.Sprintf("%d:%s", c.number, p) }

// heard notes that the message with an id was answered, or why it was not.
func (c *conversation) heard(id, failure string) {
	if c == nil || !strings.HasPrefix(id, fmt.Sprintf("%d:", c.number)) {
		return // it belongs to one that is over
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.awaited[id]
	if !ok {
		if failure == "" {
			c.failed["came twice"] = append(c.failed["came twice"], p)
		}
		return
	}
	delete(c.awaited, id)
	if failure != "" {
		c.failed[failure] = append(c.failed[failure], p)
	}
	if len(c.awaited) == 0 {
		c.took = time.Since(c.sent)
		close(c.over)
	}
}

// verdict waits until every message was answered or has failed, and returns "spoken" if none has
// failed, else the reasons.
func (c *conversation) verdict(limit time.Duration) string {
	select {
	case <-c.over:
	case <-time.After(limit):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.awaited {
		c.failed[silence] = append(c.failed[silence], p)
	}
	if len(c.failed) == 0 {
		return spoken
	}
	return "refused: " + strings.Join(slices.Sorted(maps.Keys(c.failed)), "; ")
}

const (
	// spoken is the verdict on a conversation in which everything was answered.
	spoken = "spoken"
	// silence is what becomes of messages that are lost without a word. Where it is expected,
	// it is not waited for longer than silenceLimit.
	silence      = "nothing came"
	silenceLimit = 3 * time.Second
)

// delivered says how many messages were answered, of how many.
func (c *conversation) delivered() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.asked
	for _, pairs := range c.failed {
		n -= len(pairs)
	}
	return fmt.Sprintf("%d of %d", n, c.asked)
}

// complaint returns what an error says, without the names of domains, and nothing for an answer.
func complaint(st *wire.Stanza) string {
	if st.Type() != "error" {
		return ""
	}
	el, err := st.Element()
	if err != nil {
		return err.Error()
	}
	e := wire.ParseStanzaError(el)
	return strings.TrimSpace("error " + e.Condition + " " + e.Text)
}
