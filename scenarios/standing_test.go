package scenarios_test

import (
	"context"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/scenarios"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestStandingMesh drives a mesh of every variant step by step, and holds its counts
// against the closed forms.
func TestStandingMesh(t *testing.T) {
	for _, v := range s2s.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			params, err := v.Parse(nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := scenarios.OpenMesh(ctx, scenarios.MeshConfig{
				Variant: v, Params: params, Local: []string{"one.alpha.test", "two.alpha.test"}, Remote: []string{"one.beta.example", "two.beta.example", "three.beta.example"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := m.Close(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
			}()
			_, trips, err := m.BringUp(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(trips) != 6 {
				t.Errorf("%d pairs talk", len(trips))
			}
			agree(ctx, t, m)
			if _, trips, err = m.Add(ctx, "late.alpha.test"); err != nil || len(trips) != 3 {
				t.Fatalf("a domain more: %d pairs, %v", len(trips), err)
			}
			if _, _, err := m.Add(ctx, "late.alpha.test"); err == nil {
				t.Error("a domain is added twice")
			}
			if d, err := m.Echo(ctx, s2s.Pair{From: "late.alpha.test", To: "two.beta.example"}, 1000); err != nil || d <= 0 {
				t.Errorf("echo after %v: %v", d, err)
			}
		})
	}
}

func agree(ctx context.Context, t *testing.T, m *scenarios.StandingMesh) {
	t.Helper()
	got, want, err := m.Figures(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range want {
		if got[name] != int64(n) {
			t.Errorf("%s: %d, the closed form says %d", name, got[name], n)
		}
	}
}
