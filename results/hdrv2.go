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

// contents sums up what was decoded: the ends are those of the buckets.
type contents struct {
	n        int64
	sum      float64
	min, max int64
}

// add decodes text and adds its counts to h; a nil h only checks the text.
func (d *decoder) add(text string, h *Histogram) (contents, error) { return d.walk(text, h, nil) }

// walk is add that also calls each, unless that is nil, with the upper end of every
// occupied bucket, smallest first, and the number of values in it.
func (d *decoder) walk(text string, h *Histogram, each func(high, n int64)) (contents, error) {
	var got contents
	payload, g, err := d.open(text)
	if err == nil {
		got, err = g.addCounts(payload, h, each)
	}
	if err != nil || h == nil || got.n == 0 {
		return got, err
	}
	h.sum += got.sum
	h.min, h.max = min(h.min, got.min), max(h.max, got.max)
	return got, nil
}

// mustAdd decodes what has been checked before.
func (d *decoder) mustAdd(text string, h *Histogram) contents { return d.mustWalk(text, h, nil) }

// mustWalk is walk over what has been checked before.
func (d *decoder) mustWalk(text string, h *Histogram, each func(high, n int64)) contents {
	got, err := d.walk(text, h, each)
	if err != nil {
		panic("results: checked histogram does not decode: " + err.Error())
	}
	return got
}

// open unpacks text. The payload is good until the next call.
func (d *decoder) open(text string) ([]byte, geometry, error) {
	fail := func(err error) ([]byte, geometry, error) { return nil, geometry{}, err }
	if len(text) > maxEncoded {
		return fail(fmt.Errorf("histogram of %d bytes, at most %d are read", len(text), maxEncoded))
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fail(fmt.Errorf("histogram: %w", err))
	}
	if len(raw) < 8 || binary.BigEndian.Uint32(raw)&cookieMask != cookieCompressed {
		return fail(errors.New("not a histogram in compressed V2 form"))
	}
	if n := binary.BigEndian.Uint32(raw[4:]); int64(n) != int64(len(raw)-8) {
		return fail(fmt.Errorf("histogram of %d bytes names its length as %d", len(raw)-8, n))
	}
	d.text.Reset(raw[8:])
	if d.z == nil {
		d.z, err = zlib.NewReader(&d.text)
	} else {
		err = d.z.(zlib.Resetter).Reset(&d.text, nil)
	}
	if err != nil {
		d.z = nil // A reader that failed to start cannot be reset.
		return fail(fmt.Errorf("histogram: %w", err))
	}
	var head [40]byte
	if _, err := io.ReadFull(d.z, head[:]); err != nil {
		return fail(fmt.Errorf("histogram header: %w", err))
	}
	g, err := parseGeometry(head)
	if err != nil {
		return fail(err)
	}
	size := binary.BigEndian.Uint32(head[4:])
	if int64(size) > int64(g.buckets)*9 { // One varint of at most nine bytes a bucket.
		return fail(fmt.Errorf("histogram of %d buckets names a payload of %d bytes", g.buckets, size))
	}
	if cap(d.payload) <= int(size) {
		d.payload = make([]byte, size+1)
	}
	// One byte more than named: reading to the end checks the checksum too.
	n, err := io.ReadFull(d.z, d.payload[:size+1])
	ended := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
	if !ended || n != int(size) {
		return fail(fmt.Errorf("histogram payload does not end after the %d bytes it names", size))
	}
	return d.payload[:size], g, nil
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
func (g geometry) addCounts(payload []byte, h *Histogram, each func(high, n int64)) (contents, error) {
	var got contents
	for i := 0; len(payload) > 0; {
		v, n := zigzag(payload)
		if n <= 0 {
			return contents{}, errors.New("histogram payload is cut inside a count")
		}
		payload = payload[n:]
		if v < 0 {
			if v < -int64(g.buckets-i) {
				return contents{}, errors.New("histogram payload runs past the last bucket")
			}
			i += int(-v)
			continue
		}
		if i >= g.buckets {
			return contents{}, errors.New("histogram payload runs past the last bucket")
		}
		if v > 0 {
			if v > maxValues || got.n+v > maxValues {
				return contents{}, fmt.Errorf("histogram of more than %d values", int64(maxValues))
			}
			low, high := min(g.value(i), highestValue), min(g.value(i+1)-1, highestValue)
			if got.n == 0 {
				got.min = low
			}
			got.n, got.max = got.n+v, high
			got.sum += float64(v) * (float64(low) + float64(high)) / 2
			if each != nil {
				each(high, v)
			}
			if h != nil {
				if err := h.hdr.RecordValues(low, v); err != nil {
					return contents{}, fmt.Errorf("histogram: %w", err)
				}
			}
		}
		i++
	}
	return got, nil
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
	h := NewHistogram()
	if _, err := new(decoder).add(s, h); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return h, nil
}
