package results

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxEncoded bounds the base64 text of one histogram. A histogram of this
// package with every bucket in use stays below 256 KiB.
const maxEncoded = 512 << 10

// DecodeHistogram reads HdrHistogram's compressed V2 form, base64, as found in
// an interval log. It refuses histograms whose geometry (range, digits) needs
// more memory than this package's own, because the text may come from anywhere.
func DecodeHistogram(s string) (*Histogram, error) {
	if err := checkGeometry(s); err != nil {
		return nil, fmt.Errorf("results: histogram: %w", err)
	}
	h, err := hdrhistogram.Decode([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("results: histogram: %w", err)
	}
	return wrapHistogram(h), nil
}

// checkGeometry looks at the header only: the decoder allocates all buckets of
// the geometry that the header names before it sees a single count.
func checkGeometry(s string) error {
	if len(s) > maxEncoded {
		return fmt.Errorf("%d bytes of text, at most %d are read", len(s), maxEncoded)
	}
	raw := base64.NewDecoder(base64.StdEncoding, bytes.NewReader([]byte(s)))
	var outer [8]byte
	if _, err := io.ReadFull(raw, outer[:]); err != nil {
		return errors.New("text ends before the histogram begins")
	}
	z, err := zlib.NewReader(raw)
	if err != nil {
		return err
	}
	defer z.Close()
	var head [40]byte // cookie, payload length, offset, digits, lowest, highest, ratio
	if _, err := io.ReadFull(z, head[:]); err != nil {
		return errors.New("header cut short")
	}
	d := int32(binary.BigEndian.Uint32(head[12:]))
	low := int64(binary.BigEndian.Uint64(head[16:]))
	high := int64(binary.BigEndian.Uint64(head[24:]))
	if d < 0 || d > digits || low < 1 || high < 2*low || high > 24*highestValue {
		return fmt.Errorf("range %d to %d with %d digits is not one of ours", low, high, d)
	}
	return nil
}
