package roster

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// This file is the client side that both chunked variants share.

// chunkedQuery returns the query around a request. One that resumes names the
// epoch of the first attempt; its version is in the cursor.
func (f *fetch) chunkedQuery(req chunk.Request) []byte {
	b := []byte("<query xmlns='" + wire.NSRosterX + "'")
	switch {
	case req.After != "" && f.r.Epoch != "":
		b = wire.AppendAttr(b, "epoch", f.r.Epoch)
	case req.After != "":
		b = wire.AppendAttr(b, "epoch", f.o.Resume.Epoch)
	case f.o.Have.Known:
		b = wire.AppendAttr(b, "epoch", f.o.Have.Epoch)
		b = wire.AppendAttr(b, "ver", strconv.FormatUint(f.o.Have.Version, 10))
	}
	b = req.Append(append(b, '>'))
	return append(b, "</query>"...)
}

// mode takes the attributes of the first answer.
func (f *fetch) mode(mode, epoch, ver string) error {
	v, err := parseUint(ver)
	if err != nil {
		return fmt.Errorf("ver of the answer: %w", err)
	}
	switch mode {
	case modeFull, modeDelta, modeNone, modeResume:
	default:
		return fmt.Errorf("answer of unknown mode %q", mode)
	}
	if mode == modeResume != (f.o.Resume.Cursor != "") || (mode == modeNone || mode == modeDelta) && !f.o.Have.Known {
		return fmt.Errorf("answer of mode %s to a request that does not allow it", mode)
	}
	f.r.Mode, f.r.Epoch, f.r.Version = mode, epoch, v
	if f.o.Map != nil {
		return f.o.Map.begin(epoch, mode)
	}
	return nil
}

// ending takes the version that ends a retrieval out of its last stanza.
func (f *fetch) ending(st *wire.Stanza) error {
	tag := lastTag(st.Frame, "<complete ", wire.NSRosterX)
	ver, err := parseUint(wire.AttrString(tag, "ver"))
	if err != nil {
		return fmt.Errorf("last stanza without the version that it completes: %w", err)
	}
	if epoch := wire.AttrString(tag, "epoch"); epoch != f.r.Epoch {
		return fmt.Errorf("completed in epoch %q, begun in %q", epoch, f.r.Epoch)
	}
	f.r.Version = ver
	return nil
}

func (f *fetch) completeAt(epoch string, ver uint64, at time.Time) {
	f.r.Epoch, f.r.Version = epoch, ver
	if f.o.Map != nil {
		f.o.Map.complete(epoch, ver)
	}
	f.complete(at)
}

// lastTag returns the last start tag that begins so and has this namespace, or
// nil. It looks from the end: what is sought stands behind the items.
func lastTag(frame []byte, begin, ns string) []byte {
	for end := len(frame); ; {
		i := bytes.LastIndex(frame[:end], []byte(begin))
		if i < 0 {
			return nil
		}
		end = i
		length := bytes.IndexByte(frame[i:], '>')
		if length < 0 {
			continue
		}
		tag := frame[i : i+length+1]
		if got, ok := wire.Attr(tag, "xmlns"); ok && string(got) == ns {
			return tag
		}
	}
}

// detectChunked tells what a server did with a chunked request.
func detectChunked(p Params, r Result, err error) Answer {
	switch {
	case err != nil:
		return failed(err)
	case p.State == StateUnchanged && r.Mode != modeNone:
		return Answer{Ignored, "the roster came although nothing had changed"}
	case p.State == StateStale && r.Mode == modeFull:
		return Answer{Ignored, "the whole roster came instead of what had changed"}
	}
	return Answer{Verdict: Spoken}
}

// isExpired reports whether an error answer says that the cursor is unknown.
func isExpired(e *wire.Element) bool {
	return e.Child("", "error").Child(wire.NSChunk, "cursor-expired") != nil
}
