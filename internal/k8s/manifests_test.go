package k8s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/xmppbench/xmppbench/internal/cli"
)

// folder is where the manifests lie.
func folder() string { return filepath.Join("..", "..", "examples", "k8s") }

// A document is one object of a manifest.
type document struct {
	file   string
	number int
	object map[string]any
}

func (d document) String() string {
	return fmt.Sprintf("%s #%d (%s)", d.file, d.number, d.at("kind"))
}

// at returns what lies at a path of keys, nil where there is nothing.
func (d document) at(path ...string) any {
	var v any = d.object
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// pod returns the path of the pod's spec.
func (d document) pod() []string {
	switch d.at("kind") {
	case "Job", "Deployment":
		return []string{"spec", "template", "spec"}
	}
	return nil
}

// container returns the one container of a Job or Deployment.
func (d document) container(t *testing.T) map[string]any {
	t.Helper()
	all, _ := d.at(append(d.pod(), "containers")...).([]any)
	if len(all) != 1 {
		t.Fatalf("%s: %d containers", d, len(all))
	}
	return all[0].(map[string]any)
}

// manifests reads every object of every file.
func manifests(t *testing.T) []document {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder(), "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, documents(t, filepath.Base(file), source)...)
	}
	if len(all) < 10 {
		t.Fatalf("%d objects were found", len(all))
	}
	return all
}

func documents(t *testing.T, file string, source []byte) []document {
	t.Helper()
	var all []document
	for dec := yaml.NewDecoder(bytes.NewReader(source), yaml.Strict()); ; {
		d := document{file: file, number: len(all) + 1}
		err := dec.Decode(&d.object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, d)
	}
}

