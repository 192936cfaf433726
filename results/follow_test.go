package results

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// A follower that sees a run grow by pieces of any size must find each line once,
// and in the end what Open finds.
func TestFollowByPieces(t *testing.T) {
	whole := t.TempDir()
	synctest.Test(t, func(t *testing.T) { writeRun(t, filepath.Join(whole, "run"), closeOK(t)) })
	whole = filepath.Join(whole, "run")
	want, err := Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{1 << 20, 1000, 61} {
		dir := t.TempDir()
		copyFile(t, whole, dir, fileManifest)
		f, err := Follow(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got Update
		var samples int64
		next := func() {
			u, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			got.Seconds = append(got.Seconds, u.Seconds...)
			got.Blocks = append(got.Blocks, u.Blocks...)
			got.Events = append(got.Events, u.Events...)
			for _, l := range u.Latencies {
				if l.Metric == "probe" {
					samples += l.N
					if l.Lateness < 0.0009 || l.Lateness > 0.0011 {
						t.Errorf("lateness %g, planned was 1 ms", l.Lateness)
					}
				}
			}
			got.Done = u.Done
		}
		for _, name := range []string{fileSeries, fileBlocks, fileEvents, fileLatency} {
			grow(t, whole, dir, name, piece, next)
		}
		if got.Done != nil {
			t.Error("a run without an end is said to have ended")
		}
		copyFile(t, whole, dir, fileDone)
		next()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if got.Done == nil || got.Done.Status != StatusOK {
			t.Errorf("pieces of %d: the end is %+v", piece, got.Done)
		}
		if diff := cmp.Diff(want.Blocks, got.Blocks); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want.Series, got.Seconds); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want.Events, got.Events); diff != "" {
			t.Error(diff)
		}
		if n := want.Timings("probe", Filter{}).Of(Response).N(); samples != n {
			t.Errorf("pieces of %d: %d samples of %d", piece, samples, n)
		}
	}
}

func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, name), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// grow appends a file by pieces and calls after behind each.
func grow(t *testing.T, from, to, name string, piece int, after func()) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(to, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for len(b) > 0 {
		n := min(piece, len(b))
		if _, err := f.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		after()
	}
}

func TestFollowDamage(t *testing.T) {
	manifest := `{"schema":"xmppbench.run/1"}`
	for name, c := range map[string]struct{ file, first, then, want string }{
		"not JSON":      {fileSeries, "{}\n", "{}\n{]\n", "series.jsonl: at byte 3"},
		"shorter":       {fileBlocks, "{}\n{}\n", "{}\n", "shorter than it was"},
		"no interval":   {fileLatency, "", "Tag=x\n", "latency.hlog: at byte 0"},
		"endless line":  {fileEvents, "", strings.Repeat("x", maxLine+1), "has a line of more than"},
		"end not JSON":  {fileDone, "", "{", "DONE:1"},
		"odd histogram": {fileLatency, "", "Tag=ready/service/p/v/0,1,1,1,HISTFAAAACt4\n", "latency.hlog"},
	} {
		dir := t.TempDir()
		put := func(file, text string) {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(fileManifest, manifest)
		f, err := Follow(dir)
		if err != nil {
			t.Fatal(err)
		}
		if c.first != "" {
			put(c.file, c.first)
			if _, err := f.Next(); err != nil {
				t.Errorf("%s: at first: %v", name, err)
			}
		}
		put(c.file, c.then)
		if _, err := f.Next(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", name, err, c.want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Follow(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a run directory") {
		t.Errorf("an empty directory: %v", err)
	}
}

func FuzzFollow(f *testing.F) {
	f.Add("Tag=ready/service/p/v/0,1,1,1,HISTFAAAACt42pJpmSzMwMDAwgABzFCakYGB2c1gxwIG+w8QgbtdTEyAAAAA//9lEQW6\n", `{"time":"2026-11-23T09:05:19Z"}`+"\n", 7)
	f.Fuzz(func(t *testing.T, latency, series string, cut int) {
		dir := t.TempDir()
		put := func(file, text string) {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(fileManifest, `{"schema":"xmppbench.run/1"}`)
		cut = max(0, min(cut, len(latency)))
		put(fileLatency, latency[:cut])
		put(fileSeries, series)
		fl, err := Follow(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer fl.Close()
		if _, err := fl.Next(); err != nil {
			return
		}
		put(fileLatency, latency)
		first, err := fl.Next()
		if err != nil {
			return
		}
		if len(first.Seconds) > 0 {
			t.Error("a line came twice")
		}
		if again, err := fl.Next(); err == nil && len(again.Latencies)+len(again.Seconds) > 0 {
			t.Error("a line came twice")
		}
	})
}
