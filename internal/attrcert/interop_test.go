//go:build interop

package attrcert_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/golden"
)

// These tests need a JDK, BouncyCastle and OpenSSL: Debian's default-jdk-headless, libbcprov-java, libbcpkix-java and openssl. What is
// missing is a failure.

const (
	jars = "/usr/share/java/bcprov.jar:/usr/share/java/bcpkix.jar:/usr/share/java/bcutil.jar"
	from = -time.Hour
	to   = time.Hour
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func peer(t *testing.T, command, dir string) string {
	t.Helper()
	seconds := func(d time.Duration) string { return strconv.FormatInt(noon.Add(d).Unix(), 10) }
	return run(t, "java", "-cp", jars, foreign+"/Peer.java", command, dir, seconds(from), seconds(to))
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// store writes the certificates of a world, without any key.
func (w *world) store(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]*identity{"root": w.root, "intermediate": w.intermediate, "owner": w.owner, "provider": w.provider} {
		write(t, filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Raw}))
	}
}

func storeKey(t *testing.T, name string, key crypto.Signer) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// What BouncyCastle issues is verified here.
func TestBouncyCastleIssues(t *testing.T) {
	dir := t.TempDir()
	for _, keys := range keyKinds() {
		w := newWorld(t, keys)
		w.store(t, filepath.Join(dir, keys))
		storeKey(t, filepath.Join(dir, keys, "owner.key"), w.owner.key)
	}
	peer(t, "issue", dir)
	for _, keys := range keyKinds() {
		t.Run(keys, func(t *testing.T) { checkForeign(t, filepath.Join(dir, keys)) })
	}
	if !golden.Update() || t.Failed() {
		return
	}
	for _, keys := range keyKinds() {
		if err := os.Remove(filepath.Join(dir, keys, "owner.key")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(foreign, keys)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(foreign, keys), os.DirFS(filepath.Join(dir, keys))); err != nil {
			t.Fatal(err)
		}
	}
}

// What is issued here BouncyCastle verifies, and reads as it was meant.
func TestBouncyCastleVerifies(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name   string
		change func(*attrcert.Template)
		want   string
	}{
		{"certificate.der", func(t *attrcert.Template) { t.HolderForm = attrcert.ByCertificate },
			"holder=publicKeyCert attribute=" + delegationOID + "[a1.example]:c0/6 noRevAvail"},
		{"crl.der", func(t *attrcert.Template) { t.CRL = crlURL },
			"holder=publicKey attribute=" + delegationOID + "[a1.example]:c0/6 crl=" + crlURL},
		{"issuer-serial.der", func(t *attrcert.Template) { t.HolderForm = attrcert.ByIssuerSerial },
			"holder=baseCertificateID attribute=" + delegationOID + "[a1.example]:c0/6 noRevAvail"},
		{"ocsp.der", func(t *attrcert.Template) { t.OCSP = ocspURL },
			"holder=publicKey attribute=" + delegationOID + "[a1.example]:c0/6 ocsp=" + ocspURL},
		{"public-key.der", func(*attrcert.Template) {},
			"holder=publicKey attribute=" + delegationOID + "[a1.example]:c0/6 noRevAvail"},
		{"rights.der", func(t *attrcert.Template) {
			t.Domains, t.Rights = []string{domain, "xn--bcher-kva.example"}, attrcert.SendAs|attrcert.Subdomains
		}, "holder=publicKey attribute=" + delegationOID + "[a1.example, xn--bcher-kva.example]:a0/5 noRevAvail"},
		{"targeted.der", func(t *attrcert.Template) { t.Targets = []string{verifier, "provider-c.example"} },
			"holder=publicKey attribute=" + delegationOID + "[a1.example]:c0/6 noRevAvail target=" + verifier + " target=provider-c.example"},
	}
	var want strings.Builder
	for _, keys := range []string{"ed25519", "p256", "rsa"} {
		w := newWorld(t, keys)
		w.store(t, filepath.Join(dir, keys))
		serials := []*big.Int{big.NewInt(128), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1))}
		for i, tt := range tests {
			serial := serials[i%2]
			write(t, filepath.Join(dir, keys, tt.name), w.issue(t, func(t *attrcert.Template) {
				t.NotBefore, t.NotAfter, t.Serial = noon.Add(from), noon.Add(to), serial
				tt.change(t)
			}))
			want.WriteString(keys + "/" + tt.name + ": serial=" + serial.String() + " " + tt.want + "\n")
		}
		write(t, filepath.Join(dir, keys, "some.crl"), w.crl(t, 4, 128))
		// Names stand in the order of the alphabet there.
		want.WriteString(keys + "/some.crl: revoked=[4, 128]\n")
	}
	lines := func(s string) map[string]string {
		m := map[string]string{}
		for line := range strings.Lines(s) {
			name, rest, _ := strings.Cut(line, ": ")
			m[name] = rest
		}
		return m
	}
	if d := cmp.Diff(lines(want.String()), lines(peer(t, "check", dir))); d != "" {
		t.Error(d)
	}
}

// The tree that OpenSSL sees.
func TestOpenSSL(t *testing.T) {
	w := newWorld(t, "ed25519")
	dir := t.TempDir()
	name := filepath.Join(dir, "ac.der")
	write(t, name, w.issue(t, func(t *attrcert.Template) {
		t.NotBefore, t.NotAfter, t.Serial = noon.Add(from), noon.Add(to), big.NewInt(255)
		t.Targets = []string{verifier}
	}))
	line := regexp.MustCompile(`^ *\d+:d=(\d+) +hl=\d+ +l= *\d+ +(?:prim|cons): +([A-Za-z]+(?: STRING)?|cont \[ \d+ \])\s*(.*)$`)
	var got []string
	for l := range strings.Lines(run(t, "openssl", "asn1parse", "-inform", "DER", "-in", name)) {
		parts := line.FindStringSubmatch(strings.TrimRight(l, "\n"))
		if parts == nil {
			t.Fatalf("openssl says %q", l)
		}
		depth, err := strconv.Atoi(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		value := parts[3]
		if strings.HasPrefix(value, "[HEX DUMP]") {
			value = "" // keys and hashes
		}
		got = append(got, strings.TrimRight(strings.Repeat("  ", depth)+parts[2]+" "+value, " "))
	}
	want := readTestdata(t, "testdata/asn1parse.txt")
	if d := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); d != "" {
		t.Error(d)
	}

	list := filepath.Join(dir, "list.crl")
	write(t, list, w.crl(t, 255))
	said := run(t, "openssl", "crl", "-inform", "DER", "-in", list, "-noout", "-text")
	for _, want := range []string{"Issuer: CN = a1.example", "Serial Number: FF", "Signature Algorithm: ED25519"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}
