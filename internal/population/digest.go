package population

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Digest sums up a set of roster items, so that two sets can be compared without
// keeping either. It does not depend on the order of items, nor on that of the
// groups of an item. The zero value is the digest of the empty roster. Digests
// are comparable with ==.
//
// It is the sum, in two lanes modulo 2^64, of the first 16 bytes of the SHA-256
// of each item. An item is hashed as the length-prefixed (unsigned varint) bytes
// of jid, name and subscription, one byte for ask, and each group in byte order,
// length-prefixed as well.
type Digest struct {
	count  int
	hi, lo uint64
}

// Add puts an item into the set.
func (d *Digest) Add(it Item) {
	hi, lo := itemSum(it.JID, it.Name, it.Subscription, it.Ask, it.Groups)
	d.count, d.hi, d.lo = d.count+1, d.hi+hi, d.lo+lo
}

// AddBytes puts an item into the set, for a reader that holds its parts as
// unescaped bytes. No part is kept. It allocates nothing for items of ordinary
// size. An absent name equals an empty one, an absent subscription is "none".
func (d *Digest) AddBytes(jid, name, subscription []byte, ask bool, groups [][]byte) {
	hi, lo := itemSum(jid, name, subscription, ask, groups)
	d.count, d.hi, d.lo = d.count+1, d.hi+hi, d.lo+lo
}

// Remove takes an item out that was added before, exactly as it was added.
func (d *Digest) Remove(it Item) {
	hi, lo := itemSum(it.JID, it.Name, it.Subscription, it.Ask, it.Groups)
	d.count, d.hi, d.lo = d.count-1, d.hi-hi, d.lo-lo
}

// Count returns the number of items in the set.
func (d Digest) Count() int { return d.count }

// Equal reports whether both digests are of the same set.
func (d Digest) Equal(o Digest) bool { return d == o }

// String returns the count and the sum in hexadecimal, as "1000:0123…", which
// ParseDigest reads.
func (d Digest) String() string { return fmt.Sprintf("%d:%016x%016x", d.count, d.hi, d.lo) }

// ParseDigest reads the form that String writes.
func ParseDigest(s string) (Digest, error) {
	bad := fmt.Errorf("population: %q is not a digest: want a count, a colon and 32 hexadecimal digits", s)
	count, sum, ok := strings.Cut(s, ":")
	if !ok || len(sum) != 32 {
		return Digest{}, bad
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return Digest{}, bad
	}
	hi, err := strconv.ParseUint(sum[:16], 16, 64)
	if err != nil {
		return Digest{}, bad
	}
	lo, err := strconv.ParseUint(sum[16:], 16, 64)
	if err != nil {
		return Digest{}, bad
	}
	return Digest{count: n, hi: hi, lo: lo}, nil
}

func itemSum[T ~string | ~[]byte](jid, name, subscription T, ask bool, groups []T) (hi, lo uint64) {
	var room [512]byte
	b := appendField(room[:0], jid)
	b = appendField(b, name)
	if len(subscription) == 0 {
		b = appendField(b, "none")
	} else {
		b = appendField(b, subscription)
	}
	if ask {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	var few [8]T
	sorted := append(few[:0], groups...)
	slices.SortFunc(sorted, compare[T])
	for _, g := range sorted {
		b = appendField(b, g)
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])
}

// compare orders by bytes. A conversion to string would allocate here, where the
// compiler cannot see that it is only compared.
func compare[T ~string | ~[]byte](x, y T) int {
	for i := range min(len(x), len(y)) {
		if c := cmp.Compare(x[i], y[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

func appendField[T ~string | ~[]byte](dst []byte, field T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(field)))
	return append(dst, field...)
}

// Expected returns the digest of the roster of member i, which holds its count:
// what a client must have received when it has the whole roster.
func (p *Population) Expected(i int) Digest {
	var d Digest
	for it := range p.Items(i) {
		d.Add(it)
	}
	return d
}
