// Package k6docs holds the test of docs/k6-api.md, the description of the JavaScript
// API, which is made from index.d.ts. "make generate" writes it anew.
package k6docs
