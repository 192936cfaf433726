package provision

import (
	"bufio"
	"io"
)

// printer writes text piece by piece. The first error sticks: nothing is written
// after it, and flush returns it.
type printer struct{ b *bufio.Writer }

func newPrinter(w io.Writer) printer { return printer{bufio.NewWriterSize(w, 64<<10)} }

func (p printer) put(s string) { _, _ = p.b.WriteString(s) }

// space returns an empty slice to append to and to write, with the room that is
// left in the buffer.
func (p printer) space() []byte { return p.b.AvailableBuffer() }

func (p printer) write(text []byte) { _, _ = p.b.Write(text) }

func (p printer) flush() error { return p.b.Flush() }
