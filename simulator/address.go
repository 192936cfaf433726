package simulator

import (
	"strings"

	"mellium.im/xmpp/jid"
)

// An address is a normalised JID (RFC 7622).
type address struct {
	local, domain, resource string
}

// maxPart is the longest part of a JID in bytes.
const maxPart = 1023

// parseAddress normalises s. It reports false for what is no JID. ASCII addresses
// in small letters, which are nearly all, cost no allocation.
func parseAddress(s string) (address, bool) {
	var a address
	rest, resource, full := strings.Cut(s, "/")
	local, domain, user := strings.Cut(rest, "@")
	if !user {
		local, domain = "", rest
	}
	if plainLocal(local) && plainDomain(domain) && plainResource(resource) {
		if (full && resource == "") || (user && local == "") {
			return a, false
		}
		return address{local, domain, resource}, true
	}
	j, err := jid.Parse(s)
	if err != nil {
		return a, false
	}
	return address{j.Localpart(), j.Domainpart(), j.Resourcepart()}, true
}

func plainLocal(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || strings.IndexByte("\"&'/:<>@", c) >= 0 {
			return false
		}
	}
	return len(s) <= maxPart
}

func plainDomain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= maxPart && s[len(s)-1] != '.'
}

func plainResource(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return len(s) <= maxPart
}

// bare returns the address without its resource.
func (a address) bare() string {
	if a.local == "" {
		return a.domain
	}
	return a.local + "@" + a.domain
}

// String returns the whole address.
func (a address) String() string {
	if a.resource == "" {
		return a.bare()
	}
	return a.bare() + "/" + a.resource
}
