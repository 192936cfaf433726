package resolve

import "fmt"

// A BogusError says that a look-up failed as forged answers do (SERVFAIL). What was looked up must not be used, and
// nothing less secure in its place (RFC 7673 §3).
type BogusError struct{ Name, Type string }

// Error implements error.
func (e *BogusError) Error() string {
	return fmt.Sprintf("resolve: look-up of %s %s: SERVFAIL: the DNSSEC signatures of the name do not validate, or its DNS servers fail; ask its owner, or a resolver that explains itself",
		e.Type, e.Name)
}

// Kind returns the class of the error for counting.
func (e *BogusError) Kind() string { return "dns.bogus" }

// A NoServiceError says that a domain does not offer a service.
type NoServiceError struct {
	Service, Domain string
	// Said is true where a record says so (target "."), false where there is no record.
	Said bool
}

// Error implements error.
func (e *NoServiceError) Error() string {
	if e.Said {
		return fmt.Sprintf("resolve: %s says by an SRV record that it does not offer %s; try another service", e.Domain, e.Service)
	}
	return fmt.Sprintf("resolve: %s has no SRV record for %s; try another service, or add _%s._tcp.%s to its zone",
		e.Domain, e.Service, e.Service, e.Domain)
}

// Kind returns the class of the error for counting.
func (e *NoServiceError) Kind() string { return "dns.no-service" }

// A NoAddressError says that a host has no address.
type NoAddressError struct{ Host string }

// Error implements error.
func (e *NoAddressError) Error() string {
	return fmt.Sprintf("resolve: %s has no address; add an A or AAAA record, or correct the name that points to it", e.Host)
}

// Kind returns the class of the error for counting.
func (e *NoAddressError) Kind() string { return "dns.no-address" }

// A LookupError says that no DNS server gave a usable answer.
type LookupError struct {
	Name, Type string
	Err        error // what each server did
}

// Error implements error.
func (e *LookupError) Error() string {
	return fmt.Sprintf("resolve: look-up of %s %s: %v; check that the DNS servers run and are reached", e.Type, e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *LookupError) Unwrap() error { return e.Err }

// Kind returns the class of the error for counting.
func (e *LookupError) Kind() string { return "dns.failed" }
