package v1alpha1

// Keys of the ConfigMap in which the operator keeps what it accepted. Just one of the first two is there.
const (
	ConfigKey           = "config.yaml"
	CompressedConfigKey = "config.yaml.gz"
	// IncompleteConfigKey is there where the Dtabs did not fit: no proxy becomes ready on such a configuration.
	IncompleteConfigKey = "incomplete"
)

// ConfigMapName returns the name of the ConfigMap of a mesh.
func ConfigMapName(mesh string) string { return mesh + "-config" }
