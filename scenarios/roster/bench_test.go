package roster

import (
	"sync"
	"testing"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// BenchmarkRetrieve retrieves a roster of 10,000 items over a stream in memory:
// both halves, and both streams, in one process.
func BenchmarkRetrieve(b *testing.B) {
	base := PopulationBase(contacts(b, 10_000, 120), 0)
	for _, c := range []conformance{
		{variant: "monolithic"},
		{variant: "rsm"},
		{variant: "chunked-push", params: params{"window": 16}},
		{variant: "chunked-pull", params: params{"window": 16}},
	} {
		for _, digest := range []bool{false, true} {
			name := c.String()
			if digest {
				name += ",digest"
			}
			b.Run(name, func(b *testing.B) {
				v, _ := Find(c.variant)
				p, err := v.Parse(c.params)
				if err != nil {
					b.Fatal(err)
				}
				a := &account{store: NewMemStore("e", base)}
				pair := newQuietPair(b, a)
				defer pair.wait()
				b.ReportAllocs()
				for b.Loop() {
					r, err := v.Fetch(b.Context(), pair.client, p, Options{Digest: digest})
					if err != nil || r.Items != 10_000 {
						b.Fatalf("%d items, %v", r.Items, err)
					}
					b.SetBytes(r.BytesIn)
				}
			})
		}
	}
}

// newQuietPair is newPair without a trace.
func newQuietPair(b *testing.B, a *account) *pair {
	near, far := newConn(uncut)
	client := wire.NewStream(near, nil, wire.StreamOptions{Opened: true})
	server := wire.NewStream(far, nil, wire.StreamOptions{Opened: true, Server: true})
	session := a.session(server)
	server.Handle(a.serve(session, server))
	p := &pair{client: NewClient(client, accountJID, nil), stream: client, server: server, account: a}
	var wg sync.WaitGroup
	wg.Go(func() { _ = client.Serve(b.Context()) }) // ends with the connection
	wg.Go(func() { _ = server.Serve(b.Context()) })
	p.wait = func() {
		near.Close()
		wg.Wait()
	}
	return p
}
