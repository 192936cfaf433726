package xk6xmpp

import (
	"testing"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestMesh brings a mesh of every variant up and holds its counts against the closed
// forms.
func TestMesh(t *testing.T) {
	for _, v := range s2s.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			u := newUser(t, New(), "127.0.0.1:1", nil)
			must(u.VU.RuntimeField, u.VU.RuntimeField.Set("variant", v.Name))
			u.must(`
				const mesh = new Mesh({ variant, local: domains("d{i}.alpha.test", 2), remote: 3 });
				equal([mesh.stats, mesh.local.length, mesh.remote], [null, 2, ["b1.test", "b2.test", "b3.test"]], "before");
				const st = await mesh.open();
				equal([st.variant, st.pairs, st.agrees], [variant, 6, true], JSON.stringify([st.counts, st.expected]));
				ok(st.duration > 0 && st.connections === st.counts["connections.alive"] && st.bytes > 0, "stats");
				equal(st.authorisations, ["authority.sasl", "authority.results", "authority.proofs"].reduce((n, x) => n + (st.counts[x] || 0), 0), "authorisations");
				throws(() => mesh.open(), "open already");
				ok(await mesh.ping() > 0, "ping");
				ok(await mesh.ping({ from: "d1.alpha.test", to: "b2.test", size: 2000 }) > 0, "ping");
				throws(() => mesh.ping({ from: "b1.test" }), 'option "from": "b1.test" is not one of');
				const b = await mesh.burst({ count: 50, concurrency: 8, size: 512 });
				equal([b.sent, b.failed], [50, 0], "burst");
				const { duration } = await mesh.addDomain("late.alpha.test");
				ok(duration > 0, "added");
				equal(mesh.stats.pairs, 9, "pairs");
				ok(await mesh.ping({ from: "late.alpha.test" }) > 0, "ping");
				await mesh.close();
				let e;
				try { mesh.ping(); } catch (x) { e = x; }
				equal([e.stage, e.condition], ["s2s", "not-connected"], "closed");
			`)
			strategy := []string{"s2s_strategy", v.Name}
			params, err := v.Parse(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := u.sum(metricConnections, strategy...), v.Counts(params, s2s.Full(2, 3)).Persistent; got != float64(want) {
				t.Errorf("%v connections, want %d", got, want)
			}
			for metric, want := range map[string]int{metricSetup: 1, metricPairReady: 6, metricDomainAuth: 1, metricS2SRTT: 53} {
				if got := len(u.values(metric, strategy...)); got != want {
					t.Errorf("%d samples of %s, want %d", got, metric, want)
				}
			}
		})
	}
}

// TestMeshEnds leaves a mesh open at the end of its iteration.
func TestMeshEnds(t *testing.T) {
	u := newUser(t, New(), "127.0.0.1:1", nil)
	u.must(`globalThis.left = new Mesh({ variant: "shared-mux", local: 3, remote: 3 }); await left.open();`)
	u.must(`
		let e;
		while (e?.condition !== "not-connected") {
			try { await left.ping(); } catch (x) { e = x; }
			ok(!e || ["not-connected", "connection-lost"].includes(e.condition), "" + e);
		}
	`)
}
