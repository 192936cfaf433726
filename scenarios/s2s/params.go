package s2s

import (
	"fmt"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/setting"
)

// Param describes one setting of a variant.
type Param = setting.Param

// Unauth says what happens to a stanza that its stream has no authority for. It is
// never delivered.
type Unauth string

// The ways.
const (
	// UnauthClose ends the stream, as RFC 6120 §8.1.1.2 and §8.1.2.2 say: one wrong
	// stanza costs all domains on it.
	UnauthClose Unauth = "close-rfc6120"
	// UnauthBounce returns the stanza and keeps the stream, up to a hundred of them.
	// It deviates from RFC 6120 on purpose: others live on the stream.
	UnauthBounce Unauth = "bounce"
)

// Params are the settings of all variants, typed. Each variant uses those that its
// table and [Common] name; the others are zero.
type Params struct {
	TLS        string `json:"tls"`                  // starttls, direct or none
	TLSMax     string `json:"tls-max"`              // 1.2 or 1.3
	Curves     string `json:"curves"`               // default, x25519 or p256
	Resumption bool   `json:"resumption,omitempty"` // TLS session tickets
	Unauth     Unauth `json:"unauth"`

	Pool        int    `json:"pool,omitempty"`        // streams between two providers, each way where they are one-way
	Streams     string `json:"streams,omitempty"`     // StreamsOne or StreamsTwo
	Verify      string `json:"verify,omitempty"`      // VerifyReverse or VerifySeparate
	VerifyTLS   bool   `json:"verify-tls,omitempty"`  // TLS on streams that only verify
	Granularity string `json:"granularity,omitempty"` // GrainPair or GrainDomain
	Overlap     bool   `json:"overlap,omitempty"`     // POSH: fetch beside the connection
	Usage       string `json:"usage,omitempty"`       // DANE: dane-ee or pkix-ee

	Mode       string        `json:"mode,omitempty"`       // of shared-attrcert
	Batch      int           `json:"batch,omitempty"`      // domains in one assertion
	Window     int           `json:"window,omitempty"`     // assertions in flight
	Binding    bool          `json:"binding,omitempty"`    // assertions bound to the TLS channel
	Revocation string        `json:"revocation,omitempty"` // short or crl
	Skew       time.Duration `json:"skew,omitempty"`       // of clocks, in verifying attribute certificates
	WWW        bool          `json:"www-fallback,omitempty"`
}

// Values of settings.
const (
	TLSStart  = "starttls"
	TLSDirect = "direct"
	TLSNone   = "none"

	StreamsOne = "one"
	StreamsTwo = "two"

	VerifyReverse  = "reverse"
	VerifySeparate = "separate"

	UsageDANE = "dane-ee"
	UsagePKIX = "pkix-ee"

	GrainPair   = "pair"
	GrainDomain = "domain"

	ModeClassic        = "classic"
	ModeClassicFeature = "classic-feat"
	ModeEager          = "eager"
	ModePipelined      = "pipelined"
	ModeBatch          = "batch"
	ModeWarm           = "warm"
	ModeProactive      = "proactive"

	RevocationShort = "short"
	RevocationCRL   = "crl"
)

// Common returns the settings that every variant has.
func Common() []Param {
	return []Param{
		{Name: "tls", Default: TLSStart, Choices: []string{TLSStart, TLSDirect},
			Doc: "How streams between servers are encrypted: STARTTLS (RFC 6120 §5) or direct TLS (XEP-0368)."},
		{Name: "tls-max", Default: "1.3", Choices: []string{"1.2", "1.3"},
			Doc: "Highest TLS version between servers; 1.2 is the lowest."},
		{Name: "curves", Default: "default", Choices: []string{"default", "x25519", "p256"},
			Doc: "Key exchange of TLS between servers; default includes the hybrid with ML-KEM."},
		{Name: "resumption", Default: false,
			Doc: "Resume TLS sessions with tickets where a provider has connected before."},
		{Name: "unauth", Default: "auto", Choices: []string{"auto", string(UnauthClose), string(UnauthBounce)},
			Doc: "What becomes of a stanza without authority: the stream is closed as RFC 6120 says, or the stanza bounces; auto closes where a stream has one pair and bounces where it is shared."},
	}
}

func poolParam() Param {
	return Param{Name: "pool", Unit: "streams", Default: 1, Min: 1, Max: 1024,
		Doc: "Streams between two providers, for each direction where streams have one; each pair of domains keeps to one."}
}

func streamsParam(otherwise string) Param {
	return Param{Name: "streams", Default: otherwise, Choices: []string{StreamsOne, StreamsTwo},
		Doc: "One bidirectional stream (XEP-0288), or one for each direction."}
}

func granularityParam() Param {
	return Param{Name: "granularity", Default: GrainPair, Choices: []string{GrainPair, GrainDomain},
		Doc: "Whether dialback proves a pair of domains, or the sender's domain towards everybody."}
}

// Parse checks settings against the variant's table and fills in the defaults, as
// [setting.Parse] does.
func (v Variant) Parse(given map[string]any) (Params, error) {
	var p Params
	if err := setting.Parse("s2s: "+v.Name, v.Settings(), given, p.set); err != nil {
		return Params{}, err
	}
	if p.Unauth == "auto" {
		p.Unauth = v.unauth
	}
	if v.check != nil {
		if err := v.check(p); err != nil {
			return Params{}, fmt.Errorf("s2s: %s: %w", v.Name, err)
		}
	}
	return p, nil
}

// Settings returns all settings of the variant, those of [Common] first, with the
// variant's own choices where it has other ones.
func (v Variant) Settings() []Param {
	all := Common()
	for _, own := range v.Params {
		if i := slices.IndexFunc(all, func(p Param) bool { return p.Name == own.Name }); i >= 0 {
			all[i] = own
		} else {
			all = append(all, own)
		}
	}
	return all
}

func (p *Params) set(name string, value any) {
	switch name {
	case "tls":
		p.TLS = value.(string)
	case "tls-max":
		p.TLSMax = value.(string)
	case "curves":
		p.Curves = value.(string)
	case "resumption":
		p.Resumption = value.(bool)
	case "unauth":
		p.Unauth = Unauth(value.(string))
	case "pool":
		p.Pool = value.(int)
	case "streams":
		p.Streams = value.(string)
	case "verify":
		p.Verify = value.(string)
	case "verify-tls":
		p.VerifyTLS = value.(bool)
	case "granularity":
		p.Granularity = value.(string)
	case "overlap":
		p.Overlap = value.(bool)
	case "usage":
		p.Usage = value.(string)
	case "mode":
		p.Mode = value.(string)
	case "batch":
		p.Batch = value.(int)
	case "window":
		p.Window = value.(int)
	case "binding":
		p.Binding = value.(bool)
	case "revocation":
		p.Revocation = value.(string)
	case "skew":
		p.Skew = time.Duration(value.(int)) * time.Second
	case "www-fallback":
		p.WWW = value.(bool)
	default:
		panic("s2s: a variant's table names the unknown setting " + name)
	}
}