// TestReferences holds the manifests against one another: whatever one names exists
// in another, or is what a user has.
func TestReferences(t *testing.T) {
	users := []string{"PersistentVolumeClaim/prosody-data"}
	have := make(map[string]bool)
	all := manifests(t)
	for _, d := range all {
		name := fmt.Sprintf("%s/%s", d.at("kind"), d.at("metadata", "name"))
		if have[name] {
			t.Errorf("%s is there twice", name)
		}
		have[name] = true
	}
	images := make(map[string]bool)
	var walk func(d document, v any)
	walk = func(d document, v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(d, e)
			}
		case map[string]any:
			need := func(kind string, value any, key string) {
				m, _ := value.(map[string]any)
				if m == nil || m[key] == nil {
					return
				}
				if name := fmt.Sprintf("%s/%s", kind, m[key]); !have[name] && !slices.Contains(users, name) {
					t.Errorf("%s: there is no %s", d, name)
				}
			}
			need("Secret", v["secretRef"], "name")
			need("ConfigMap", v["configMap"], "name")
			need("PersistentVolumeClaim", v["persistentVolumeClaim"], "claimName")
			if image, ok := v["image"].(string); ok {
				images[image] = true
			}
			for _, e := range v {
				walk(d, e)
			}
		}
	}
	for _, d := range all {
		walk(d, d.object)
	}
	readme, err := os.ReadFile(filepath.Join(folder(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for image := range images {
		if !strings.Contains(string(readme), image) || !strings.Contains(image, ":") {
			t.Errorf("image %s is not the one that the README builds", image)
		}
	}
	for _, d := range all {
		if !strings.Contains(string(readme), "`"+d.file+"`") {
			t.Errorf("the README does not name %s", d.file)
		}
	}
}

// TestTestRuns looks at what the schema cannot say.
func TestTestRuns(t *testing.T) {
	runs := 0
	for _, d := range manifests(t) {
		if d.at("kind") != "TestRun" {
			continue
		}
		runs++
		arguments, _ := d.at("spec", "arguments").(string)
		// The operator splits at single spaces, and an empty argument ends k6.
		if fields := strings.Split(arguments, " "); slices.Contains(fields, "") || strings.Contains(arguments, "\n") {
			t.Errorf("%s: arguments %q", d, arguments)
		}
		if !regexp.MustCompile(`--out xmpp-hdr=/results/[a-z-]+-\{instance\}(,[a-z]+=\S+)*( |$)`).MatchString(arguments) {
			t.Errorf("%s: pods do not write into directories of their own: %q", d, arguments)
		}
		for _, part := range []string{"runner", "initializer"} {
			if d.at("spec", part, "image") == nil {
				t.Errorf("%s: %s has no image: the operator's default has no k6/x/xmpp", d, part)
			}
		}
		if local, ok := d.at("spec", "script", "localFile").(string); ok {
			script, inImage := strings.CutPrefix(local, "/scripts/")
			if _, err := os.Stat(filepath.Join(folder(), "..", script)); !inImage || err != nil {
				t.Errorf("%s: %s is not in the image: %v", d, local, err)
			}
		}
	}
	if runs < 2 {
		t.Errorf("%d TestRuns", runs)
	}
}

// TestContainerfile wants bases with a full version, and a Go that is new enough.
func TestContainerfile(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(folder(), "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	bases := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(source), -1)
	for _, base := range bases {
		if !regexp.MustCompile(`^docker\.io/library/[a-z]+:\d+\.\d+\.\d+$`).MatchString(base[1]) {
			t.Errorf("base %s is not pinned", base[1])
		}
	}
	module, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	if len(bases) != 2 || !strings.HasPrefix(bases[0][1], "docker.io/library/golang:"+string(want[1])+".") {
		t.Errorf("bases %v, but go.mod wants Go %s", bases, want[1])
	}
}

// TestProvision runs what the Job runs, on a folder in place of Prosody's volume.
func TestProvision(t *testing.T) {
	dir := t.TempDir()
	var args []string
	target := filepath.Join(dir, "prosody.yaml")
	for _, d := range manifests(t) {
		if d.file != "provision.yaml" {
			continue
		}
		switch d.at("kind") {
		case "ConfigMap":
			text := strings.NewReplacer("/var/lib/prosody", dir, "/results", dir).Replace(d.at("data", "prosody.yaml").(string))
			if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case "Job":
			args = tool(t, d)
		}
	}
	t.Setenv("XMPPBENCH_PASSWORD", "secret")
	for i := range args {
		args[i] = strings.Replace(args[i], "/etc/xmppbench/prosody.yaml", target, 1)
	}
	args = append(args, "--accounts=5", "--items=3") // in place of as many as a test has
	if out := run(t, args...); !strings.Contains(out, "made 5 accounts with 15 roster items") {
		t.Errorf("said %q", out)
	}
	for _, file := range []string{"bench%2etest/accounts/u0000004.dat", "prosody.ledger.json"} {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(file))); err != nil {
			t.Error(err)
		}
	}
}

// TestSimulator starts what the Deployment starts, which must not be refused. It ends at
// once, being interrupted already.
func TestSimulator(t *testing.T) {
	for _, d := range manifests(t) {
		if d.at("kind") != "Deployment" {
			continue
		}
		args := append(tool(t, d), "--listen=127.0.0.1:0", "--accounts=3")
		var stdout, stderr strings.Builder
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if code := cli.Tools(ctx, "k6 x xmppbench", args, strings.NewReader(""), &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "3 accounts, the first u0000000@bench.test") {
			t.Errorf("exit code %d\n%s\n%s", code, &stdout, &stderr)
		}
	}
}

// TestMerge runs what the Job runs, on runs of other tests.
func TestMerge(t *testing.T) {
	runs := filepath.Join("..", "cli", "testdata", "runs")
	dir := t.TempDir()
	for i, name := range []string{"before", "elsewhere"} {
		if err := os.CopyFS(filepath.Join(dir, fmt.Sprintf("login-storm-%d", i+1)), os.DirFS(filepath.Join(runs, name))); err != nil {
			t.Fatal(err)
		}
	}
	commands := 0
	for _, d := range manifests(t) {
		if d.file != "merge.yaml" {
			continue
		}
		script := d.container(t)["args"].([]any)[0].(string)
		for line := range strings.Lines(script) {
			args, ok := strings.CutPrefix(strings.TrimSpace(line), "k6 x xmppbench ")
			if !ok {
				t.Fatalf("%s: %q", d, line)
			}
			var words []string
			for _, word := range strings.Fields(strings.ReplaceAll(args, "/results", dir)) {
				if files, err := filepath.Glob(word); err == nil && len(files) > 0 {
					words = append(words, files...)
				} else {
					words = append(words, word)
				}
			}
			commands++
			if out := run(t, words...); !strings.Contains(out, "login-storm") {
				t.Errorf("%s: %s", line, out)
			}
		}
	}
	if commands != 2 {
		t.Errorf("%d commands", commands)
	}
	// The glob must not find what was merged before.
	if files, _ := filepath.Glob(filepath.Join(dir, "login-storm-[0-9]*")); len(files) != 2 {
		t.Errorf("%v", files)
	}
}

// TestLinks follows the links of the README that lead into the repository.
func TestLinks(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(folder(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(readme), -1) {
		if u, err := url.Parse(m[1]); err != nil || u.Host == "" && !exists(filepath.Join(folder(), u.Path)) {
			t.Errorf("link %s: %v", m[1], err)
		}
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// tool returns the arguments that a container gives to k6 x xmppbench.
func tool(t *testing.T, d document) []string {
	t.Helper()
	var words []string
	for _, key := range []string{"command", "args"} {
		list, _ := d.container(t)[key].([]any)
		for _, w := range list {
			words = append(words, w.(string))
		}
	}
	if len(words) < 4 || strings.Join(words[:3], " ") != "k6 x xmppbench" {
		t.Fatalf("%s: %q", d, words)
	}
	return words[3:]
}

// run runs a command that must succeed and returns what it printed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	if code := cli.Tools(t.Context(), "k6 x xmppbench", args, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("%q: exit code %d\n%s\n%s", args, code, &stdout, &stderr)
	}
	return stdout.String()
}
