package results

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxEncoded bounds the base64 text of one histogram. A histogram of this
// package with every bucket in use stays below it.
const maxEncoded = 512 << 10

// maxValues bounds the values of one encoded histogram, so that the sum over all
// lines of the largest log that is read stays within an int64.
const maxValues = 1 << 36

// Cookies of the V2 encoding. The second lowest byte varies by implementation.
const (
	cookieMask       = ^uint32(0xf0)
	cookieCompressed = 0x1c849304 & cookieMask
	cookieV2         = 0x1c849303 & cookieMask
)

// decoder reads histograms in V2 form. The library's own decoder allocates the
// buckets of whatever geometry the text names, and a fresh set for each
// interval; this one adds the counts to a histogram that exists, which bounds
// the memory and makes opening a long run an order of magnitude faster. The
// zero value is ready. It is not safe for concurrent use.
type decoder struct {
	text    bytes.Reader
	z       io.ReadCloser
	payload []byte
}

// add decodes text and adds its counts to h; a nil h only checks the text. It
// returns the number of values.
func (d *decoder) add(text string, h *hdrhistogram.Histogram) (int64, error) {
	if len(text) > maxEncoded {
		return 0, fmt.Errorf("histogram of %d bytes, at most %d are read", len(text), maxEncoded)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return 0, fmt.Errorf("histogram: %w", err)
	}
	if len(raw) < 8 || binary.BigEndian.Uint32(raw)&cookieMask != cookieCompressed {
		return 0, errors.New("not a histogram in compressed V2 form")
	}
	if n := binary.BigEndian.Uint32(raw[4:]); uint64(n) != uint64(len(raw)-8) {
		return 0, fmt.Errorf("histogram of %d bytes names its length as %d", len(raw)-8, n)
	}
	d.text.Reset(raw[8:])
	if d.z == nil {
		d.z, err = zlib.NewReader(&d.text)
	} else {
		err = d.z.(zlib.Resetter).Reset(&d.text, nil)
	}
	if err != nil {
		d.z = nil // A reader that failed to start cannot be reset.
		return 0, fmt.Errorf("histogram: %w", err)
	}
	var head [40]byte
	if _, err := io.ReadFull(d.z, head[:]); err != nil {
		return 0, fmt.Errorf("histogram header: %w", err)
	}
	g, err := parseGeometry(head)
	if err != nil {
		return 0, err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if int64(size) > int64(g.buckets)*9 { // One varint of at most nine bytes a bucket.
		return 0, fmt.Errorf("histogram of %d buckets names a payload of %d bytes", g.buckets, size)
	}
	if cap(d.payload) <= int(size) {
		d.payload = make([]byte, size+1)
	}
	// One byte more than named: reading to the end checks the checksum too.
	n, err := io.ReadFull(d.z, d.payload[:size+1])
	if !errors.Is(err, io.ErrUnexpectedEOF) && !(errors.Is(err, io.EOF) && size == 0) || n != int(size) {
		return 0, fmt.Errorf("histogram payload does not end after the %d bytes it names", size)
	}
	return g.addCounts(d.payload[:size], h)
}

// geometry is how bucket numbers map to values.
type geometry struct {
	unit, half uint // magnitudes of the unit and of half a sub-bucket range
	buckets    int
}

func parseGeometry(head [40]byte) (geometry, error) {
	if binary.BigEndian.Uint32(head[:])&cookieMask != cookieV2 {
		return geometry{}, errors.New("histogram payload is not in V2 form")
	}
	offset := binary.BigEndian.Uint32(head[8:])
	significant := binary.BigEndian.Uint32(head[12:])
	low := binary.BigEndian.Uint64(head[16:])
	high := binary.BigEndian.Uint64(head[24:])
	if offset != 0 || significant > digits || low < 1 || low > math.MaxInt32 || high < 2*low || high > 24*uint64(highestValue) {
		return geometry{}, fmt.Errorf("histogram with range %d to %d, %d digits and offset %d is not one of ours", low, high, significant, offset)
	}
	largest := 2 * math.Pow10(int(significant)) // values told apart one by one
	subBuckets := uint(math.Ceil(math.Log2(largest)))
	g := geometry{unit: uint(math.Floor(math.Log2(float64(low)))), half: max(subBuckets, 1) - 1}
	bands := 1
	for untracked := uint64(1) << (g.half + 1 + g.unit); untracked <= high; untracked <<= 1 {
		bands++
	}
	g.buckets = (bands + 1) << g.half
	return g, nil
}

// addCounts walks the zig-zag varints: a positive one is the count of the next
// bucket, a negative one skips as many buckets.
func (g geometry) addCounts(payload []byte, h *hdrhistogram.Histogram) (int64, error) {
	var total int64
	for i := 0; len(payload) > 0; {
		v, n := zigzag(payload)
		if n <= 0 {
			return 0, errors.New("histogram payload is cut inside a count")
		}
		payload = payload[n:]
		if v < 0 {
			if v < -int64(g.buckets-i) {
				return 0, errors.New("histogram payload runs past the last bucket")
			}
			i += int(-v)
			continue
		}
		if i >= g.buckets {
			return 0, errors.New("histogram payload runs past the last bucket")
		}
		if v > 0 {
			if total += v; v > maxValues || total > maxValues {
				return 0, fmt.Errorf("histogram of more than %d values", int64(maxValues))
			}
			if h != nil {
				if err := h.RecordValues(min(g.value(i), highestValue), v); err != nil {
					return 0, fmt.Errorf("histogram: %w", err)
				}
			}
		}
		i++
	}
	return total, nil
}

// value is the lowest value of bucket i.
func (g geometry) value(i int) int64 {
	band, sub := i>>g.half-1, i&(1<<g.half-1)+1<<g.half
	if band < 0 {
		band, sub = 0, sub-1<<g.half
	}
	return int64(sub) << (uint(band) + g.unit)
}

// zigzag reads the variant of LEB128 that HdrHistogram uses: eight groups of
// seven bits, the ninth byte whole.
func zigzag(b []byte) (int64, int) {
	var u uint64
	for i := range min(len(b), 9) {
		if i == 8 {
			u |= uint64(b[i]) << 56
			return int64(u>>1) ^ -int64(u&1), 9
		}
		u |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return int64(u>>1) ^ -int64(u&1), i + 1
		}
	}
	return 0, 0
}

// DecodeHistogram reads HdrHistogram's compressed V2 form, base64, as found in
// an interval log. It refuses histograms of more than three digits or a range
// beyond a day, because the text may come from anywhere; values over an hour
// become an hour.
func DecodeHistogram(s string) (*Histogram, error) {
	h := hdrhistogram.New(lowestValue, highestValue, digits)
	if _, err := new(decoder).add(s, h); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return wrapHistogram(h), nil
}
