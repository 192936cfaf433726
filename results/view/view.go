// Package view serves a directory of runs as a web page: a list with filters,
// reports, comparisons, trends, and runs under way. It reads and never writes.
package view

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/xmppbench/xmppbench/results"
)

//go:embed page
var page embed.FS

// Config says which runs are served, and to whom.
type Config struct {
	// Dir holds the run directories.
	Dir string
	// Hosts are names, beside those of loopback addresses, by which a browser may
	// ask for the page. A request for any other name is refused: it would come from
	// a page that had its name resolved to this machine.
	Hosts []string
	// Token, if not empty, must come with each request: as the parameter "token" of
	// the first one, which leaves a cookie, or as a bearer token (RFC 6750). Then the
	// page may be asked for by any IP address too: these are not resolved.
	Token string
	// Metrics is the table of metrics; nil means [results.Metrics].
	Metrics []results.Metric
	// Poll is how often a run under way is looked at; 0 means each second.
	Poll time.Duration
	// Budget bounds the bytes of runs that are read for all requests together: a
	// request waits until there is room for its runs, and is refused if there never
	// is. 0 means [DefaultBudget].
	Budget int64
}

// DefaultBudget is enough for one run of the largest files that [results.Open] reads,
// in bytes.
const DefaultBudget = 3 << 30

// leastRead is what a request counts for at least, in bytes: reading takes memory and
// time of its own.
const leastRead = 64 << 20

// Server serves the page. It is an [http.Handler], and safe for concurrent use.
type Server struct {
	config Config
	mux    *http.ServeMux
	live   chan struct{}       // one element for each run that is being watched
	room   *semaphore.Weighted // bytes of runs

	mu    sync.Mutex
	heads map[string]cachedHead
}

// maxLive bounds the connections that watch runs.
const maxLive = 32

