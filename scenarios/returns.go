package scenarios

import (
	"maps"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/scenarios/setting"
)

// A way to return is what a client still has when its connection is lost, and what it
// does with that when it comes back. The ways are the variants of reconnect-herd; on the
// wire they are made of a login, a variant of roster retrieval and stream management.
type wayToReturn struct {
	VariantInfo
	resumes bool // tries to resume before it binds
	// holds says that the client has the roster, if its variant can say so.
	holds bool
}

// Return is how the clients of an arm return.
type Return struct {
	// Resume says that clients try to resume their session (XEP-0198 §5).
	Resume bool `json:"resume,omitempty"`
	// Backoff is how they wait before each attempt.
	Backoff Backoff `json:"backoff"`
}

// The names of the ways to return.
const (
	ReturnCold      = "return-cold"
	ReturnVersioned = "return-versioned"
	ReturnResume    = "return-resume"
)

// Units of settings that are read with a unit of their own.
const (
	unitBytes        = "bytes"
	unitMilliseconds = "milliseconds"
)

// waysToReturn returns the variants, the baseline first.
func waysToReturn() []wayToReturn {
	way := func(name, spec, summary string, retrieval setting.Param) wayToReturn {
		return wayToReturn{VariantInfo: VariantInfo{
			Name: name, Spec: spec, Summary: summary, Kind: "return", Prefix: "herd",
			Params: append([]setting.Param{retrieval}, backoffParams()...),
		}}
	}
	const retrieval = "How the roster is retrieved: a variant of roster retrieval, with its defaults."
	stateful := slices.DeleteFunc(roster.Names(), func(name string) bool { return !hasState(name) })
	cold := way(ReturnCold, "RFC 6120, RFC 6121 §2.1.3", "a login and the whole roster, as by a client that keeps nothing",
		setting.Param{Name: "roster", Default: roster.Names()[0], Choices: roster.Names(), Doc: retrieval})
	versioned := way(ReturnVersioned, "RFC 6120, RFC 6121 §2.6", "a login, and the roster only if its version is another one",
		setting.Param{Name: "roster", Default: "versioned", Choices: stateful, Doc: retrieval})
	versioned.holds = true
	resume := way(ReturnResume, "XEP-0198 §5", "the session is resumed; a login and a roster by version where the server refuses",
		setting.Param{Name: "roster", Default: "versioned", Choices: roster.Names(), Doc: retrieval})
	resume.resumes, resume.holds = true, true
	return []wayToReturn{cold, versioned, resume}
}

// hasState reports whether a variant of roster retrieval knows what the client holds.
func hasState(variant string) bool {
	v, _ := roster.Find(variant)
	return slices.ContainsFunc(v.Params, func(p setting.Param) bool { return p.Name == "state" })
}

// longest bounds a wait, in milliseconds.
const longest = 24 * 3600 * 1000

func backoffParams() []setting.Param {
	return []setting.Param{
		{Name: "backoff", Default: BackoffExponential, Choices: []string{BackoffNone, BackoffFixed, BackoffExponential},
			Doc: "How long a client waits before each attempt, the first included: not at all and 100 ms after an attempt that failed; always as long; or twice as long after each attempt."},
		{Name: "base", Unit: unitMilliseconds, Default: 1000, Min: 1, Max: longest,
			Doc: "The wait before the first attempt, such as 500ms or 1s; without a unit in milliseconds."},
		{Name: "cap", Unit: unitMilliseconds, Default: 60_000, Min: 1, Max: longest,
			Doc: "The longest wait of an exponential back-off."},
		{Name: "jitter", Default: JitterFull, Choices: []string{JitterNone, JitterFull, JitterEqual},
			Doc: "What chance does to a wait: nothing, anything from 0 to it, or anything from half of it to it."},
	}
}

func herdFamily() family {
	ways := waysToReturn()
	f := family{kind: ways[0].Kind, prefix: ways[0].Prefix}
	for _, w := range ways {
		f.variants = append(f.variants, w.VariantInfo)
	}
	f.arm = func(name string, given map[string]any) (Arm, error) {
		w := ways[slices.IndexFunc(ways, func(w wayToReturn) bool { return w.Name == name })]
		arm := Arm{Name: name, Return: &Return{Resume: w.resumes}}
		var retrieval string
		b := &arm.Return.Backoff
		given = maps.Clone(given)
		err := setting.Parse("herd: "+name, w.Params, given, func(name string, value any) {
			switch name {
			case "roster":
				retrieval = value.(string)
			case "backoff":
				b.Policy = value.(string)
			case "base":
				b.Base = time.Duration(value.(int)) * time.Millisecond
			case "cap":
				b.Cap = time.Duration(value.(int)) * time.Millisecond
			case "jitter":
				b.Jitter = value.(string)
			}
		})
		if err != nil {
			return arm, err
		}
		settings := make(map[string]any)
		if hasState(retrieval) {
			settings["state"] = roster.StateCold
			if w.holds {
				settings["state"] = roster.StateUnchanged
			}
		}
		arm.Variant, _ = roster.Find(retrieval)
		arm.Params, err = arm.Variant.Parse(settings)
		return arm, err
	}
	return f
}
