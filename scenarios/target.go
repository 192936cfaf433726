package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/population"
)

// Target is where simulated clients connect: the simulator, a real server or a
// test double. Its methods may be used concurrently.
type Target interface {
	// Describe returns what is known of the target. It does not block.
	Describe() Description
	// Dial opens a connection to the client port of a domain, for direct TLS if
	// so asked; it does not negotiate anything.
	Dial(ctx context.Context, domain string, directTLS bool) (net.Conn, error)
	// Account returns the i-th account of the target, from 0 to Accounts-1.
	Account(i int) population.Account
	// Expected returns what the roster of that account holds, and false if the
	// target's rosters are not known.
	Expected(i int) (population.Digest, bool)
	// Control asks the target itself to do something. A target that cannot
	// returns [ErrUnsupported].
	Control(ctx context.Context, method string, in, out any) error
	// CPU returns the processor time that the target's processes have used so
	// far, or an error if that cannot be read from here. It never falls, not even
	// when the server is started again.
	CPU() (time.Duration, error)
	// Observe returns what the target's processes use and what it tells of itself,
	// or an error if nothing of it can be read from here. It takes some milliseconds,
	// and up to five seconds if an agent does not answer.
	Observe(ctx context.Context) (observe.Reading, error)
	// Close releases the target. Connections must have been closed before.
	Close() error
}

// ErrUnsupported is what Control returns for what a target cannot do.
var ErrUnsupported = errors.New("scenarios: the target does not support this")

// SimulatorServer is the server of targets that are the built-in simulator.
const SimulatorServer = "simulator"

// Description is what is known of a target. It stands in the run's manifest.
type Description struct {
	Name    string   // "sim", or the base name of the target file
	Server  string   // simulator, prosody, ejabberd or other
	Version string   // empty if not known
	Domains []string // that accounts live at
	// Accounts is the number of accounts.
	Accounts int
	// Endpoint and DirectTLS are the host:port of the client ports; DirectTLS is
	// empty where there is none.
	Endpoint, DirectTLS string
	// Roots holds the PEM certificates that the target's certificate must chain
	// to; empty means those of the system. Insecure turns verification off.
	Roots    []byte
	Insecure bool
	// Simulated says that the target takes the settings of the simulator.
	Simulated bool
}

// local reports whether the target runs on this machine, where its load is
// pressure on the generator too.
func (d Description) local() bool {
	host, _, err := net.SplitHostPort(d.Endpoint)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Targets makes the target of a plan ready: the simulator is started with the
// plan's roster sizes, a real server is reached as it is.
type Targets interface {
	// Name labels the target before it is open.
	Name() string
	// Open returns the target ready for plan p. An error that is an
	// [*UnreachableError] means that the target could not be reached.
	Open(ctx context.Context, p Plan) (Target, error)
}

// UnreachableError says that a target could not be used at all.
type UnreachableError struct {
	Target string
	Err    error
}

// Error implements error.
func (e *UnreachableError) Error() string { return e.Target + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *UnreachableError) Unwrap() error { return e.Err }

// DigestError says that a roster holds other contacts than it must: either the
// program or the server has a fault, and no figure of the run can be trusted.
type DigestError struct {
	Variant   string
	Account   string // bare JID
	Items     int    // received
	Got, Want string // digests
}

// Error says which roster differs.
func (e *DigestError) Error() string {
	return fmt.Sprintf("%s: the roster of %s, %d items, has digest %s in place of %s: no figure of this run can be trusted",
		e.Variant, e.Account, e.Items, e.Got, e.Want)
}

// CountError says that a counted figure differs from its closed form: either the
// program or the server has a fault, and no figure of the run can be trusted.
type CountError struct {
	Name              string
	Plan, Variant     string
	Counted, Expected int64
}

// Error says which count differs and by how much.
func (e *CountError) Error() string {
	return fmt.Sprintf("%s of %s in plan %s: counted %d, by its closed form it is %d: no figure of this run can be trusted",
		e.Name, e.Variant, e.Plan, e.Counted, e.Expected)
}
