package roster

// Map is a roster merged from chunks, pages and pushes by their versions, as a
// client of the chunked protocol keeps it across attempts. It is not safe for
// concurrent use.
type Map struct {
	// Epoch and Version are those of the last completed retrieval; Known says
	// that there was one.
	Epoch   string
	Version uint64
	Known   bool

	held map[string]held
}

type held struct {
	v    uint64
	gone bool
	seen bool
	item Item
}
