package view_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/results/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runs copies the committed runs into a directory of their own.
func runs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../internal/cli/testdata/runs")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve returns the address of a server of dir.
func serve(t *testing.T, c view.Config) string {
	t.Helper()
	c.Poll = time.Millisecond
	s, err := view.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server.URL
}

// get asks for a page with headers and returns status, body and headers; it does
// not follow redirects.
func get(t *testing.T, url string, headers ...string) (int, string, http.Header) {
	t.Helper()
	return ask(t, http.MethodGet, url, headers...)
}

func ask(t *testing.T, method, url string, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func listing(t *testing.T, url string) view.Listing {
	t.Helper()
	status, body, _ := get(t, url+"/api/runs")
	if status != http.StatusOK {
		t.Fatalf("list: %d %s", status, body)
	}
	var l view.Listing
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func entry(t *testing.T, l view.Listing, id string) view.Entry {
	t.Helper()
	for _, e := range l.Runs {
		if e.ID == id {
			return e
		}
	}
	t.Fatalf("%s is not listed", id)
	return view.Entry{}
}

func TestList(t *testing.T) {
	dir := runs(t)
	l := listing(t, serve(t, view.Config{Dir: dir}))
	if len(l.Runs) != 3 {
		t.Fatalf("%d runs are listed, there are 3", len(l.Runs))
	}
	e := entry(t, l, "after")
	run, err := results.Open(filepath.Join(dir, "after"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Scenario != run.Manifest.Scenario || !e.Started.Equal(run.Manifest.Started) || e.Status != run.Done.Status || e.Broken != "" || e.Live {
		t.Errorf("listed as %+v", e)
	}
	if diff := cmp.Diff(run.Manifest.Variants, e.Variants); diff != "" {
		t.Error(diff)
	}
	var verdicts []string
	c, err := results.Compare([]*results.Run{run}, results.CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range c.Verdicts {
		if v.Primary {
			verdicts = append(verdicts, v.String())
		}
	}
	if diff := cmp.Diff(verdicts, e.Verdicts); diff != "" {
		t.Error(diff)
	}
	for i := 1; i < len(l.Runs); i++ {
		if l.Runs[i].Started.After(l.Runs[i-1].Started) {
			t.Error("the newest run must come first")
		}
	}
}

// What is no run, or no longer one, or not meant to be read must be told as such and
// harm nothing.
func TestHostileDirectories(t *testing.T) {
	dir := runs(t)
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(secret, "manifest.json"), `{"schema":"xmppbench.run/1","scenario":"secret"}`)
	links := map[string]string{
		filepath.Join(dir, "away"):                       secret,
		filepath.Join(dir, "linked", "manifest.json"):    filepath.Join(secret, "manifest.json"),
		filepath.Join(dir, "endless", "manifest.json"):   "/dev/zero",
		filepath.Join(dir, "itself"):                     dir,
		filepath.Join(dir, "unfinished", "summary.json"): filepath.Join(secret, "manifest.json"),
	}
	for link, to := range links {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "unfinished", "manifest.json"), `{"schema":"xmppbench.run/1","scenario":"s"}`)
	write(filepath.Join(dir, "unfinished", "DONE"), `{"status":"ok"}`)
	write(filepath.Join(dir, "newer", "manifest.json"), `{"schema":"xmppbench.run/99"}`)
	write(filepath.Join(dir, "cut", "manifest.json"), `{"schema":"xmppbe`)
	write(filepath.Join(dir, "empty", "readme"), "nothing")
	write(filepath.Join(dir, "a file"), "not a directory")
	markup := `<img src=x onerror=alert(1)>`
	write(filepath.Join(dir, markup, "manifest.json"), `{"schema":"xmppbench.run/1","scenario":"<script>alert(1)</script>"}`)
	numbers := map[string]string{ // damaged ones
		"alpha": `"alpha":2`, "alpha below": `"alpha":-1`, "alpha of nothing": `"alpha":1e-300`, "window": `"window":-1`, "blocks": `"blocks":-3`,
		"limits": `"limits":{"link":1e308}`,
	}
	for id, text := range numbers {
		write(filepath.Join(dir, id, "manifest.json"), `{"schema":"xmppbench.run/1","scenario":"s",`+text+`}`)
		write(filepath.Join(dir, id, "blocks.jsonl"), `{"plan":"p","variant":"v","valid":true,"scalars":{"x":1}}`+"\n")
	}
	for id, text := range map[string]string{"far": "1e300", "near": "5e-324"} {
		write(filepath.Join(dir, id, "manifest.json"), `{"schema":"xmppbench.run/1","scenario":"s"}`)
		write(filepath.Join(dir, id, "blocks.jsonl"), `{"plan":"p","variant":"v","valid":true,"scalars":{"x":`+text+`}}`+"\n"+`{"plan":"p"}`+"\n") // the last line of a run under way may be cut
	}
	huge, err := os.Create(filepath.Join(dir, "cut", "huge"))
	if err != nil {
		t.Fatal(err)
	}
	defer huge.Close()
	if err := os.MkdirAll(filepath.Join(dir, "huge"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "huge", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}

	url := serve(t, view.Config{Dir: dir})
	status, body, _ := get(t, url+"/api/runs")
	if status != http.StatusOK || strings.Contains(body, `"scenario":"secret"`) {
		t.Fatalf("%d %s", status, body)
	}
	if strings.Contains(body, "<") {
		t.Error("the answer holds markup that is not escaped")
	}
	l := listing(t, url)
	for id, reason := range map[string]string{
		"away": "not a directory", "itself": "not a directory", "linked": "not a regular file", "endless": "not a regular file",
		"unfinished": "not a regular file", "newer": "newer than this program", "cut": "manifest.json:1", "empty": "not a run directory", "huge": "at most",
	} {
		if e := entry(t, l, id); !strings.Contains(e.Broken, reason) {
			t.Errorf("%s: %q does not say %q", id, e.Broken, reason)
		}
		for _, path := range []string{"/api/report?run=", "/report?run=", "/api/live?run="} {
			if id == "unfinished" {
				continue // its figures can be read: there are none
			}
			if status, body, _ := get(t, url+path+id); status != http.StatusUnprocessableEntity || strings.Contains(body, "secret") {
				t.Errorf("%s%s: %d %s", path, id, status, body)
			}
		}
	}
	for id, text := range numbers {
		name, _, _ := strings.Cut(strings.TrimPrefix(text, `"`), `"`)
		if e := entry(t, l, id); !strings.Contains(e.Broken, "manifest.json: "+name) {
			t.Errorf("%s: %q does not name %s", id, e.Broken, name)
		}
		for _, path := range []string{"/api/report?run=", "/report?run=", "/api/live?run="} {
			if status, body, _ := get(t, url+path+neturl.QueryEscape(id)); status != http.StatusUnprocessableEntity || !strings.Contains(body, name) {
				t.Errorf("%s%s: %d %s", path, id, status, body)
			}
		}
	}
	for _, id := range []string{"far", "near"} {
		for _, path := range []string{"/api/report?run=", "/report?run="} {
			if status, body, _ := get(t, url+path+id); status != http.StatusUnprocessableEntity || !strings.Contains(body, "blocks.jsonl:1: scalars.x is ") {
				t.Errorf("%s%s: %d %s", path, id, status, body)
			}
		}
	}
	for _, e := range l.Runs {
		if e.ID == "a file" {
			t.Error("a file is listed as a run")
		}
	}
	if e := entry(t, l, markup); e.Broken != "" {
		t.Errorf("a strange name makes a run broken: %s", e.Broken)
	}
	for _, id := range []string{"", ".", "..", "../secret", "%2e%2e", "after%2F..%2F..", "/etc", `..%5C`, "after%00", "nowhere"} {
		for _, path := range []string{"/api/report?run=", "/report?run=", "/api/live?run="} {
			if status, _, _ := get(t, url+path+id); status != http.StatusUnprocessableEntity {
				t.Errorf("%s%s: %d", path, id, status)
			}
		}
	}
}

// A run whose figures are damaged looks whole until somebody asks for them: who does is
// told so on a page, and the list says it from then on, until it is mended.
func TestDamagedFigures(t *testing.T) {
	dir := runs(t)
	url := serve(t, view.Config{Dir: dir})
	file := filepath.Join(dir, "after", "latency.hlog")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(bytes.Clone(whole), "<b>damage</b>\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if e := entry(t, listing(t, url), "after"); e.Broken != "" {
		t.Errorf("before anybody asked: %s", e.Broken)
	}
	status, body, h := get(t, url+"/report?run=after")
	if status != http.StatusUnprocessableEntity || !strings.HasPrefix(h.Get("Content-Type"), "text/html") ||
		!strings.Contains(body, "latency.hlog:") || !strings.Contains(body, "report.css") {
		t.Errorf("the report of a damaged run: %d %s %s", status, h.Get("Content-Type"), body)
	}
	e := entry(t, listing(t, url), "after")
	if !strings.Contains(e.Broken, "latency.hlog:") || e.Scenario == "" {
		t.Errorf("the list says %+v", e)
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := entry(t, listing(t, url), "after"); e.Broken != "" {
		t.Errorf("mended: %s", e.Broken)
	}
	if status, body, _ := get(t, url+"/report?run=after"); status != http.StatusOK {
		t.Errorf("mended: %d %s", status, body)
	}
	// Somebody may ask before anybody has seen the list.
	if err := os.WriteFile(file, append(bytes.Clone(whole), "damage\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := serve(t, view.Config{Dir: dir})
	get(t, fresh+"/report?run=after")
	if e := entry(t, listing(t, fresh), "after"); e.Broken == "" || e.Scenario == "" {
		t.Errorf("asked before the list was: %+v", e)
	}
	// What is too large need not be read to be known.
	if err := os.Truncate(file, 1<<40); err != nil {
		t.Fatal(err)
	}
	if e := entry(t, listing(t, url), "after"); !strings.Contains(e.Broken, "latency.hlog has 1099511627776 bytes, at most") {
		t.Errorf("too large: %q", e.Broken)
	}
	// Names from a request are text on the page.
	if _, body, _ := get(t, url+"/report?run=%3Cimg%3E"); strings.Contains(body, "<img>") || !strings.Contains(body, "&lt;img&gt;") {
		t.Errorf("a name became markup: %s", body)
	}
}

// Runs that are more than is read at a time are refused with what to do.
func TestBudget(t *testing.T) {
	dir := runs(t)
	size, err := results.Size(filepath.Join(dir, "after"))
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, view.Config{Dir: dir, Budget: size + size/2})
	for _, path := range []string{"/report", "/api/report"} {
		if status, body, _ := get(t, url+path+"?run=after"); status != http.StatusOK {
			t.Errorf("%s of one: %d %s", path, status, body)
		}
		status, body, _ := get(t, url+path+"?run=after&run=before")
		if status != http.StatusUnprocessableEntity || !strings.Contains(body, "at a time: choose fewer, or write a report with xmppbench report") {
			t.Errorf("%s of two: %d %s", path, status, body)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := runs(t)
	open := serve(t, view.Config{Dir: dir, Hosts: []string{"bench.example"}})
	for name, c := range map[string]struct {
		want    int
		headers []string
	}{
		"plain":                     {http.StatusOK, nil},
		"another name":              {http.StatusOK, []string{"Host", "bench.example:80"}},
		"IPv6":                      {http.StatusOK, []string{"Host", "[::1]:80"}},
		"name of somebody else":     {http.StatusForbidden, []string{"Host", "evil.example"}},
		"own origin":                {http.StatusOK, []string{"Origin", open}},
		"another origin":            {http.StatusForbidden, []string{"Origin", "http://evil.example"}},
		"another port":              {http.StatusForbidden, []string{"Origin", "http://127.0.0.1:1"}},
		"no origin to speak of":     {http.StatusForbidden, []string{"Origin", "null"}},
		"asked by another site":     {http.StatusForbidden, []string{"Sec-Fetch-Site", "cross-site"}},
		"asked by a neighbour":      {http.StatusForbidden, []string{"Sec-Fetch-Site", "same-site"}},
		"asked by the page":         {http.StatusOK, []string{"Sec-Fetch-Site", "same-origin", "Origin", open}},
		"an address":                {http.StatusForbidden, []string{"Host", "192.0.2.7:80"}},
		"a name that looks like it": {http.StatusForbidden, []string{"Host", "127.0.0.1.evil.example:80"}},
	} {
		if status, body, _ := get(t, open+"/api/runs", c.headers...); status != c.want {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if _, body, _ := get(t, open+"/", "Host", "evil.example"); !strings.Contains(body, "--host") {
		t.Errorf("a name that is not known: %q does not say how it would be", body)
	}
	if status, _, _ := ask(t, http.MethodPost, open+"/api/runs"); status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", status)
	}
	_, _, h := get(t, open+"/")
	if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
}

func TestToken(t *testing.T) {
	const token = "0123456789abcdef"
	url := serve(t, view.Config{Dir: runs(t), Token: token})
	for name, c := range map[string]struct {
		path    string
		want    int
		headers []string
	}{
		"none":         {"/", http.StatusUnauthorized, nil},
		"wrong":        {"/?token=0123456789abcdeg", http.StatusUnauthorized, nil},
		"a part":       {"/?token=0123456789abcde", http.StatusUnauthorized, nil},
		"bearer":       {"/api/runs", http.StatusOK, []string{"Authorization", "Bearer " + token}},
		"an address":   {"/api/runs", http.StatusOK, []string{"Authorization", "Bearer " + token, "Host", "192.0.2.7:8080"}},
		"IPv6":         {"/api/runs", http.StatusOK, []string{"Authorization", "Bearer " + token, "Host", "[2001:db8::7]:8080"}},
		"no address":   {"/api/runs", http.StatusForbidden, []string{"Authorization", "Bearer " + token, "Host", "192.0.2.7.evil.example"}},
		"wrong bearer": {"/api/runs", http.StatusUnauthorized, []string{"Authorization", "Bearer x"}},
		"wrong cookie": {"/api/runs", http.StatusUnauthorized, []string{"Cookie", "xmppbench-view=x"}},
	} {
		if status, body, _ := get(t, url+c.path, c.headers...); status != c.want || strings.Contains(body, token) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	status, _, h := get(t, url+"//evil.example/?token="+token+"&run=after")
	if to := h.Get("Location"); status != http.StatusSeeOther || to != "/evil.example/?run=after" {
		t.Errorf("with the token: %d to %q, which must be on this server and without the token", status, to)
	}
	cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
	for _, attribute := range []string{"HttpOnly", "SameSite=Strict"} {
		if !strings.Contains(h.Get("Set-Cookie"), attribute) {
			t.Errorf("the cookie lacks %s", attribute)
		}
	}
	if status, _, _ := get(t, url+"/api/runs", "Cookie", cookie); status != http.StatusOK {
		t.Errorf("with the cookie: %d", status)
	}
}

func TestCompare(t *testing.T) {
	url := serve(t, view.Config{Dir: runs(t)})
	status, body, _ := get(t, url+"/api/report?run=before&run=after")
	var d results.Document
	if err := json.Unmarshal([]byte(body), &d); err != nil || status != http.StatusOK {
		t.Fatalf("%d %v", status, err)
	}
	if len(d.Runs) != 2 || d.Comparison == nil || d.Comparison.By != "run" || len(d.Comparison.Verdicts) == 0 {
		t.Errorf("compared %d runs: %+v", len(d.Runs), d.Comparison)
	}
	// Another machine's run is refused until it is asked for.
	_, body, _ = get(t, url+"/api/report?run=before&run=elsewhere")
	d = results.Document{}
	if err := json.Unmarshal([]byte(body), &d); err != nil || d.Refused == "" || d.Comparison != nil {
		t.Errorf("runs of different machines: %v %+v", err, d)
	}
	_, body, _ = get(t, url+"/api/report?run=before&run=elsewhere&different=yes")
	d = results.Document{}
	if err := json.Unmarshal([]byte(body), &d); err != nil || d.Comparison == nil {
		t.Errorf("asked for, runs of different machines: %v %s", err, d.Refused)
	}
	if status, _, _ := get(t, url+"/api/report?run="+strings.Repeat("after&run=", 12)+"after"); status != http.StatusUnprocessableEntity {
		t.Errorf("too many runs: %d", status)
	}
}

func TestTrend(t *testing.T) {
	dir := runs(t)
	url := serve(t, view.Config{Dir: dir})
	scenario := listing(t, url).Runs[0].Scenario
	_, body, _ := get(t, url+"/api/trend?scenario="+scenario)
	var trend view.Trend
	if err := json.Unmarshal([]byte(body), &trend); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(filepath.Join(dir, "before"))
	if err != nil {
		t.Fatal(err)
	}
	if trend.Metric != run.Manifest.Primary || len(trend.Metrics) < 2 {
		t.Errorf("the trend is one of %q out of %v", trend.Metric, trend.Metrics)
	}
	want := make(map[string]float64)
	for _, p := range results.Summarize([]*results.Run{run}, results.CompareOptions{}).Runs[0].Plans {
		for _, v := range p.Variants {
			for _, value := range v.Values {
				if value.Name == trend.Metric {
					want[v.Name] = value.Median
				}
			}
		}
	}
	found := 0
	for _, s := range trend.Series {
		for i, p := range s.Points {
			if i > 0 && p.Started.Before(s.Points[i-1].Started) {
				t.Error("points must stand in order of time")
			}
			if p.Run == "before" {
				found++
				if p.Median != want[s.Variant] {
					t.Errorf("%s: %g, the run says %g", s.Variant, p.Median, want[s.Variant])
				}
			}
		}
	}
	if found != len(want) || found == 0 {
		t.Errorf("the run has %d points, its figure %d variants", found, len(want))
	}
}

// A run that is watched while it is written must arrive whole, each line once.
func TestLive(t *testing.T) {
	dir := t.TempDir()
	recorder := results.NewRecorder()
	w, err := results.Create(filepath.Join(dir, "now"), results.Manifest{Scenario: "roster-login", Blocks: 2}, results.Options{
		Recorder: recorder, Interval: time.Millisecond, Figures: func() map[string]float64 { return map[string]float64{"cpu.generator": 1} },
	})
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, view.Config{Dir: dir})
	if e := entry(t, listing(t, url), "now"); !e.Live || e.Status != results.StatusPartial {
		t.Errorf("a run under way is listed as %+v", e)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/live?run=now", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	const samples = 500
	go func() {
		key := results.Key{Plan: "all", Variant: "monolithic"}
		sink := recorder.Sink(key)
		for i := range samples {
			now := time.Now()
			sink.Observe(results.Sample{Metric: "ready", Intended: now, Start: now, End: now.Add(time.Second)})
			if i%100 == 0 {
				w.Block(results.Block{Key: results.Key{Plan: "all", Variant: "monolithic", Block: i / 100}, Valid: true})
				time.Sleep(2 * time.Millisecond)
			}
		}
		if err := w.Close(results.StatusOK); err != nil {
			t.Error(err)
		}
	}()
	var all results.Update
	var n int64
	ended := ""
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	kind := ""
	for lines.Scan() {
		if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = k
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if kind == "end" {
			ended = data
			continue
		}
		var u results.Update
		if err := json.Unmarshal([]byte(data), &u); err != nil {
			t.Fatal(err)
		}
		all.Blocks = append(all.Blocks, u.Blocks...)
		all.Seconds = append(all.Seconds, u.Seconds...)
		for _, l := range u.Latencies {
			n += l.N
			if l.Metric != "ready" || l.Max < 0.99 || l.Max > 1.01 {
				t.Errorf("%+v", l)
			}
		}
	}
	if n != samples || len(all.Blocks) != 5 || len(all.Seconds) == 0 {
		t.Errorf("%d samples, %d blocks, %d seconds arrived; %d, 5 and some were written", n, len(all.Blocks), len(all.Seconds), samples)
	}
	for i, b := range all.Blocks {
		if b.Block != i {
			t.Errorf("block %d arrived in the place of %d", b.Block, i)
		}
	}
	if !strings.Contains(ended, `"status":"ok"`) {
		t.Errorf("it ended with %q", ended)
	}
}

func TestNoDirectory(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), "view_test.go"} {
		if _, err := view.New(view.Config{Dir: dir}); err == nil {
			t.Errorf("%s: no error", dir)
		}
	}
}
