// Package watch tests that endpoints stay equal to those of a real API server, whatever happens on the way to it. Between the two
// stands an injector of faults that ends TLS with a CA of its own.
package watch
