package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// handshakeTimeout bounds how long a client may take over the TLS handshake.
const handshakeTimeout = 10 * time.Second

// acceptPause is how long nothing is accepted after a failure.
const acceptPause = 10 * time.Millisecond

// WebOptions say where a [Web] server listens. The zero value is free ports of 127.0.0.1.
type WebOptions struct {
	// HTTPS and HTTP are the addresses, "host:port", of the two listeners.
	HTTPS, HTTP string
}

// A Web server has pages for any number of host names, over HTTPS and plain HTTP/1.1 alike. Over HTTPS it has a certificate for each
// host, chosen by server name indication; a host without one gets no handshake done. It may be used concurrently.
//
// Everything that a page can do wrong is part of [Page].
type Web struct {
	https, http net.Listener
	servers     []*http.Server
	serving     sync.WaitGroup
	life        context.Context // ends with Close
	end         context.CancelFunc

	mu           sync.Mutex
	certificates map[string]*tls.Certificate // by host
	pages        map[string]Page             // by host and path
	requests     map[string]uint64           // by host and path
	counts       WebCounts
}

// WebCounts are what a [Web] server has seen.
type WebCounts struct {
	Connections uint64 // accepted, over TLS or not
	Handshakes  uint64 // of TLS, brought to an end
	Resumed     uint64 // of these, with a session ticket
	Failed      uint64 // handshakes that were not brought to an end
	Requests    uint64 // of HTTP, whatever the answer was
}

// A Page is what a path of a host answers to GET and HEAD. The zero value is an empty one.
type Page struct {
	// Status is the status code. Left out, it is 200, or 302 with Location.
	Status int
	// Type is the Content-Type. Left out, it is application/json.
	Type string
	// Header holds further fields.
	Header http.Header
	// Location makes the page a redirect to this URI.
	Location string
	// Body is the content.
	Body []byte
	// Wait is how long the answer takes to begin.
	Wait time.Duration
	// Slow is a pause before each octet of the body.
	Slow time.Duration
	// Fill is how many blanks stand before the body, however many that are.
	Fill int64
	// Cut closes the connection in the middle of the body.
	Cut bool
	// Close closes the connection after the answer.
	Close bool
}

// NewWeb starts a server. The context bounds the start alone; end the server with [Web.Close].
func NewWeb(ctx context.Context, opts WebOptions) (*Web, error) {
	w := &Web{certificates: make(map[string]*tls.Certificate), pages: make(map[string]Page), requests: make(map[string]uint64)}
	var err error
	if w.https, err = listen(ctx, opts.HTTPS); err != nil {
		return nil, err
	}
	if w.http, err = listen(ctx, opts.HTTP); err != nil {
		return nil, errors.Join(err, w.https.Close())
	}
	w.life, w.end = context.WithCancel(context.WithoutCancel(ctx))
	secured := &tlsListener{Listener: w.https, web: w, ready: make(chan net.Conn)}
	secured.config = &tls.Config{GetCertificate: w.certificate, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	w.serving.Go(secured.accept)
	for _, l := range []net.Listener{secured, &countingListener{w.http, w}} {
		// What a client did wrong is told to the client; the server has nobody to tell.
		s := &http.Server{Handler: w, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: handshakeTimeout}
		w.servers = append(w.servers, s)
		w.serving.Go(func() { _ = s.Serve(l) }) // it ends with Close
	}
	return w, nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("lab: web server on %s: %w", addr, err)
	}
	return l, nil
}

// Addr returns "host:port" of the HTTPS listener.
func (w *Web) Addr() string { return w.https.Addr().String() }

// PlainAddr returns "host:port" of the HTTP listener.
func (w *Web) PlainAddr() string { return w.http.Addr().String() }

// DialContext connects to this server whatever host is named: to the HTTP listener if the port is 80, to the HTTPS listener
// otherwise. It takes the place of a dialer in clients that are to find all hosts here.
func (w *Web) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("lab: web server: %w", err)
	}
	addr = w.Addr()
	if port == "80" {
		addr = w.PlainAddr()
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, addr)
}

// Close ends the server at once and waits for its goroutines. A second call does nothing.
func (w *Web) Close() error {
	if w.life.Err() != nil {
		return nil
	}
	w.end()
	var errs []error
	for _, s := range w.servers {
		errs = append(errs, s.Close())
	}
	w.serving.Wait()
	return errors.Join(errs...)
}

// SetCertificate gives a host its certificate, in place of an earlier one. The host name "" stands for all that have none.
func (w *Web) SetCertificate(host string, c tls.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.certificates[strings.ToLower(host)] = &c
}

