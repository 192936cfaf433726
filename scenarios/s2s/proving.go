package s2s

import "errors"

// proving is the proof of one domain on a stream, of the peer's or, with ">" before
// its name, of this end's: under way, or done.
type proving struct {
	done    bool
	err     error
	waiting []func(error)
}

// onceProved proves a domain once on this stream, whoever else asks for
// it meanwhile or later, and hands the outcome to got. What failed is tried again by
// the next who asks.
func (s *Stream) onceProved(domain string, prove func(done func(error)), got func(error)) {
	s.mu.Lock()
	if s.proofs == nil {
		s.proofs = make(map[string]*proving)
	}
	p := s.proofs[domain]
	switch {
	case p != nil && p.done:
		s.mu.Unlock()
		got(p.err)
		return
	case p != nil:
		p.waiting = append(p.waiting, got)
		s.mu.Unlock()
		return
	}
	p = &proving{waiting: []func(error){got}}
	s.proofs[domain] = p
	s.mu.Unlock()
	prove(func(err error) {
		s.mu.Lock()
		waiting := p.waiting
		p.done, p.err, p.waiting = true, err, nil
		if err != nil {
			delete(s.proofs, domain)
		}
		s.mu.Unlock()
		for _, got := range waiting {
			got(err)
		}
	})
}

// isInvalid reports whether a proof was found to be wrong, as opposed to not found.
func isInvalid(err error) bool {
	var proof *ProofError
	return errors.As(err, &proof) && proof.Reason == "invalid"
}
