package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/scenarios"
	"github.com/xmppbench/xmppbench/simulator"
)

// The roles of child processes.
const (
	roleSimulator = "simulator"
	roleLink      = "link"
	roleProvider  = "provider"
)

// The methods that child processes answer.
const (
	methodDescribe   = "describe"
	methodStats      = "stats"
	methodFreeMemory = "free-memory"
)

// child runs this process as a child of another one of the program. An interrupt
// from the terminal reaches parent and child alike; the child leaves it to the
// parent, which ends it by closing its pipe.
func child(ctx context.Context, role string, stdin io.Reader, stdout, stderr io.Writer) int {
	open, ok := roles()[role]
	if !ok {
		fmt.Fprintf(stderr, "xmppbench: %q is not a role of a child process\n", role)
		return ExitUsage
	}
	if err := proc.Serve(context.WithoutCancel(ctx), stdin, stdout, open); err != nil {
		fmt.Fprintf(stderr, "xmppbench: %s: %v\n", role, err)
		return ExitInternal
	}
	return ExitOK
}

func roles() map[string]func(context.Context, json.RawMessage) (proc.Handler, error) {
	return map[string]func(context.Context, json.RawMessage) (proc.Handler, error){
		roleSimulator: openSimulator,
		roleLink:      openLink,
		roleProvider:  openProvider,
	}
}

// simulatorInfo is how a simulator is reached.
type simulatorInfo struct {
	Addresses []string `json:"addresses"`
	CA        []byte   `json:"ca"`
}

// simulatorChild answers for a simulator in a process of its own.
type simulatorChild struct{ *simulator.Simulator }

func openSimulator(ctx context.Context, config json.RawMessage) (proc.Handler, error) {
	var c simulator.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("cli: configuration of the simulator: %w", err)
	}
	s, err := simulator.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return simulatorChild{s}, nil
}

func (s simulatorChild) Handle(ctx context.Context, method string, in json.RawMessage) (any, error) {
	switch method {
	case methodDescribe:
		return describeSimulator(s.Simulator), nil
	case methodFreeMemory:
		return scenarios.SettleMemory(), nil
	}
	var out json.RawMessage
	if err := s.Control(ctx, method, in, &out); err != nil {
		return nil, err
	}
	return out, nil
}

func (s simulatorChild) Close() error { return s.Simulator.Close(context.Background()) }

func describeSimulator(s *simulator.Simulator) simulatorInfo {
	info := simulatorInfo{CA: s.CA()}
	for _, a := range s.Addrs() {
		info.Addresses = append(info.Addresses, a.String())
	}
	return info
}

func openProvider(ctx context.Context, config json.RawMessage) (proc.Handler, error) {
	var c scenarios.WorkerConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("cli: configuration of the provider: %w", err)
	}
	return scenarios.OpenWorker(ctx, c)
}

// linkChild answers for a relay in a process of its own.
type linkChild struct{ *link.Relay }

func openLink(ctx context.Context, config json.RawMessage) (proc.Handler, error) {
	var c link.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("cli: configuration of the link: %w", err)
	}
	r, err := link.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return linkChild{r}, nil
}

func (r linkChild) Handle(_ context.Context, method string, _ json.RawMessage) (any, error) {
	switch method {
	case methodDescribe:
		return r.Addrs(), nil
	case methodStats:
		return r.Stats()
	}
	return nil, errors.New("cli: link: unknown method " + method)
}
