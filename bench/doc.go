// Package bench is the load engine: it fixes when each operation should start,
// starts it then, and measures how well it kept that promise.
//
// A [Pacer] is a pure arrival plan. [Run] follows it in an open loop: the plan
// never waits for answers, and an operation that starts late is still timed
// from when it should have started, so a stall of the target is seen by every
// arrival that fell into it. [Probe] does the same for one stream whose answers
// come back asynchronously. [Blocks] interleaves what is compared, and a
// [Monitor] says what the generator itself consumed meanwhile.
//
// The package knows nothing of XMPP, writes no files and passes no judgement:
// samples go to a [results.Sink], and the figures by which a run is judged are
// returned as [Stats], [ProbeStats] and [Figures].
package bench