// New returns a server of the runs in a directory. An error means that there is no
// such directory.
func New(c Config) (*Server, error) {
	about, err := os.Stat(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	if !about.IsDir() {
		return nil, fmt.Errorf("view: %s is not a directory", c.Dir)
	}
	if c.Metrics == nil {
		c.Metrics = results.Metrics()
	}
	if c.Poll <= 0 {
		c.Poll = time.Second
	}
	if c.Budget <= 0 {
		c.Budget = DefaultBudget
	}
	s := &Server{
		config: c, mux: http.NewServeMux(), live: make(chan struct{}, maxLive), room: semaphore.NewWeighted(c.Budget),
		heads: make(map[string]cachedHead),
	}
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	s.mux.Handle("GET /", http.FileServerFS(files))
	s.mux.Handle("GET /web/", http.StripPrefix("/web/", http.FileServerFS(results.Web())))
	s.mux.HandleFunc("GET /api/runs", s.list)
	s.mux.HandleFunc("GET /api/trend", s.trend)
	s.mux.HandleFunc("GET /api/report", s.document)
	s.mux.HandleFunc("GET /api/live", s.watch)
	s.mux.HandleFunc("GET /report", s.report)
	return s, nil
}

// ServeHTTP answers one request. Requests that another site has made the browser
// send, and those without the token, are refused.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if err := s.admit(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	if s.config.Token != "" {
		if given := r.URL.Query().Get("token"); given != "" && sameToken(given, s.config.Token) {
			s.remember(w, r)
			return
		}
		if !s.knows(r) {
			h.Set("WWW-Authenticate", `Bearer realm="xmppbench view"`)
			http.Error(w, "the token is missing or wrong: open the address that xmppbench view printed", http.StatusUnauthorized)
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// admit refuses what no page of this server asks for: names that are not of this
// machine, and requests that begin at another site.
func (s *Server) admit(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if !s.known(host) {
		return fmt.Errorf("%q is not a name of this server: if it is meant to be one, start xmppbench view with it as --host", host)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return errors.New("the request comes from another site")
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return nil
	}
	return errors.New("the request comes from another site")
}

func (s *Server) known(host string) bool {
	ip := net.ParseIP(host)
	if strings.EqualFold(host, "localhost") || ip != nil && (ip.IsLoopback() || s.config.Token != "") {
		return true
	}
	return slices.ContainsFunc(s.config.Hosts, func(h string) bool { return h != "" && strings.EqualFold(h, host) })
}

// cookie holds the token from the first request on.
const cookie = "xmppbench-view"

// remember takes the token out of the address, where it would be seen and saved.
func (s *Server) remember(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: s.config.Token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}) // #nosec G124 -- The page is served without TLS.
	q := r.URL.Query()
	q.Del("token")
	to := url.URL{Path: "/" + strings.TrimLeft(r.URL.Path, "/"), RawQuery: q.Encode()}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

func (s *Server) knows(r *http.Request) bool {
	if c, err := r.Cookie(cookie); err == nil && sameToken(c.Value, s.config.Token) {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && sameToken(given, s.config.Token)
}

// sameToken compares in a time that tells nothing of the token, its length included.
func sameToken(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// place returns the directory of the run called id. A name that is not that of an
// entry of the served directory, or a link that leads out of it, is refused.
func (s *Server) place(id string) (string, error) {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, `/\`) || !filepath.IsLocal(id) {
		return "", fmt.Errorf("%q is not the name of a run", id)
	}
	dir := filepath.Join(s.config.Dir, id)
	about, err := os.Lstat(dir) // #nosec G703 -- one name, as checked above
	if err != nil {
		return "", fmt.Errorf("there is no run %q", id)
	}
	if !about.IsDir() {
		return "", fmt.Errorf("%q is not a directory", id)
	}
	return dir, nil
}

// asked opens the runs that a request names, and waits until there is room for them.
// What it returns must be called when they are no longer needed.
func (s *Server) asked(r *http.Request) (runs []*results.Run, done func(), err error) {
	ids := r.URL.Query()["run"]
	if len(ids) == 0 || len(ids) > maxCompared {
		return nil, nil, fmt.Errorf("name 1 to %d runs", maxCompared)
	}
	var dirs []string
	var size int64
	for _, id := range ids {
		dir, err := s.place(id)
		if err != nil {
			return nil, nil, err
		}
		n, err := results.Size(dir)
		if err != nil {
			return nil, nil, err
		}
		dirs = append(dirs, dir)
		size += n
	}
	if size > s.config.Budget {
		return nil, nil, fmt.Errorf("these runs have %d MiB, and this page reads at most %d MiB at a time: choose fewer, or write a report with xmppbench report",
			size>>20, s.config.Budget>>20)
	}
	takes := min(max(size, leastRead), s.config.Budget)
	if err := s.room.Acquire(r.Context(), takes); err != nil {
		return nil, nil, err
	}
	done = func() { s.room.Release(takes) }
	for i, dir := range dirs {
		run, err := s.open(ids[i], dir)
		if err != nil {
			done()
			return nil, nil, err
		}
		runs = append(runs, run)
	}
	return runs, done, nil
}

// open opens a run, and notes for the list that it cannot be read.
func (s *Server) open(id, dir string) (*results.Run, error) {
	known := s.head(id, time.Now())
	run, err := results.Open(dir)
	// With too many files open nothing is wrong with this one.
	if err != nil && known.entry.Broken == "" && !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
		known.entry.Broken, known.entry.Live = reason(err), false
		s.mu.Lock()
		defer s.mu.Unlock()
		s.heads[id] = known
	}
	return run, err
}

// maxCompared bounds the runs of one comparison.
const maxCompared = 12

// compare reads how the runs of a request are to be compared.
func (s *Server) compare(r *http.Request) results.CompareOptions {
	q := r.URL.Query()
	return results.CompareOptions{
		By: q.Get("by"), Baseline: q.Get("baseline"), Metrics: s.config.Metrics, AllowDifferent: q.Get("different") == "yes",
	}
}

// document answers with what a report of the runs says.
func (s *Server) document(w http.ResponseWriter, r *http.Request) {
	runs, done, err := s.asked(r)
	if err != nil {
		fail(w, err)
		return
	}
	defer done()
	answer(w, results.Summarize(runs, s.compare(r)))
}

// report answers with the report itself, which is a page of its own and says what it
// may load.
func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	runs, done, err := s.asked(r)
	if err != nil {
		failPage(w, err)
		return
	}
	defer done()
	var b bytes.Buffer
	if err := results.Report(&b, runs, "html", results.ReportOptions{Compare: s.compare(r)}); err != nil {
		failPage(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The page brings a policy of its own, which knows its scripts.
	w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	_, _ = w.Write(b.Bytes()) // a browser that has gone needs no answer
}

func answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // a browser that has gone needs no answer
}

// problem is an error as the page reads it.
type problem struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnprocessableEntity)
	b, _ := json.Marshal(problem{reason(err)}) // a string always marshals
	_, _ = w.Write(b)
}

//go:embed problem.html
var problemPage string

// failPage is fail for whoever followed a link.
func failPage(w http.ResponseWriter, err error) {
	var b bytes.Buffer
	t := template.Must(template.New("problem").Parse(problemPage)) // The page is part of this package.
	if err := t.Execute(&b, reason(err)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusUnprocessableEntity)
	_, _ = w.Write(b.Bytes()) // a browser that has gone needs no answer
}

// reason is an error as the page shows it.
func reason(err error) string { return strings.TrimPrefix(err.Error(), "results: ") }
