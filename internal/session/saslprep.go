package session

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// prepare applies SASLprep (RFC 4013) to a name or a password: SCRAM hashes the prepared form, so both ends must
// arrive at the same bytes. what names the string in an error, which never shows the string itself.
func prepare(what, s string) (string, error) {
	if isPlainASCII(s) {
		return s, nil
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("session: the %s is not valid UTF-8", what)
	}
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r != ' ' && unicode.Is(unicode.Zs, r), r == '\u200B': // RFC 3454 C.1.2
			return ' '
		case mapsToNothing(r):
			return -1
		}
		return r
	}, s)
	out := norm.NFKC.String(mapped)
	for _, r := range out {
		if unicode.In(r, unicode.Cc, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Noncharacter_Code_Point, r) ||
			(unicode.Is(unicode.Cf, r) && r != '\u00AD') || r == utf8.RuneError {
			return "", fmt.Errorf("session: the %s holds %U, which SASLprep (RFC 4013 §2.3) prohibits", what, r)
		}
	}
	return out, nil
}

func isPlainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// mapsToNothing is table B.1 of RFC 3454.
func mapsToNothing(r rune) bool {
	switch {
	case r == '\u00AD', r == '\u034F', r == '\u1806', r == '\u2060', r == '\uFEFF',
		r >= '\u180B' && r <= '\u180D', r >= '\u200C' && r <= '\u200D', r >= '\uFE00' && r <= '\uFE0F':
		return true
	}
	return false
}
