package simulator

import "testing"

// The nine states of RFC 6121 appendix A.1.
func states() map[string]standing {
	return map[string]standing{
		"None":                  {},
		"None + Pending Out":    {out: true},
		"None + Pending In":     {in: true},
		"None + Pending Out+In": {out: true, in: true},
		"To":                    {to: true},
		"To + Pending In":       {to: true, in: true},
		"From":                  {from: true},
		"From + Pending Out":    {from: true, out: true},
		"Both":                  {to: true, from: true},
	}
}

// TestSubscriptionStates compares the rules with the tables of RFC 6121 appendix
// A.2 and A.3, row by row.
func TestSubscriptionStates(t *testing.T) {
	type row struct {
		route bool // MUST route, or MUST deliver
		to    string
	}
	const (
		none, out, in, both2 = "None", "None + Pending Out", "None + Pending In", "None + Pending Out+In"
		to, toIn, from, fOut = "To", "To + Pending In", "From", "From + Pending Out"
		both                 = "Both"
	)
	tables := []struct {
		name    string
		inbound bool
		typ     string
		rows    map[string]row
	}{
		{"A.2.1", false, "subscribe", map[string]row{
			none: {true, out}, out: {true, out}, in: {true, both2}, both2: {true, both2}, to: {true, to}, toIn: {true, toIn}, from: {true, fOut}, fOut: {true, fOut}, both: {true, both}}},
		{"A.2.2", false, "unsubscribe", map[string]row{
			none: {true, none}, out: {true, none}, in: {true, in}, both2: {true, in}, to: {true, none}, toIn: {true, in}, from: {true, from}, fOut: {true, from}, both: {true, from}}},
		{"A.2.3", false, "subscribed", map[string]row{
			none: {false, none}, out: {false, out}, in: {true, from}, both2: {true, fOut}, to: {false, to}, toIn: {true, both}, from: {false, from}, fOut: {false, fOut}, both: {false, both}}},
		{"A.2.4", false, "unsubscribed", map[string]row{
			none: {false, none}, out: {false, out}, in: {true, none}, both2: {true, out}, to: {false, to}, toIn: {true, to}, from: {true, none}, fOut: {true, out}, both: {true, to}}},
		{"A.3.1", true, "subscribe", map[string]row{
			none: {true, in}, out: {true, both2}, in: {false, in}, both2: {false, both2}, to: {true, toIn}, toIn: {false, toIn}, from: {false, from}, fOut: {false, fOut}, both: {false, both}}},
		{"A.3.2", true, "unsubscribe", map[string]row{
			none: {false, none}, out: {false, out}, in: {true, none}, both2: {true, out}, to: {false, to}, toIn: {true, to}, from: {true, none}, fOut: {true, out}, both: {true, to}}},
		{"A.3.3", true, "subscribed", map[string]row{
			none: {false, none}, out: {true, to}, in: {false, in}, both2: {true, toIn}, to: {false, to}, toIn: {false, toIn}, from: {false, from}, fOut: {true, both}, both: {false, both}}},
		{"A.3.4", true, "unsubscribed", map[string]row{
			none: {false, none}, out: {true, none}, in: {false, in}, both2: {true, in}, to: {true, none}, toIn: {true, in}, from: {false, from}, fOut: {true, from}, both: {true, from}}},
	}
	for _, table := range tables {
		for state, row := range table.rows {
			before := states()[state]
			after, e := before.outbound(table.typ)
			if table.inbound {
				after, e = before.inbound(table.typ)
			}
			want := states()[row.to]
			// "subscribed" where nobody asked is remembered (§3.4).
			want.approved = !table.inbound && table.typ == "subscribed" && !before.from && !before.in
			if after != want || e.route != row.route {
				t.Errorf("%s, %s in %q: state %+v, route %t: want %+v, %t", table.name, table.typ, state, after, e.route, want, row.route)
			}
		}
		if len(table.rows) != len(states()) {
			t.Errorf("%s has %d rows: want %d", table.name, len(table.rows), len(states()))
		}
	}
}
