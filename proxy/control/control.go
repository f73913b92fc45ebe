// Package control decides what a proxy serves. It watches a file (File) or a cluster (Cluster), keeps the last good state when
// input is bad or missing, hands each new configuration to the application, and says what came of it: to readiness, to the disk
// (the snapshot) and to the operator (the MeshProxy).
//
// It validates nothing itself (package config does) and builds nothing (the application does).
package control

import (
	"context"

	"github.com/fairlead/fairlead/proxy/config"
)

// Apply makes a configuration the one that is served, and returns when it is. With an error the one before is still served. It is
// never called twice at a time.
type Apply func(ctx context.Context, cfg *config.Config) error

// same reports whether two configurations serve the same generations of the same objects.
func same(a, b *config.Config) bool {
	return a != nil && b != nil && a.Mesh.UID == b.Mesh.UID && a.Mesh.Generation == b.Mesh.Generation && a.Revision == b.Revision
}
