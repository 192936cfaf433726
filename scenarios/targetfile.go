package scenarios

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/provision"
)

// The servers that a target file can name.
const (
	ServerProsody  = "prosody"
	ServerEjabberd = "ejabberd"
	ServerOther    = "other"
)

// DefaultPattern names the accounts that are provisioned where a target file has
// no pattern of its own: by the size of their rosters and their number.
const DefaultPattern = "xb{n}-{i:07}"

// TargetFile describes a real server.
type TargetFile struct {
	// Server is prosody, ejabberd or other.
	Server string `yaml:"server"`
	// Domains are those that accounts live at.
	Domains []string `yaml:"domains"`
	Connect Connect  `yaml:"connect"`
	// Accounts names the accounts; empty for those that provision makes.
	Accounts provision.Accounts `yaml:"accounts"`
	Observe  Observe            `yaml:"observe"`
	Control  Control            `yaml:"control"`
	// Federation says where our own provider is when it federates with the server.
	Federation OwnProvider `yaml:"federation"`
	// Provision says how accounts and rosters are made. Without it the accounts
	// exist already and what their rosters hold is not known.
	Provision provision.Spec `yaml:"provision"`

	// Name is the base name of the file, without its ending.
	Name string `yaml:"-"`
	dir  string // that relative names in the file start from
}

// Connect says where and how a server is reached. Left out, SRV records are
// followed (RFC 6120 §3.2) and the system's authorities trusted.
type Connect struct {
	Host          string   `yaml:"host"`
	Port          uint16   `yaml:"port"`            // 5222 if zero
	DirectTLSPort uint16   `yaml:"direct-tls-port"` // 5223 if zero
	S2SPort       uint16   `yaml:"s2s-port"`        // for servers, 5269 if zero
	S2SDirectPort uint16   `yaml:"s2s-direct-port"` // for servers with direct TLS, 5270 if zero
	CA            string   `yaml:"ca"`              // PEM file of the authorities trusted
	Insecure      bool     `yaml:"insecure"`        // certificates are not verified
	DNS           []string `yaml:"dns"`             // resolvers, "address:port", in place of the system's
	Sources       []string `yaml:"sources"`         // local addresses to connect from, in turn
}

// OwnProvider is our end of a federation with a real server: where the server finds
// it. The server's operator has to point the server's resolver at DNS.
type OwnProvider struct {
	Listen string `yaml:"listen"` // address:port at which our provider takes streams
	DNS    string `yaml:"dns"`    // address:port at which our DNS server answers
	Domain string `yaml:"domain"` // names of our domains, {i} for the number
	// Certificate and Key are PEM files with what our provider shows: a certificate that
	// names all of our domains, from an authority that the server trusts. Without them it
	// shows one that nobody knows, which is enough for dialback.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// domains returns the names of the first n domains, which are numbered from 1.
func (o OwnProvider) domains(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strings.Replace(o.Domain, "{i}", strconv.Itoa(i+1), 1)
	}
	return all
}

// Observe says how to see what the server uses: which process it is, or who can tell,
// and where it tells of itself.
type Observe struct {
	PID     int    `yaml:"pid"`
	PIDFile string `yaml:"pid-file"`
	// Port stands for the processes of this machine that listen there, at Connect.Host
	// if that is an address.
	Port uint16 `yaml:"port"`
	// Agent is the host:port or URL of `xmppbench observe` on the server's machine, and
	// Token what it wants to be shown.
	Agent string           `yaml:"agent"`
	Token provision.Secret `yaml:"token"`
	// CA is the PEM file of the authorities that the agent's certificate is trusted by.
	CA string `yaml:"ca"`
	// Metrics is the URL of metrics in the format of Prometheus, API that of ejabberd's
	// mod_http_api.
	Metrics string `yaml:"metrics"`
	API     string `yaml:"api"`
}

// check returns the first key that is wrong, and why.
func (o Observe) check(server string) (key string, err error) {
	ways := 0
	for _, set := range []bool{o.PID != 0, o.PIDFile != "", o.Port != 0, o.Agent != ""} {
		if set {
			ways++
		}
	}
	switch {
	case o.PID < 0:
		return "observe.pid", fmt.Errorf("%d is not a process", o.PID)
	case ways > 1:
		return "observe", errors.New("names the process in more than one way: give one of pid, pid-file, port and agent")
	case o.Agent != "" && o.Token == (provision.Secret{}):
		return "observe.token", errors.New("is missing: the agent wants to be shown what is in its --token-file")
	case o.Agent == "" && o.Token != (provision.Secret{}):
		return "observe.agent", errors.New("is missing: a token is for an agent")
	case o.Agent == "" && o.CA != "":
		return "observe.agent", errors.New("is missing: ca is for the certificate of an agent")
	case o.CA != "" && strings.HasPrefix(o.Agent, "http://"):
		return "observe.ca", errors.New("is for TLS, and the agent is asked without: name it as https:// or host:port")
	case o.API != "" && server != ServerEjabberd:
		return "observe.api", fmt.Errorf("is for ejabberd, and the server is %s", server)
	}
	return "", nil
}

