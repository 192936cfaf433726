// Package lab is the infrastructure of a closed network: a private certificate authority, a DNS server and a web server.
//
// Tests, the simulator and the servers it is compared with take their names and certificates from here, so that every connection is
// verified as on the open Internet and none leaves the machine.
//
//	ca, err := lab.NewCA("test network", lab.CAOptions{})
//	leaf, err := ca.Issue(lab.LeafOptions{Names: []string{"a.test", "conference.a.test"}})
//	server := &tls.Config{Certificates: []tls.Certificate{leaf}}
//	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"}
//
// The keys guard nothing: they are made for a run, and stored unencrypted where a server needs them as files. The package is no
// public-key infrastructure: it revokes nothing and keeps no record of what it issued.
package lab
