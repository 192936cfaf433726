package xk6xmpp

import (
	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
)

// A class describes a JavaScript class whose objects stand for a Go value.
type class[T any] struct {
	name    string
	make    func(m *instance, call sobek.ConstructorCall) T // nil: scripts cannot make one
	methods map[string]func(self T, call sobek.FunctionCall) sobek.Value
	getters map[string]func(self T) any
}

// constructor returns the constructor of a class. Its table is read when the first
// object is made, since most virtual users need few classes.
func constructor[T any](m *instance, table func() class[T]) sobek.Value {
	return m.rt.ToValue(func(call sobek.ConstructorCall) *sobek.Object {
		c := table()
		prototype(m, c, call.This.Prototype())
		value := c.make(m, call)
		m.bind(call.This, value)
		return call.This
	})
}

// object makes an object of a class that scripts cannot make objects of.
func object[T any](m *instance, table func() class[T], value T) *sobek.Object {
	c := table()
	o := m.rt.CreateObject(prototype(m, c, nil))
	m.bind(o, value)
	return o
}

// bind makes o the object of a Go value.
func (m *instance) bind(o *sobek.Object, value any) {
	must(m.rt, o.DefineDataPropertySymbol(m.inner, m.rt.ToValue(value), sobek.FLAG_FALSE, sobek.FLAG_FALSE, sobek.FLAG_FALSE))
}

// prototype fills in the prototype of a class, once. proto is that of an object made by
// new, perhaps of a class derived by the script; the methods go to where they are found
// from there as well.
func prototype[T any](m *instance, c class[T], proto *sobek.Object) *sobek.Object {
	if p := m.prototypes[c.name]; p != nil {
		return p
	}
	if proto == nil {
		proto = m.rt.NewObject()
	}
	if named, ok := m.exports.Named[c.name].(*sobek.Object); ok {
		proto = named.Get("prototype").ToObject(m.rt)
	}
	for name, method := range c.methods {
		f := m.rt.ToValue(func(call sobek.FunctionCall) sobek.Value { return method(self[T](m, call.This, c.name), call) })
		must(m.rt, proto.DefineDataProperty(name, f, sobek.FLAG_TRUE, sobek.FLAG_TRUE, sobek.FLAG_FALSE))
	}
	for name, get := range c.getters {
		f := m.rt.ToValue(func(call sobek.FunctionCall) sobek.Value { return m.rt.ToValue(get(self[T](m, call.This, c.name))) })
		must(m.rt, proto.DefineAccessorProperty(name, f, nil, sobek.FLAG_FALSE, sobek.FLAG_TRUE))
	}
	if m.prototypes == nil {
		m.prototypes = make(map[string]*sobek.Object)
	}
	m.prototypes[c.name] = proto
	return proto
}

// self returns the Go value of an object.
func self[T any](m *instance, this sobek.Value, name string) T {
	if v, ok := inside[T](m, this); ok {
		return v
	}
	panic(m.rt.NewTypeError("xmpp: this is not a %s", name))
}

// inside returns the Go value of an object, if it has one of this kind.
func inside[T any](m *instance, v sobek.Value) (value T, ok bool) {
	o, isObject := v.(*sobek.Object)
	if !isObject {
		return value, false
	}
	inner := o.GetSymbol(m.inner)
	if inner == nil {
		return value, false
	}
	value, ok = inner.Export().(T)
	return value, ok
}

// must throws an error that only a fault in this package can cause.
func must(rt *sobek.Runtime, err error) {
	if err != nil {
		common.Throw(rt, err)
	}
}