// Observer returns what reads the figures of the server, nil if the file names nothing
// to look at.
func (t *TargetFile) Observer() (*observe.Observer, error) {
	o := t.Observe
	if o == (Observe{}) {
		return nil, nil
	}
	c := observe.Config{PID: o.PID, PIDFile: o.PIDFile, Agent: o.Agent, CA: o.CA, Metrics: o.Metrics, API: o.API}
	if o.Port != 0 {
		c.Listen = ":" + strconv.Itoa(int(o.Port))
		if at, err := netip.ParseAddr(t.Connect.Host); err == nil {
			c.Listen = netip.AddrPortFrom(at, o.Port).String()
		}
	}
	if o.Agent != "" {
		text, err := o.Token.Resolve()
		if err == nil {
			c.Token, err = observe.ParseToken([]byte(text))
		}
		if err != nil {
			return nil, fmt.Errorf("scenarios: %s: observe.token: %w", t.Name, err)
		}
	}
	observer, err := observe.Open(c)
	if err != nil {
		return nil, fmt.Errorf("scenarios: %s: %w", t.Name, err)
	}
	return observer, nil
}

// Control names commands that act on the server. They are the user's own: nothing is run
// that does not stand in the file.
type Control struct {
	// Restart is a command line for the shell, run in the folder of the file. It must end
	// by itself once the server is on its way up, or up.
	Restart string `yaml:"restart"`
}

// ParseTarget reads a target file. name is where it was read from: names of
// files in it are relative to its folder. Errors are [*FileError].
func ParseTarget(name string, source []byte) (*TargetFile, error) {
	if len(source) > maxFile {
		return nil, &FileError{File: name, Err: fmt.Errorf("is %d bytes long; the limit is %d", len(source), maxFile)}
	}
	t := &TargetFile{dir: filepath.Dir(name)}
	t.Name = strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	if err := decodeStrict(source, t); err != nil {
		var located yaml.Error
		if errors.As(err, &located) && located.GetToken() != nil && located.GetToken().Position != nil {
			pos := located.GetToken().Position
			return nil, &FileError{File: name, Line: pos.Line, Column: pos.Column, Err: errors.New(located.GetMessage())}
		}
		return nil, &FileError{File: name, Err: err}
	}
	if key, err := t.check(); err != nil {
		e := &FileError{File: name, Key: key, Err: err}
		if root, rootErr := document(name, source); rootErr == nil {
			if n := find(root, key); n != nil {
				e = at(name, n, key, err)
			}
		}
		return nil, e
	}
	t.resolve()
	return t, nil
}

// find returns the key of a mapping at a path, or what is nearest to it above: nil if
// there is nothing.
func find(m *ast.MappingNode, path string) ast.Node {
	name, rest, nested := strings.Cut(path, ".")
	for _, v := range m.Values {
		if v.Key.String() != name {
			continue
		}
		if below := asMapping(v.Value); nested && below != nil {
			if n := find(below, rest); n != nil {
				return n
			}
		}
		return v.Key
	}
	return nil
}

// decodeStrict turns a panic of the decoder into an error: its input is
// untrusted.
func decodeStrict(source []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("is not YAML that can be read")
		}
	}()
	return yaml.UnmarshalWithOptions(source, v, yaml.Strict())
}

// check returns the first key that is wrong, and why.
func (t *TargetFile) check() (key string, err error) {
	servers := []string{ServerProsody, ServerEjabberd, ServerOther}
	if !slices.Contains(servers, t.Server) {
		return "server", fmt.Errorf("%q is not one of %s", t.Server, strings.Join(servers, ", "))
	}
	if len(t.Domains) == 0 && t.Accounts.CSV == "" && t.Accounts.Env == "" {
		return "domains", errors.New("is missing: name the domains that the accounts live at")
	}
	for _, d := range t.Domains {
		if !validDomain(d) {
			return "domains", fmt.Errorf("%q is not a domain", d)
		}
	}
	c := t.Connect
	if c.Host == "" && (c.Port != 0 || c.DirectTLSPort != 0 || c.S2SPort != 0 || c.S2SDirectPort != 0) {
		return "connect.host", errors.New("is missing: a port alone says nothing; leave both out to follow SRV records")
	}
	if t.Connect.CA != "" && t.Connect.Insecure {
		return "connect.insecure", errors.New("contradicts connect.ca: certificates are either verified or not")
	}
	for _, server := range t.Connect.DNS {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return "connect.dns", fmt.Errorf("%q is not address:port", server)
		}
	}
	for _, source := range t.Connect.Sources {
		if net.ParseIP(source) == nil {
			return "connect.sources", fmt.Errorf("%q is not an IP address", source)
		}
	}
	if key, err := t.Federation.check(t.Domains); err != nil {
		return key, err
	}
	if key, err := t.Observe.check(t.Server); err != nil {
		return key, err
	}
	if t.Provisioned() && (t.Accounts.CSV != "" || t.Accounts.Env != "") {
		return "provision", errors.New("makes accounts, but accounts lists some that exist: leave one of them out")
	}
	if !t.Provisioned() && t.Accounts == (provision.Accounts{}) {
		return "accounts", errors.New("is missing: name the accounts that exist, or add provision to make some")
	}
	return "", nil
}

