package xk6xmpp

import "go.k6.io/k6/v2/js/modules"

// ImportPath is what scripts import the JavaScript module by.
const ImportPath = "k6/x/xmpp"

// init is the one place where the extensions make themselves known, as k6 wants it.
func init() { //nolint:gochecknoinits // k6 has no other way to register extensions
	modules.Register(ImportPath, New())
	RegisterOutput()
	RegisterSubcommand()
}
