package session

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/pbkdf2"
	"mellium.im/sasl"
)

// TestScramVectors holds the client against the exchanges printed in RFC 5802 §5 and RFC 7677 §3.
func TestScramVectors(t *testing.T) {
	tests := map[string]struct {
		hash                                   scramHash
		nonce                                  string
		first, serverFirst, final, serverFinal string
	}{
		"RFC 5802": {
			hash: sha1Hash(), nonce: "fyko+d2lbbFgONRv9qkxdawL",
			first:       "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			serverFirst: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			final:       "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			serverFinal: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		"RFC 7677": {
			hash: sha256Hash(), nonce: "rOprNGfwEbeRWgbNEkqO",
			first:       "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			final:       "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client := func() *scram {
				return &scram{hash: tt.hash, user: "user", password: "pencil", nonce: tt.nonce, binding: binding{flag: "n"}, maxIterations: 4096}
			}
			s := client()
			first, done, err := s.start()
			if string(first) != tt.first || done || err != nil {
				t.Fatalf("first message %q, %v, %v", first, done, err)
			}
			final, done, err := s.next([]byte(tt.serverFirst))
			if string(final) != tt.final || done || err != nil {
				t.Fatalf("final message %q, %v, %v", final, done, err)
			}
			if rest, done, err := s.next([]byte(tt.serverFinal)); len(rest) != 0 || !done || err != nil {
				t.Fatalf("after the server's final message %q, %v, %v", rest, done, err)
			}
			if _, _, err := s.next(nil); err == nil {
				t.Error("a message after the last one is accepted")
			}
			for _, bad := range []string{"", "v=", "v=AAAA", tt.serverFinal + "x", "e=other-error", "x=" + tt.serverFinal} {
				s := client()
				s.start()
				s.next([]byte(tt.serverFirst))
				if _, _, err := s.next([]byte(bad)); err == nil {
					t.Errorf("final message %q of the server is accepted", bad)
				}
			}
		})
	}
}

func TestScramFirstMessage(t *testing.T) {
	for _, bad := range []string{
		"", "x", "r=other1,s=QSXCR+Q6sek8bf92,i=4096", "r=abc,s=QSXCR+Q6sek8bf92,i=4096", "r=abcd,i=4096", "r=abcd,s=,i=4096",
		"r=abcd,s=QSXCR+Q6sek8bf92", "r=abcd,s=QSXCR+Q6sek8bf92,i=0", "r=abcd,s=QSXCR+Q6sek8bf92,i=-1", "r=abcd,s=QSXCR+Q6sek8bf92,i=4097",
		"r=abcd,s=QSXCR+Q6sek8bf92,i=99999999999999999999", "r=abcd,s=!,i=1", "m=x,r=abcd,s=QSXCR+Q6sek8bf92,i=4096", "r=abcd,s=QSXCR+Q6sek8bf92,i=4096,",
	} {
		s := &scram{hash: sha1Hash(), user: "user", password: "pencil", nonce: "abc", binding: binding{flag: "n"}, maxIterations: 4096}
		s.start()
		if answer, _, err := s.next([]byte(bad)); err == nil {
			t.Errorf("first message %q of the server is answered with %q", bad, answer)
		}
	}
	s := &scram{user: "a=b,c", nonce: "x", binding: binding{flag: "n"}}
	if first, _, _ := s.start(); string(first) != "n,,n=a=3Db=2Cc,r=x" {
		t.Errorf("first message %q", first)
	}
}

// TestScramAgainstLibrary runs the client against an independent server.
func TestScramAgainstLibrary(t *testing.T) {
	for _, m := range []sasl.Mechanism{sasl.ScramSha1, sasl.ScramSha256} {
		for _, password := range []string{"pencil", "wrong"} {
			t.Run(m.Name+"/"+password, func(t *testing.T) {
				h := sha256Hash()
				if m.Name == ScramSHA1 {
					h = sha1Hash()
				}
				salt := []byte("salt of this user")
				server := sasl.NewServer(m, nil, sasl.SaltedCredentials(func(user, _ []byte, _ string) ([]byte, []byte, int64, error) {
					if string(user) != "juliet" {
						t.Errorf("user %q", user)
					}
					return salt, pbkdf2.Key([]byte("pencil"), salt, 64, h.size, h.new), 64, nil
				}))
				client := &scram{hash: h, user: "juliet", password: password, nonce: newNonce(), binding: binding{flag: "n"}, maxIterations: 64, cache: new(KeyCache)}
				message, _, _ := client.start()
				_, challenge, err := server.Step(message)
				if err != nil {
					t.Fatal(err)
				}
				message, _, err = client.next(challenge)
				if err != nil {
					t.Fatal(err)
				}
				_, challenge, err = server.Step(message)
				if (err == nil) != (password == "pencil") {
					t.Fatalf("server says %v to password %q", err, password)
				}
				if err != nil {
					return
				}
				if _, done, err := client.next(challenge); err != nil || !done {
					t.Errorf("client: %v, done %v", err, done)
				}
			})
		}
	}
}