// check returns the first key that is wrong, and why.
func (o OwnProvider) check(domains []string) (key string, err error) {
	if o == (OwnProvider{}) {
		return "", nil
	}
	if !isAddrPort(o.Listen) {
		return "federation.listen", fmt.Errorf("%q is not address:port, such as 127.0.10.4:15269", o.Listen)
	}
	if !isAddrPort(o.DNS) {
		return "federation.dns", fmt.Errorf("%q is not address:port, such as 127.0.10.53:15053", o.DNS)
	}
	if strings.Count(o.Domain, "{i}") != 1 {
		return "federation.domain", fmt.Errorf("%q must hold {i} once, for the number of the domain, as in g{i}.test", o.Domain)
	}
	if (o.Certificate == "") != (o.Key == "") {
		return "federation.certificate", errors.New("goes with federation.key: give both or none")
	}
	if d := o.domains(1)[0]; !validDomain(d) || d != strings.ToLower(d) {
		return "federation.domain", fmt.Errorf("%q is not a domain in lower case", d)
	}
	before, after, _ := strings.Cut(o.Domain, "{i}")
	for _, d := range domains {
		number := strings.TrimSuffix(strings.TrimPrefix(d, before), after)
		if n, err := strconv.Atoi(number); err == nil && n > 0 && d == before+number+after {
			return "federation.domain", fmt.Errorf("would make %s, which the server hosts", d)
		}
	}
	return "", nil
}

func isAddrPort(s string) bool {
	a, err := netip.ParseAddrPort(s)
	return err == nil && a.Port() != 0
}

func validDomain(d string) bool { return d != "" && !strings.ContainsAny(d, " /@'\"<>&\t\r\n") }

// resolve makes file names independent of the working directory.
func (t *TargetFile) resolve() {
	for _, name := range []*string{
		&t.Connect.CA, &t.Accounts.CSV, &t.Accounts.Password.File, &t.Observe.PIDFile, &t.Observe.Token.File, &t.Observe.CA,
		&t.Federation.Certificate, &t.Federation.Key,
		&t.Provision.Ledger, &t.Provision.Data, &t.Provision.Database, &t.Provision.Schema, &t.Provision.Export,
	} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(t.dir, *name)
		}
	}
	t.Provision.Server = t.Server
	if t.Provisioned() && t.Provision.Ledger == "" {
		t.Provision.Ledger = filepath.Join(t.dir, t.Name+".ledger.json")
	}
}

// Provisioned reports whether the accounts are made by provision.
func (t *TargetFile) Provisioned() bool {
	p := t.Provision
	return p.Data != "" || p.Database != "" || p.Ctl != "" || p.API != "" || p.Export != ""
}

// Population returns the accounts that provision makes for a plan.
func (t *TargetFile) Population(p Plan) (*population.Population, error) {
	pattern := t.Accounts.Pattern
	if pattern == "" {
		pattern = DefaultPattern
	}
	password := ""
	if t.Accounts.Password != (provision.Secret{}) {
		var err error
		if password, err = t.Accounts.Password.Resolve(); err != nil {
			return nil, fmt.Errorf("scenarios: %s: accounts.password: %w", t.Name, err)
		}
	}
	accounts := p.Accounts
	if p.Scenario == FederationScenario {
		accounts = len(t.Domains) // one at each, which returns messages
	}
	if t.Accounts.Count > 0 {
		accounts = t.Accounts.Count
	}
	pop, err := population.New(population.Config{
		Seed: p.Seed, Domains: t.Domains, Pattern: pattern, First: t.Accounts.First,
		Accounts: accounts, Contacts: p.Roster.Items, ItemBytes: p.Roster.ItemBytes, Password: password,
		Settled: !t.Provision.CarriesRequests(),
	})
	if err != nil {
		return nil, fmt.Errorf("scenarios: %s: %w", t.Name, err)
	}
	return pop, nil
}

// Populations returns the populations of several plans, each once.
func (t *TargetFile) Populations(plans []Plan) ([]*population.Population, error) {
	plans, err := Measured(plans)
	if err != nil {
		return nil, err
	}
	var all []*population.Population
	for _, p := range plans {
		pop, err := t.Population(p)
		if err != nil {
			return nil, err
		}
		same := func(o *population.Population) bool { return samePopulation(o.Config(), pop.Config()) }
		if !slices.ContainsFunc(all, same) {
			all = append(all, pop)
		}
	}
	return all, nil
}

func samePopulation(a, b population.Config) bool {
	sameDomains := slices.Equal(a.Domains, b.Domains)
	a.Domains, b.Domains = nil, nil
	return sameDomains && fmt.Sprint(a) == fmt.Sprint(b)
}
