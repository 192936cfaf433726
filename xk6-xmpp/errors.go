package xk6xmpp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/grafana/sobek"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// errorClass is the source of the class that every promise of the module is rejected
// with. It is a class of JavaScript and not a Go value, so that instanceof works as
// scripts expect.
const errorClass = `(class XMPPError extends Error {})`

// A fault is an error on its way to JavaScript.
type fault struct {
	stage     string
	condition string
	typ, text string // of stanza errors
	err       error
}

func (f *fault) Error() string {
	if f.err == nil {
		return "xmpp: " + f.stage + ": " + f.condition
	}
	return "xmpp: " + f.stage + ": " + f.err.Error()
}

func (f *fault) Unwrap() error { return f.err }

// Conditions besides those of stanzas, streams and SASL.
const (
	conditionTimeout   = "timeout"
	conditionCancelled = "cancelled"
	conditionLost      = "connection-lost"
	conditionUndefined = "undefined-condition"
)

// Stages that are no step of a login.
const (
	stageDial     = "dial"
	stageStream   = "stream"
	stageSession  = "session"
	stageRoster   = "roster"
	stageIQ       = "iq"
	stageMessage  = "message"
	stagePresence = "presence"
	stageSM       = "sm"
	stageClose    = "close"
	stageUsers    = "users"
)

// stages are all that errors may name, in the order of a session.
func stages() []string {
	return []string{
		stageDial, stageStream, session.StepTLS, session.StepSASL, session.StepBind, stageSM, stageSession,
		stageRoster, stageIQ, stageMessage, stagePresence, stageMUC, stagePubSub, stageS2S, stageUsers, stageClose,
	}
}

// fail says at which stage err happened and what kind of error it is.
func fail(stage string, err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	f := &fault{stage: stage, condition: conditionUndefined, err: err}
	var (
		login     *session.Error
		auth      *session.AuthError
		mechanism *session.MechanismError
		stanza    *wire.StanzaError
		stream    *wire.StreamError
		syntax    *wire.SyntaxError
		cut       *wire.CutError
		route     *s2s.RouteError
		operation *net.OpError
	)
	if errors.As(err, &login) {
		f.stage, f.err = stageOf(login.Step), login.Err
	}
	switch {
	case errors.Is(err, context.Canceled):
		f.condition = conditionCancelled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, session.ErrNoAnswer), errors.Is(err, errTimeout):
		f.condition = conditionTimeout
	case errors.As(err, &auth):
		f.condition, f.text = auth.Condition, auth.Text
	case errors.As(err, &mechanism):
		f.condition = "invalid-mechanism"
	case errors.As(err, &stanza):
		f.condition, f.typ, f.text = stanza.Condition, stanza.Type, stanza.Text
	case errors.As(err, &stream):
		f.condition, f.text = stream.Condition, stream.Text
	case errors.As(err, &syntax):
		f.condition = syntax.Condition
	case errors.As(err, &route):
		f.condition = route.Condition
	case errors.Is(err, session.ErrNoTLS):
		f.condition = "tls-not-offered"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.condition = "connection-refused"
	case errors.As(err, &cut), errors.Is(err, session.ErrClosed), errors.Is(err, wire.ErrClosed), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		f.condition = conditionLost
	case errors.Is(err, wire.ErrQueueFull):
		f.condition = "resource-constraint"
	case f.stage == session.StepTLS:
		f.condition = "tls-failed"
	case errors.As(err, &operation), f.stage == stageDial:
		f.condition = "unreachable"
	}
	return f
}

// errTimeout is the cause of contexts that a time-out of the script ends.
var errTimeout = errors.New("no answer in time")

// stageOf groups the steps of a login into the stages that the metrics have.
func stageOf(step string) string {
	switch step {
	case session.StepResolve, session.StepDial:
		return stageDial
	case session.StepHeader, session.StepFeatures:
		return stageStream
	case session.StepStartTLS, session.StepTLS:
		return session.StepTLS
	case session.StepConfig:
		return stageSession
	}
	return step
}

// jsError makes an XMPPError. It runs on the event loop, perhaps after the runtime has
// been interrupted: no line of JavaScript may run then, so the constructor is not called.
func (m *instance) jsError(err error, stack ...sobek.StackFrame) *sobek.Object {
	f := fail(stageSession, err)
	o := m.rt.CreateObject(m.errorProto)
	hidden := func(name, value string) {
		must(m.rt, o.DefineDataProperty(name, m.rt.ToValue(value), sobek.FLAG_TRUE, sobek.FLAG_TRUE, sobek.FLAG_FALSE))
	}
	hidden("message", f.Error())
	// The error is made when nothing is left of the call that failed.
	b := bytes.NewBufferString(errorName + ": " + f.Error())
	for i := range stack {
		if stack[i].SrcName() == "<native>" {
			continue
		}
		b.WriteString("\n\tat ")
		stack[i].Write(b)
	}
	hidden("stack", b.String())
	for _, field := range [][2]string{{"stage", f.stage}, {"condition", f.condition}, {"type", f.typ}, {"text", f.text}} {
		if field[1] != "" {
			must(m.rt, o.Set(field[0], field[1]))
		}
	}
	return o
}

// errorName is the name of the class of errors.
const errorName = "XMPPError"

// typeErrorf throws a TypeError, for calls that cannot mean anything.
func (m *instance) typeErrorf(format string, args ...any) {
	panic(m.rt.NewTypeError("xmpp: %s", fmt.Sprintf(format, args...)))
}
