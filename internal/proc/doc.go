// Package proc knows processes: it starts children of the running program, talks to them over a control pipe, and reads what any
// process costs.
//
// A [Child] is this very executable, started again with a hidden argument. Parent and child exchange JSON lines over the child's
// standard input and output; the child's side of that talk is [Serve]. A child does not outlive its parent: it ends when the control
// pipe closes, and on Linux the kernel kills it as soon as its parent is gone, kill -9 included.
//
//	// In main, before anything else:
//	if len(os.Args) > 2 && os.Args[1] == proc.ChildArgument {
//		err := proc.Serve(ctx, os.Stdin, os.Stdout, roles[os.Args[2]])
//		...
//	}
//	// In the parent:
//	child, err := proc.Start(ctx, "simulator", config, proc.Options{})
//	err = child.Call(ctx, "addresses", nil, &addresses)
//
// [CPU] and [Usage] give the figures of processes, [CPUPressure] and [Steal] those of the machine, and a
// [RuntimeMeter] those of this process's Go runtime. Figures that a system does not offer are answered with [ErrUnavailable].
//
// The package knows no protocol and no measurement: what a child does is up to its [Handler], and what a figure means is up to the
// reader.
package proc
