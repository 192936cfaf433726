// Package observe reads what the server under test uses: its processes, the control group and network that they are in, and what it
// tells of itself over HTTP. The processes are on this machine, or on that of an agent, which is this package's [Handler] there.
//
//	o, err := observe.Open(observe.Config{PIDFile: "prosody.pid", Metrics: "http://127.0.0.1:5280/metrics"})
//	defer o.Close()
//	reading, err := o.Read(ctx)
//
// Nothing here judges: what a figure means is up to the reader.
package observe
