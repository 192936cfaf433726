// Package resolve finds the servers of domains: their SRV records (RFC 2782, RFC 6120 §3.2, XEP-0368), the addresses
// that these lead to, and what the DNS says of the certificates there (RFC 6698). Clients and servers look up alike; what
// differs is the service.
//
// It connects to DNS servers only. Which target is tried for how long, and what an answer proves, is its callers'
// business.
package resolve
