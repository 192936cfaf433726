//go:build k8s

package k8s

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// operator is the module that has the schema.
const operator = "github.com/grafana/k6-operator@v1.5.0"

// definition reads the definition of TestRun from the module cache, where the go
// command puts the module if it is missing.
func definition(t *testing.T) map[string]any {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", operator)
	cmd.Dir = t.TempDir() // outside of this module, of which the operator is no part
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", operator, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(module.Dir, "config", "crd", "bases", "k6.io_testruns.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return documents(t, "k6.io_testruns.yaml", source)[0].object
}

// schemas are what objects are held against.
type schemas struct {
	version                         string // of the API
	testRun, container, volume, pod *jsonschema.Schema
}

// loadSchemas compiles the schema of TestRun, and of the parts of a pod that it has:
// those of Jobs and Deployments are the same.
func loadSchemas(t *testing.T) schemas {
	t.Helper()
	d := document{object: definition(t)}
	version := d.at("spec", "versions").([]any)[0].(map[string]any)
	v := document{object: version}
	root := v.at("schema", "openAPIV3Schema").(map[string]any)
	strict(root)
	s := schemas{version: fmt.Sprintf("%s/%s", d.at("spec", "group"), version["name"])}
	s.testRun = compile(t, root)

	runner := document{object: document{object: root}.at("properties", "spec", "properties", "runner", "properties").(map[string]any)}
	container := runner.at("initContainers", "items").(map[string]any)
	properties := container["properties"].(map[string]any)
	for name, from := range map[string]string{
		"securityContext": "containerSecurityContext", "readinessProbe": "readinessProbe", "livenessProbe": "livenessProbe", "imagePullPolicy": "imagePullPolicy",
	} {
		properties[name] = runner.at(from)
	}
	properties["ports"] = document{object: root}.at("properties", "spec", "properties", "ports")
	s.container = compile(t, container)
	s.volume = compile(t, runner.at("volumes", "items").(map[string]any))
	s.pod = compile(t, runner.at("securityContext").(map[string]any))
	return s
}

// strict makes of a structural schema of Kubernetes a JSON Schema that says the same as
// the API server with strict field validation: what is not named is refused, except where
// everything goes.
func strict(schema map[string]any) {
	if schema["x-kubernetes-int-or-string"] == true {
		delete(schema, "anyOf")
		schema["type"] = []any{"integer", "string"}
	}
	properties, named := schema["properties"].(map[string]any)
	for _, sub := range properties {
		strict(sub.(map[string]any))
	}
	if named && schema["additionalProperties"] == nil && schema["x-kubernetes-preserve-unknown-fields"] == nil {
		schema["additionalProperties"] = false
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if sub, ok := schema[key].(map[string]any); ok {
			strict(sub)
		}
	}
}

func compile(t *testing.T, schema map[string]any) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("schema.json", plain(t, schema)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain makes of what YAML gave what JSON gives.
func plain(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// check returns what is wrong with an object.
func (s schemas) check(t *testing.T, d document) error {
	t.Helper()
	if d.at("kind") == "TestRun" {
		if d.at("apiVersion") != s.version {
			return fmt.Errorf("API %s, but the operator serves %s", d.at("apiVersion"), s.version)
		}
		return s.testRun.Validate(plain(t, d.object))
	}
	if d.pod() == nil {
		return nil
	}
	if err := s.container.Validate(plain(t, d.container(t))); err != nil {
		return err
	}
	if err := s.pod.Validate(plain(t, d.at(append(d.pod(), "securityContext")...))); err != nil {
		return err
	}
	volumes, _ := d.at(append(d.pod(), "volumes")...).([]any)
	for _, v := range volumes {
		if err := s.volume.Validate(plain(t, v)); err != nil {
			return err
		}
	}
	return nil
}

// TestSchema holds every manifest against the operator's schema.
func TestSchema(t *testing.T) {
	s := loadSchemas(t)
	for _, d := range manifests(t) {
		if err := s.check(t, d); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// TestSchemaRefuses sees that the check finds what is wrong.
func TestSchemaRefuses(t *testing.T) {
	s := loadSchemas(t)
	source, err := os.ReadFile(filepath.Join(folder(), "login-storm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ from, to, want string }{
		"spelling":    {"parallelism:", "paralellism:", "paralellism"},
		"type":        {"parallelism: 4", `parallelism: "4"`, "/spec/parallelism"},
		"no script":   {"script:", "scripts:", "script"},
		"deep down":   {"fsGroup:", "fsgroup:", "fsgroup"},
		"quantity":    {"memory: 2Gi", "memory: much", "/spec/runner/resources/requests/memory"},
		"environment": {"value: xmpp-simulator", "valeu: xmpp-simulator", "valeu"},
		"version":     {"v1alpha1", "v1", "serves k6.io/v1alpha1"},
		"list":        {"drop: [ALL]", "drop: ALL", "/spec/runner/containerSecurityContext/capabilities/drop"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(string(source), tt.from, tt.to, 1)
			if bad == string(source) {
				t.Fatalf("the manifest has no %q", tt.from)
			}
			d := document{file: "bad.yaml", number: 1}
			if err := yaml.Unmarshal([]byte(bad), &d.object); err != nil {
				t.Fatal(err)
			}
			if err := s.check(t, d); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q", err, tt.want)
			}
		})
	}
	job := document{object: map[string]any{"kind": "Job", "spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": "x", "volumeMount": []any{}}}, "securityContext": map[string]any{},
	}}}}}
	if err := s.check(t, job); err == nil || !strings.Contains(err.Error(), "volumeMount") {
		t.Errorf("job: %v", err)
	}
}
