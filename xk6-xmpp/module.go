package xk6xmpp

import (
	"go.k6.io/k6/v2/js/modules"
)

// RootModule is what all virtual users of a process share.
type RootModule struct{}

// New returns the module, once for each process.
func New() *RootModule { return &RootModule{} }

// NewModuleInstance implements modules.Module.
func (*RootModule) NewModuleInstance(vu modules.VU) modules.Instance { return &instance{vu: vu} }

type instance struct{ vu modules.VU }

// Exports implements modules.Instance.
func (*instance) Exports() modules.Exports { return modules.Exports{} }
