// Package k8s holds the tests of examples/k8s. Some of them stand behind the build
// tag k8s and are run by "make k8s": they hold the manifests against the schema of
// the operator, which the go command fetches as a module. It is not copied into this
// repository, and nothing of it is linked.
package k8s
