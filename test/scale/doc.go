// Package scale measures many real proxies on one real API server: how long a Dtab takes from its write to the last proxy that
// serves it, how long a proxy takes to start, and what proxies and operator need of memory. Its tests have the build tag scale,
// need root for network namespaces, and are run by hack/scale; they are not benchmarks of the data plane, which hack/bench has.
package scale
