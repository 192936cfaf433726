// Package browser holds the tests of web pages in a real browser. They stand behind the
// build tag browser and are run by "make browser", which installs Chromium where it is
// missing.
package browser