func TestKeyCache(t *testing.T) {
	var c KeyCache
	get := func(user, password, salt string, iterations int) scramKeys {
		t.Helper()
		k, err := c.keys(sha256Hash(), user, password, []byte(salt), iterations)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := get("u", "p", "salt", 10)
	for range 3 {
		if again := get("u", "p", "salt", 10); string(again.client) != string(first.client) {
			t.Error("another key from the cache")
		}
	}
	if c.Derivations() != 1 {
		t.Errorf("%d derivations of one key", c.Derivations())
	}
	for i, other := range []scramKeys{get("u", "q", "salt", 10), get("u", "p", "pepper", 10), get("u", "p", "salt", 11)} {
		if string(other.client) == string(first.client) {
			t.Errorf("change %d gives the same key", i)
		}
	}
	if c.Derivations() != 4 || c.Len() != 1 {
		t.Errorf("%d derivations, %d entries; want 4 and 1", c.Derivations(), c.Len())
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if _, err := c.keys(sha1Hash(), fmt.Sprint("user", j%5), "p", []byte("salt"), 1+i%2); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if c.Len() != 6 {
		t.Errorf("%d entries, want 6", c.Len())
	}
}

func TestPrepare(t *testing.T) {
	for in, want := range map[string]string{
		"user": "user", "USER": "USER", "": "", "I\u00ADX": "IX", "\u00AA": "a", "\u2168": "IX", "a\u00A0b": "a b", "pässwörd": "pässwörd", "a\u030A": "å",
	} {
		if got, err := prepare("password", in); got != want || err != nil {
			t.Errorf("%q becomes %q, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"\u0007", "a\x00", "a\xffb", "\uE000", "\u202E", "\uFFFD", "\u2028"} {
		got, err := prepare("password", bad)
		if err == nil {
			t.Errorf("%q becomes %q", bad, got)
		} else if strings.Contains(err.Error(), bad) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestChannelBindingRefused(t *testing.T) {
	if _, _, err := channelBinding(nil); err == nil {
		t.Error("channel binding without TLS")
	}
	if _, _, err := channelBinding(&tls.ConnectionState{Version: tls.VersionTLS12}); err == nil {
		t.Error("channel binding without tls-unique data")
	}
	c := credentials{nonce: newNonce}
	_, _, err := c.choose(wish{mechanisms: []string{ScramSHA1Plus}}, offer{mechanisms: []string{ScramSHA1Plus}})
	if m := new(MechanismError); !errors.As(err, &m) || !strings.Contains(m.Reason, "needs TLS") {
		t.Errorf("got %v", err)
	}
	if _, _, err := c.choose(wish{mechanisms: []string{"X-OURS"}}, offer{mechanisms: []string{"X-OURS"}}); err == nil {
		t.Error("an unknown mechanism is used")
	}
}

// FuzzScram gives the client any first and last message: it never panics, and never believes a server that does not
// know the password.
func FuzzScram(f *testing.F) {
	f.Add([]byte("r=nonceX,s=QSXCR+Q6sek8bf92,i=1"), []byte("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="))
	f.Add([]byte("m=1,r=nonceX"), []byte("e=invalid-proof"))
	f.Add([]byte(""), []byte(""))
	f.Fuzz(func(t *testing.T, first, last []byte) {
		s := &scram{hash: sha1Hash(), user: "u", password: "p", nonce: "nonce", binding: binding{flag: "n"}, maxIterations: 8}
		s.start()
		if _, _, err := s.next(first); err != nil {
			return
		}
		want := "v=" + base64.StdEncoding.EncodeToString(s.signature)
		if _, done, err := s.next(last); err == nil && done && !strings.HasPrefix(string(last), want) {
			got, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.SplitN(string(last), ",", 2)[0], "v="))
			if string(got) != string(s.signature) {
				t.Errorf("server's %q is accepted", last)
			}
		}
	})
}