// SetPage puts a page at a path of a host, in place of an earlier one.
func (w *Web) SetPage(host, path string, p Page) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[strings.ToLower(host)+path] = p
}

// RemovePage takes a page away again; the path answers 404.
func (w *Web) RemovePage(host, path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pages, strings.ToLower(host)+path)
}

// Counts returns what has been seen so far.
func (w *Web) Counts() WebCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts
}

// Requests returns how often a path of a host has been asked for, whether there is a page or not.
func (w *Web) Requests(host, path string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[strings.ToLower(host)+path]
}

func (w *Web) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range []string{strings.ToLower(hello.ServerName), ""} {
		if c := w.certificates[host]; c != nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("lab: web server: no certificate for %q", hello.ServerName)
}

func (w *Web) count(f func(*WebCounts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.counts)
}

// ServeHTTP implements [http.Handler].
func (w *Web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	key := strings.ToLower(host) + r.URL.Path
	w.mu.Lock()
	w.counts.Requests++
	w.requests[key]++
	page, ok := w.pages[key]
	w.mu.Unlock()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		page = Page{Status: http.StatusMethodNotAllowed}
	case !ok:
		page = Page{Status: http.StatusNotFound}
	}
	if !w.pause(r.Context(), page.Wait) {
		panic(http.ErrAbortHandler)
	}
	w.send(out, r, page)
}

// send writes a page. Errors of writing mean that the client has gone.
func (w *Web) send(out http.ResponseWriter, r *http.Request, page Page) {
	header := out.Header()
	for name, values := range page.Header {
		header[name] = values
	}
	if page.Type == "" {
		page.Type = "application/json"
	}
	header.Set("Content-Type", page.Type)
	if page.Location != "" {
		header.Set("Location", page.Location)
		if page.Status == 0 {
			page.Status = http.StatusFound
		}
	}
	if page.Status == 0 {
		page.Status = http.StatusOK
	}
	if page.Close {
		header.Set("Connection", "close")
	}
	header.Set("Content-Length", fmt.Sprint(page.Fill+int64(len(page.Body))))
	out.WriteHeader(page.Status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.CopyN(out, blanks{}, page.Fill); err != nil {
		return
	}
	if page.Cut {
		page.Body = page.Body[:len(page.Body)/2]
	}
	if page.Slow == 0 {
		_, _ = out.Write(page.Body)
	} else {
		flush := http.NewResponseController(out)
		for i := range page.Body {
			if !w.pause(r.Context(), page.Slow) {
				panic(http.ErrAbortHandler)
			}
			if _, err := out.Write(page.Body[i : i+1]); err != nil || flush.Flush() != nil {
				return
			}
		}
	}
	if page.Cut {
		_ = http.NewResponseController(out).Flush()
		panic(http.ErrAbortHandler)
	}
}

// pause waits, and reports whether there is a reason to go on.
func (w *Web) pause(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-w.life.Done():
	}
	return false
}

// blanks is an endless row of them.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// A countingListener counts what it accepts.
type countingListener struct {
	net.Listener
	web *Web
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.web.count(func(c *WebCounts) { c.Connections++ })
	}
	return conn, err
}

// A tlsListener accepts connections whose handshake is done, so that each is counted by its outcome. net/http does the handshake
// itself otherwise and tells nobody.
type tlsListener struct {
	net.Listener
	web    *Web
	config *tls.Config
	ready  chan net.Conn
}

// accept runs until the listener is closed.
func (l *tlsListener) accept() {
	accepting := &countingListener{l.Listener, l.web}
	for {
		conn, err := accepting.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// As net/http does: a lack of descriptors passes.
			l.web.pause(l.web.life, acceptPause)
			continue
		}
		l.web.serving.Go(func() { l.handshake(conn) })
	}
}

func (l *tlsListener) handshake(conn net.Conn) {
	secured := tls.Server(conn, l.config)
	ctx, cancel := context.WithTimeout(l.web.life, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		l.web.count(func(c *WebCounts) { c.Failed++ })
		_ = conn.Close()
		return
	}
	l.web.count(func(c *WebCounts) {
		c.Handshakes++
		if secured.ConnectionState().DidResume {
			c.Resumed++
		}
	})
	select {
	case l.ready <- secured:
	case <-l.web.life.Done():
		_ = conn.Close()
	}
}

// Accept implements [net.Listener].
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case <-l.web.life.Done():
		return nil, net.ErrClosed
	}
}
