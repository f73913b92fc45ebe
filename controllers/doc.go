// Package controllers makes the cluster what the Meshes and Dtabs say, and their status what the proxies say. It observes, lets the
// pure rooms decide (proxy/config, desired, rollup), applies by server-side apply, and records events on transitions.
//
// Writers: the Mesh controller alone writes a mesh's children and Mesh.status, the Dtab controller alone Dtab.status. What the Mesh
// controller decides about a Dtab reaches the Dtab controller in memory (verdicts); both run in the one leader.
//
// It routes no traffic and tells proxies nothing: they watch Meshes and Dtabs themselves. The ConfigMap is for their start while
// the API server is away.
package controllers
