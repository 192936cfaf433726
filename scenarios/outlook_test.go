package scenarios

import "testing"

// Every scenario must tell of its plans what the rest of the package asks them for.
func TestOutlooks(t *testing.T) {
	for _, s := range Scenarios() {
		source, err := Shipped(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		plans, err := Parse(s.Name+".yaml", source, Override{})
		if err != nil {
			t.Fatal(err)
		}
		p := plans[0]
		o := p.outlook()
		if o.budget == 0 && o.cell == nil {
			t.Errorf("%s does not tell how long it takes", s.Name)
		}
		if o.budget == 0 && o.connections == nil && s.Name != FederationScenario {
			t.Errorf("%s does not tell how many connections it makes", s.Name)
		}
		if p.Sessions() < 1 && s.Name != FederationScenario {
			t.Errorf("%s holds %d sessions", s.Name, p.Sessions())
		}
		if d := p.Duration(false); d <= 0 || o.budget == 0 && p.Duration(true) <= d {
			t.Errorf("%s takes %s, and %s with its baseline twice", s.Name, d, p.Duration(true))
		}
	}
}
