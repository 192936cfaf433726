package proc

import (
	"io"
	"strings"
	"testing"
)

// Lines are read whole however long they are, and nothing of a long one is kept.
func TestLines(t *testing.T) {
	long := strings.Repeat("x", 300_000)
	l := newLines(strings.NewReader(`{"method":"a"}` + "\n" + `{"method":"` + long + `"}` + "\r\n" + `{"method":"last"}`))
	for _, want := range []string{"a", long, "last"} {
		var r request
		if err := l.next(&r); err != nil || r.Method != want {
			t.Fatalf("read %.20q of %d bytes, error %v, want %.20q of %d", r.Method, len(r.Method), err, want, len(want))
		}
	}
	if n := l.r.Size(); n > 8<<10 {
		t.Errorf("%d bytes of buffer stay", n)
	}
	if err := l.next(&request{}); err != io.EOF { //nolint:errorlint // next promises io.EOF itself.
		t.Errorf("at the end: %v, want io.EOF", err)
	}
	for input, want := range map[string]string{"\n": "malformed message", "{\n": "malformed message", strings.Repeat("y", maxLine+1): "message longer than"} {
		if err := newLines(strings.NewReader(input)).next(&request{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
