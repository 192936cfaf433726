package schema_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/schema"
)

type inner struct {
	At   time.Time `json:"at"`
	Note *string   `json:"note,omitempty"`
}

// own writes itself.
type own int

func (own) MarshalJSON() ([]byte, error) { return []byte(`"own"`), nil }

type document struct {
	Schema string `json:"schema"`
	inner
	Values  []float64      `json:"values"`
	Names   []string       `json:"names,omitempty"`
	Shares  map[string]int `json:"shares"`
	Pair    [2]bool        `json:"pair"`
	Maybe   *inner         `json:"maybe"`
	Raw     json.RawMessage
	Own     own    `json:"own"`
	Ignored string `json:"-"`
	hidden  int
}

// TestOf makes the schema of a type with a member of every kind.
func TestOf(t *testing.T) {
	d := schema.Document{ID: "d.schema.json", Title: "A document", Version: "d/1", Other: map[reflect.Type]map[string]any{
		reflect.TypeFor[own](): {"const": "own"},
	}}
	var got struct {
		ID         string                     `json:"$id"`
		Required   []string                   `json:"required"`
		Properties map[string]json.RawMessage `json:"properties"`
		Additional bool                       `json:"additionalProperties"`
	}
	if err := json.Unmarshal(d.Of(document{hidden: 1}), &got); err != nil {
		t.Fatal(err)
	}
	properties := make(map[string]string)
	for name, node := range got.Properties {
		properties[name] = strings.Join(strings.Fields(string(node)), "")
	}
	anInner := `{"additionalProperties":false,"properties":{"at":{"format":"date-time","type":"string"},"note":{"type":"string"}},"required":["at"],"type":"object"}`
	want := map[string]string{
		"schema": `{"const":"d/1"}`,
		"at":     `{"format":"date-time","type":"string"}`,
		"note":   `{"type":"string"}`,
		"values": `{"items":{"type":"number"},"type":["array","null"]}`,
		"names":  `{"items":{"type":"string"},"type":"array"}`,
		"shares": `{"additionalProperties":{"type":"integer"},"type":["object","null"]}`,
		"pair":   `{"items":{"type":"boolean"},"maxItems":2,"minItems":2,"type":"array"}`,
		"maybe":  `{"anyOf":[` + anInner + `,{"type":"null"}]}`,
		"Raw":    `{}`,
		"own":    `{"const":"own"}`,
	}
	if diff := cmp.Diff(want, properties); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"schema", "at", "values", "shares", "pair", "maybe", "Raw", "own"}, got.Required); diff != "" {
		t.Errorf("required (-want +got):\n%s", diff)
	}
	if got.ID != "d.schema.json" || got.Additional {
		t.Errorf("%+v", got)
	}
}

// TestOfUnknown panics where a schema would be a guess.
func TestOfUnknown(t *testing.T) {
	for name, v := range map[string]any{
		"writes itself": struct{ Own own }{},
		"no JSON":       struct{ C chan int }{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			schema.Document{}.Of(v)
		})
	}
}
