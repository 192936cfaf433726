package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/xmppbench/xmppbench/scenarios"
)

// progress shows how far a run is. Its methods may be called concurrently.
type progress interface {
	show(scenarios.Progress)
	// note prints a line that stays.
	note(elapsed time.Duration, text string)
	close()
}

// newProgress draws a bar on a terminal and prints lines elsewhere.
func newProgress(mode string, w io.Writer) progress {
	if mode == "auto" {
		mode = "plain"
		if isTerminal(w) && os.Getenv("TERM") != "dumb" {
			mode = "bar"
		}
	}
	switch mode {
	case "none":
		return silent{}
	case "bar":
		return newBar(w)
	}
	return &plain{w: w}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth is the width of w in columns, 0 if it is not a terminal.
func terminalWidth(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

type silent struct{}

func (silent) show(scenarios.Progress)    {}
func (silent) note(time.Duration, string) {}
func (silent) close()                     {}

// plainInterval is the least time between two lines that say nothing new.
const plainInterval = 10 * time.Second

// plain prints a line for each block, and more only when blocks are long.
type plain struct {
	w io.Writer

	mu    sync.Mutex
	block string
	last  time.Time
}

func (p *plain) note(elapsed time.Duration, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s  %s\n", clock(elapsed), text)
}

func (p *plain) show(s scenarios.Progress) {
	if s.Note != "" {
		p.note(s.Elapsed, s.Note)
	}
	block := where(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if block == p.block && (s.Note != "" || time.Since(p.last) < plainInterval) {
		return // a note is news enough
	}
	if block == p.block {
		block += ", " + s.Arm
	} else {
		p.block = block
	}
	p.last = time.Now()
	if now := liveText(s.Live); now != "" {
		block += ", " + now
	}
	fmt.Fprintf(p.w, "%s  %s, %s left\n", clock(s.Elapsed), block, roundDuration(s.Expected-s.Elapsed))
}

func (p *plain) close() {}

// where names the block that runs.
func where(s scenarios.Progress) string {
	if s.Step != "" {
		return s.Step
	}
	text := fmt.Sprintf("block %d/%d", s.Block, s.Blocks)
	if s.Warmup {
		text = "warm-up"
	}
	if s.Plan != "all" {
		text = s.Plan + ", " + text
	}
	return text
}

// liveText says how the cell under way does: rate, p99, failures, and whether the
// generator is late.
func liveText(l *scenarios.Live) string {
	if l == nil {
		return ""
	}
	text := fmt.Sprintf("%.3g/s", l.Rate)
	if l.P99.OK {
		text += ", p99 " + l.P99.String()
	}
	if l.Failed > 0 {
		text += fmt.Sprintf(", %d failed", l.Failed)
	}
	if l.Late {
		text += ", LATE"
	}
	return text
}

// clock writes a duration as minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%3d:%02d", s/60, s%60)
}

// roundDuration leaves out what nobody wants to know.
func roundDuration(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return max(d, 0).Round(100 * time.Millisecond)
	case d < time.Hour:
		return d.Round(time.Second)
	}
	return d.Round(time.Minute)
}

// bar draws one line at the bottom of a terminal; notes scroll above it.
type bar struct {
	container *mpb.Progress
	bar       *mpb.Bar
	width     int // of the terminal, in columns

	mu    sync.Mutex
	state scenarios.Progress
}

func newBar(w io.Writer) *bar {
	b := &bar{
		container: mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithRefreshRate(200*time.Millisecond)),
		width:     cmp.Or(terminalWidth(w), textWidth),
	}
	text := func(f func(scenarios.Progress) string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return f(b.state)
		})
	}
	b.bar = b.container.New(0, mpb.BarStyle(),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(text(func(s scenarios.Progress) string { return clock(s.Elapsed) + " " + where(s) + " " })),
		mpb.AppendDecorators(text(func(s scenarios.Progress) string {
			text := " " + s.Arm
			if now := liveText(s.Live); now != "" {
				text += ", " + now
			}
			return fmt.Sprintf("%s, %s left", text, roundDuration(s.Expected-s.Elapsed))
		})),
	)
	return b
}

func (b *bar) show(s scenarios.Progress) {
	b.mu.Lock()
	b.state = s
	b.mu.Unlock()
	if s.Note != "" {
		b.note(s.Elapsed, s.Note)
	}
	b.bar.SetTotal(int64(s.TotalCells)+1, false)
	b.bar.SetCurrent(int64(s.Cells))
}

func (b *bar) note(elapsed time.Duration, text string) {
	at := clock(elapsed) + "  "
	// A bar that is gone has no place for notes; the run's events hold them.
	_, _ = fmt.Fprintln(b.container, at+wrap(text, len(at), b.width))
}

func (b *bar) close() {
	b.bar.Abort(true)
	b.container.Wait()
}
