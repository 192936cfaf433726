package session

import (
	"unique"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Features are the stream features that a server offers to a logged-in client (RFC 6120 §4.3.2), with their
// attributes and children: roster versioning, stream management, client state indication, limits and others. Equal
// features of many sessions share their memory. The zero value has none.
type Features struct {
	text unique.Handle[string] // the features element, self-contained
}

func newFeatures(e *wire.Element) Features {
	return Features{unique.Make(string(e.Append(nil, "")))}
}

// Element returns the whole <features/> element, parsed anew for each call, or nil when there is none.
func (f Features) Element() *wire.Element {
	if f == (Features{}) {
		return nil
	}
	e, err := wire.ParseElement([]byte(f.text.Value()), "", nil)
	if err != nil {
		return nil // cannot be: it was written from an Element
	}
	return e
}

// Find returns the feature with this namespace and local name, or nil. An empty name matches any.
func (f Features) Find(space, name string) *wire.Element { return f.Element().Child(space, name) }

// Names returns "namespace name" of each feature in the server's order.
func (f Features) Names() []string { return featureNames(f.Element()) }

func featureNames(e *wire.Element) []string {
	var names []string
	for child := range e.Each("", "") {
		names = append(names, child.Space+" "+child.Name)
	}
	return names
}
