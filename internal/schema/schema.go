// Package schema makes JSON Schemas (draft 2020-12) of what Go types are written as by
// encoding/json. It is for tests that keep shipped schemas up to date, and knows what the
// documents of this project are made of: structs, slices, maps with names for keys,
// pointers for values that may be null, numbers, strings and booleans.
package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Document says what a schema is of.
type Document struct {
	ID    string // the name of the file
	Title string
	// Version is the value of the member "schema" of the document; empty if it has none.
	Version string
	// Other are the schemas of types that write themselves.
	Other map[reflect.Type]map[string]any
}

// Of returns the schema of values of the type of v, or of one of several types, as indented
// JSON. A member that may be left out is not required, and none is allowed that the type
// does not have. It panics at a type that the package does not know.
func (d Document) Of(v any, or ...any) []byte {
	node := d.node(reflect.TypeOf(v))
	if d.Version != "" {
		node["properties"].(map[string]any)["schema"] = map[string]any{"const": d.Version}
	}
	if len(or) > 0 {
		all := []any{node}
		for _, o := range or {
			all = append(all, d.node(reflect.TypeOf(o)))
		}
		node = map[string]any{"anyOf": all}
	}
	node["$schema"], node["$id"], node["title"] = "https://json-schema.org/draft/2020-12/schema", d.ID, d.Title
	b, err := json.MarshalIndent(node, "", "  ")
	if err != nil {
		panic(err) // Maps of texts always marshal.
	}
	return append(b, '\n')
}

func (d Document) node(t reflect.Type) map[string]any {
	if other, ok := d.Other[t]; ok {
		return other
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	case t.Kind() != reflect.Pointer && t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		panic(fmt.Sprintf("schema: %s writes itself: say in Other as what", t))
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float64, reflect.Float32:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Pointer:
		return map[string]any{"anyOf": []any{d.node(t.Elem()), map[string]any{"type": "null"}}}
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": d.node(t.Elem())}
	case reflect.Array:
		return map[string]any{"type": "array", "items": d.node(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": d.node(t.Elem())}
	case reflect.Struct:
		properties, required := make(map[string]any), []string{}
		d.members(t, properties, &required)
		return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	panic(fmt.Sprintf("schema: no schema for %s", t))
}

// members adds those of a struct, and of structs that are embedded in it.
func (d Document) members(t reflect.Type, properties map[string]any, required *[]string) {
	for field := range t.Fields() {
		tag := field.Tag.Get("json")
		if field.Anonymous && tag == "" {
			d.members(field.Type, properties, required)
			continue
		}
		if !field.IsExported() || tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" {
			name = field.Name
		}
		node := d.node(field.Type)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if optional {
			// What is left out is never written as null.
			if of, nullable := node["anyOf"].([]any); nullable {
				node = of[0].(map[string]any)
			} else if types, several := node["type"].([]string); several {
				node["type"] = types[0]
			}
		} else {
			*required = append(*required, name)
		}
		properties[name] = node
	}
}
