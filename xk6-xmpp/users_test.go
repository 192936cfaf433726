package xk6xmpp

import (
	"strings"
	"testing"
	"time"

	"go.k6.io/k6/v2/errext"
	"go.k6.io/k6/v2/lib"
)

// TestUserPool looks at numbers, templates and what happens at the end.
func TestUserPool(t *testing.T) {
	u := newUser(t, New(), "127.0.0.1:1", nil)
	u.state.GetScenarioGlobalVUIter = func() uint64 { return 7 }
	u.state.VUIDGlobal = 3
	u.must(`
		const p = new UserPool({ jid: "u{i}@a.test", password: "pw{i}", count: 10, first: 100, pad: 5 });
		equal(p.count, 10, "count");
		equal(p.at(9), { index: 9, jid: "u00109@a.test", password: "pw00109" }, "at");
		equal(p.byIteration().index, 7, "by iteration");
		equal(p.byIteration(2).index, 9, "by iteration");
		equal(p.byVU().index, 2, "by virtual user");
		const w = new UserPool({ jid: "{i}@a.test", count: 5, onExhausted: "wrap" });
		equal(w.byIteration(), { index: 2, jid: "2@a.test", password: "" }, "wrapped");
		const r = new UserPool({ jid: "{i}@a.test", count: 5, onExhausted: "reject" });
		let e;
		try { r.byVU(3); } catch (x) { e = x; }
		ok(e instanceof XMPPError && e.stage === "users" && e.condition === "resource-constraint", "" + e);
		equal(domains("d{i}.test", 3), ["d0.test", "d1.test", "d2.test"], "domains");
		equal(domains("d{i}.test", 2, 1), ["d1.test", "d2.test"], "domains");
	`)
	err := u.run(`new UserPool({ jid: "{i}@a.test", count: 7 }).byIteration(); ok(false, "went on");`)
	if err == nil || !strings.Contains(err.Error(), "user 7 is wanted of a pool of 7") || !strings.Contains(err.Error(), errext.AbortTest) {
		t.Errorf("a pool that is exhausted ends the test with %v", err)
	}
}

// TestRosterFor holds rosters made here against those that the simulator serves.
func TestRosterFor(t *testing.T) {
	sim := simulate(t, 12)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const users = new UserPool({ jid: "u{i}@sim.test", password: "pw", count: 100, pad: 7 });
		const c = await connect({ ...users.at(3), ...server });
		const { items } = await c.roster.get({ items: true });
		const made = rosterFor(users, 3, 12);
		const plain = (list) => list.map((i) => [i.jid, i.name, i.subscription, i.ask, [...i.groups].sort()]).sort();
		equal(plain(made), plain(items), "rosters");
		ok(JSON.stringify(made) !== JSON.stringify(rosterFor(users, 3, 12, 2)), "another seed makes another roster");
		await c.disconnect();
	`)
}

// TestSegments scales what belongs to the whole test.
func TestSegments(t *testing.T) {
	u := newUser(t, New(), "127.0.0.1:1", nil)
	u.must(`equal(share(10), 10, "without segments");`)
	sum := int64(0)
	for _, name := range []string{"0:1/3", "1/3:2/3", "2/3:1"} {
		segment, err := lib.NewExecutionSegmentFromString(name)
		if err != nil {
			t.Fatal(err)
		}
		u.state.Options.ExecutionSegment = segment
		u.must(`globalThis.part = share(10);`)
		sum += u.VU.RuntimeField.Get("part").ToInteger()
	}
	if sum != 10 {
		t.Errorf("the portions of 10 add up to %d", sum)
	}
	// A third of 300 per second.
	u.must(`
		const l = new RateLimit({ rate: 300 });
		const start = Date.now();
		await Promise.all([l.pass(), l.pass(), l.pass(), l.pass(), l.pass()]);
		ok(Date.now() - start >= 39, "five passed in " + (Date.now() - start) + " ms");
	`)
	l := new(limit)
	at := time.Unix(0, 0)
	for i := range 3 {
		if got, want := l.turn(at, time.Second), at.Add(time.Duration(i)*time.Second); !got.Equal(want) {
			t.Errorf("turn %d is at %v, want %v", i, got, want)
		}
	}
}
