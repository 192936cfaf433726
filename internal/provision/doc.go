// Package provision puts the accounts and rosters of a population on a real
// server, many at a time, and takes them away again.
//
// How depends on the server: Prosody's data files; ejabberd's SQLite database,
// or its administration commands for hosts that store in Mnesia; a XEP-0227
// file for any other server. [NewPlan] checks what is wanted and touches
// nothing, [Plan.Apply] does it, [Teardown] undoes it.
//
// A ledger, a file of its own beside the target, says which accounts were
// created. An account that exists already is never written over, and nothing is
// removed that the ledger does not name.
//
// The package also reads accounts that exist already ([Accounts.Open]). It does
// not start, stop or configure servers.
package provision
