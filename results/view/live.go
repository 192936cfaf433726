package view

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// watch sends what a run writes as server-sent events: one of the kind "update" with
// all that was written so far, one each time there is more, and "end" when the run has
// ended or stopped to be readable. Each connection is told all from the beginning.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	dir, err := s.place(r.URL.Query().Get("run"))
	if err != nil {
		fail(w, err)
		return
	}
	select {
	case s.live <- struct{}{}:
		defer func() { <-s.live }()
	default:
		http.Error(w, fmt.Sprintf("%d runs are being watched: close some pages", maxLive), http.StatusServiceUnavailable)
		return
	}
	f, err := results.Follow(dir)
	if err != nil {
		fail(w, err)
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	_, _ = fmt.Fprint(w, "retry: 1000\n\n") // milliseconds until a browser that was cut off asks again
	ticker := time.NewTicker(s.config.Poll)
	defer ticker.Stop()
	for {
		u, err := f.Next()
		if err != nil {
			sendEvent(w, "end", problem{err.Error()})
			return
		}
		if u.Done != nil || len(u.Seconds)+len(u.Blocks)+len(u.Events)+len(u.Latencies) > 0 {
			sendEvent(w, "update", u)
		} else {
			_, _ = fmt.Fprint(w, ": nothing new\n\n") // so that a browser that has gone is noticed
		}
		if u.Done != nil {
			sendEvent(w, "end", u.Done)
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

// sendEvent writes one event; a write that fails shows when it is flushed.
func sendEvent(w http.ResponseWriter, kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(problem{err.Error()}) // a string always marshals
	}
	_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, b)
}
