// Package xmppbench links the k6 extensions of this module into a k6 binary and
// does nothing else: import it for its side effect, as xk6 does. The programs are
// in cmd.
package xmppbench

import _ "github.com/xmppbench/xmppbench/xk6-xmpp" // registers the extensions
