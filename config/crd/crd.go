// Package crd holds the CustomResourceDefinitions of this build.
package crd

import "embed"

// Bases are the generated definitions, below bases/.
//
//go:embed bases/*.yaml
var Bases embed.FS
