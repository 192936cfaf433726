// Package results keeps what a run measured and judges it: samples, histograms,
// the run directory, thresholds, statistics, verdicts and reports.
//
// It knows nothing of XMPP and nothing of how load is made: samples and counts
// come in through a [Sink], and a run directory lies between measuring and
// reporting.
package results
