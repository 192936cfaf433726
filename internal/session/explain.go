package session

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"mellium.im/xmpp/stream"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// explain turns what the negotiation ended with into what the user has to know.
func (l *login) explain(ctx context.Context, err error) error {
	var (
		streamError stream.Error
		syntax      *xml.SyntaxError
	)
	if errors.As(err, &streamError) && streamError.Err != "" {
		refused := received(streamError)
		if _, domain, ok := strings.Cut(l.config.JID, "@"); ok && refused.Condition == "host-unknown" {
			return fmt.Errorf("the server does not serve %s: %w", domain, refused)
		}
		return refused
	}
	cause := err
	if l.top.err != nil {
		cause = l.top.err // which the XML decoder may have dressed up
	}
	// A server of another protocol greets, or answers and hangs up: the greeting says more than the silence after it.
	if greeting := bytes.TrimSpace(l.top.kept); l.step == StepHeader && ctx.Err() == nil && len(greeting) > 0 && greeting[0] != '<' {
		return fmt.Errorf("what the server sent is not XMPP; it began with %.60q: %w", greeting, cause)
	}
	if explained := l.explainIO(ctx, cause); explained != nil {
		return explained
	}
	switch {
	case l.top.err != nil:
		return l.top.err
	case l.step == StepHeader, errors.As(err, &syntax):
		return fmt.Errorf("what the server sent is not XMPP; it began with %.60q: %w", l.top.kept, err)
	case l.step == StepFeatures:
		return l.explainFeatures(err)
	}
	return err
}

// explainFeatures finds out why a stream got no further than its features.
func (l *login) explainFeatures(err error) error {
	if !l.top.endsWith("features") {
		// The library gave up at the header. Often it dislikes the from of a server that does not know the domain and is
		// about to say so.
		if refused := l.top.streamError(); refused != nil {
			return fmt.Errorf("%w (%w)", refused, err)
		}
		return err
	}
	e, parseErr := l.top.features()
	switch {
	case errors.Is(err, ErrNoTLS), parseErr != nil, e.Name != "features":
		return err
	case !l.authenticated && e.Child(wire.NSTLS, "starttls") != nil:
		return fmt.Errorf("the server offers no authentication on this connection, but STARTTLS: %w", &MechanismError{Wanted: l.wish.mechanisms})
	case !l.authenticated:
		return fmt.Errorf("the server offers no authentication on this connection; it offers: %s: %w", list(featureNames(e)), &MechanismError{Wanted: l.wish.mechanisms})
	case e.Child(wire.NSBind, "bind") == nil:
		return fmt.Errorf("%w: it offers: %s", errNotBound, list(featureNames(e)))
	}
	return err
}

// received turns the library's stream error into ours.
func received(e stream.Error) *wire.StreamError {
	out := &wire.StreamError{Condition: e.Err, Text: e.Content}
	for _, t := range e.Text {
		out.Text = t.Value
	}
	return out
}

// explainIO explains an error of the connection, or returns nil if err is none.
func (l *login) explainIO(ctx context.Context, err error) error {
	var network net.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("%w within %v: %w", ErrNoAnswer, l.config.StepTimeout, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}
