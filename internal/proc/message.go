package proc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds one message on the control pipe, in bytes: encoded histograms of a long run fit many times over, and a peer gone
// mad cannot fill the memory.
const maxLine = 64 << 20

// request is one line from parent to child. The first line carries only the configuration.
type request struct {
	ID     uint64          `json:"id,omitempty"`
	Config json.RawMessage `json:"config,omitempty"`
	Method string          `json:"method,omitempty"`
	In     json.RawMessage `json:"in,omitempty"`
	// Cancel names a call whose caller no longer waits.
	Cancel uint64 `json:"cancel,omitempty"`
}

// response is one line from child to parent. ID 0 answers the configuration.
type response struct {
	ID    uint64          `json:"id"`
	Out   json.RawMessage `json:"out,omitempty"`
	Error string          `json:"error,omitempty"`
}

// lines reads messages, one a line. It keeps no more than a small buffer between them:
// the memory of children is measured, and one long message would stay in it.
type lines struct{ r *bufio.Reader }

func newLines(r io.Reader) *lines { return &lines{bufio.NewReader(r)} }

// next decodes the next line into v. It returns io.EOF at the end of the stream.
func (l *lines) next(v any) error {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
			line, err = l.r.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	switch {
	case len(line) > maxLine:
		return fmt.Errorf("message longer than %d bytes", maxLine)
	case err != nil && !errors.Is(err, io.EOF), len(line) == 0:
		return err
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("malformed message: %w", err)
	}
	return nil
}

// appendLine encodes v as one line.
func appendLine(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(line, '\n'), nil
}
