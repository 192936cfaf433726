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

// classOf returns the table of a class, which all virtual users share.
func classOf[T any](r *RootModule, table func() class[T]) *class[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := any((*T)(nil))
	c, ok := r.classes[key].(*class[T])
	if !ok {
		made := table()
		c = &made
		r.classes[key] = c
	}
	return c
}

// constructor returns the constructor of a class.
func constructor[T any](m *instance, table func() class[T]) sobek.Value {
	c := classOf(m.root, table)
	return m.rt.ToValue(func(call sobek.ConstructorCall) *sobek.Object {
		prototype(m, c)
		value := c.make(m, call)
		m.bind(call.This, value)
		return call.This
	})
}

// object makes an object of a class that scripts cannot make objects of.
func object[T any](m *instance, table func() class[T], value T) *sobek.Object {
	o := m.rt.CreateObject(prototype(m, classOf(m.root, table)))
	m.bind(o, value)
	return o
}

// box hides a Go value from the runtime, which keeps a description of every type that it
// is given, for each virtual user anew.
type box struct{ value any }

// bind makes o the object of a Go value.
func (m *instance) bind(o *sobek.Object, value any) {
	must(m.rt, o.DefineDataPropertySymbol(m.inner, m.rt.ToValue(&box{value}), sobek.FLAG_FALSE, sobek.FLAG_FALSE, sobek.FLAG_FALSE))
}

// prototype fills in the prototype of a class, once: the getters, and below them the
// methods, each of which is made when it is first asked for. A function takes a kilobyte
// of each virtual user.
func prototype[T any](m *instance, c *class[T]) *sobek.Object {
	name := c.name
	if p := m.prototypes[name]; p != nil {
		return p
	}
	proto := m.rt.NewObject()
	if named, ok := m.exports.Named[name].(*sobek.Object); ok {
		proto = named.Get("prototype").ToObject(m.rt)
	}
	for property, get := range c.getters {
		f := m.rt.ToValue(func(call sobek.FunctionCall) sobek.Value { return m.rt.ToValue(get(self[T](m, call.This, name))) })
		must(m.rt, proto.DefineAccessorProperty(property, f, nil, sobek.FLAG_FALSE, sobek.FLAG_TRUE))
	}
	must(m.rt, proto.SetPrototype(m.rt.NewDynamicObject(&methods[T]{m: m, class: c})))
	if m.prototypes == nil {
		m.prototypes = make(map[string]*sobek.Object)
	}
	m.prototypes[name] = proto
	return proto
}

// methods are those of a class, as an object of JavaScript.
type methods[T any] struct {
	m     *instance
	class *class[T]
	made  map[string]sobek.Value
}

// Get implements sobek.DynamicObject.
func (x *methods[T]) Get(key string) sobek.Value {
	if f := x.made[key]; f != nil {
		return f
	}
	method := x.class.methods[key]
	if method == nil {
		return nil
	}
	m, name := x.m, x.class.name
	f := m.rt.ToValue(func(call sobek.FunctionCall) sobek.Value { return method(self[T](m, call.This, name), call) })
	if x.made == nil {
		x.made = make(map[string]sobek.Value)
	}
	x.made[key] = f
	return f
}

// Has implements sobek.DynamicObject.
func (x *methods[T]) Has(key string) bool { return x.class.methods[key] != nil }

// Set implements sobek.DynamicObject: classes are as they are.
func (*methods[T]) Set(string, sobek.Value) bool { return false }

// Delete implements sobek.DynamicObject.
func (*methods[T]) Delete(string) bool { return false }

// Keys implements sobek.DynamicObject: methods are not enumerable.
func (*methods[T]) Keys() []string { return nil }

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
	b, ok := inner.Export().(*box)
	if !ok {
		return value, false
	}
	value, ok = b.value.(T)
	return value, ok
}

// must throws an error that only a fault in this package can cause.
func must(rt *sobek.Runtime, err error) {
	if err != nil {
		common.Throw(rt, err)
	}
}
