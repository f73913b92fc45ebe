package desired

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// MaxConfigBytes is how much the ConfigMap may hold; the API server refuses objects above about 1 MiB.
const MaxConfigBytes = 900 << 10

// maxDocuments bounds what is unpacked from a ConfigMap.
const maxDocuments = 64 << 20

// Content is what goes into the ConfigMap.
type Content struct {
	Key  string
	Data []byte
	// Size is the number of bytes of all documents, and Compressed that of the packed form (0: they fit as they are).
	Size, Compressed int
	// Incomplete is set where not even the packed form fits: the content is then the Mesh alone.
	Incomplete bool
}

// NewContent chooses the form: as it is, packed, or (marked incomplete) the Mesh alone.
func NewContent(all, mesh []byte) (Content, error) {
	if len(all) <= MaxConfigBytes {
		return Content{Key: v1alpha1.ConfigKey, Data: all, Size: len(all)}, nil
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(all); err != nil {
		return Content{}, fmt.Errorf("pack configuration: %w", err)
	}
	if err := w.Close(); err != nil {
		return Content{}, fmt.Errorf("pack configuration: %w", err)
	}
	if packed.Len() <= MaxConfigBytes {
		return Content{Key: v1alpha1.CompressedConfigKey, Data: packed.Bytes(), Size: len(all), Compressed: packed.Len()}, nil
	}
	return Content{Key: v1alpha1.ConfigKey, Data: mesh, Size: len(all), Compressed: packed.Len(), Incomplete: true}, nil
}

// ConfigMap returns the durable store of the accepted documents. resourceVersion ("" for a new one) makes the write fail where
// somebody else wrote since, so that a process which was cut off never puts back what is old.
func ConfigMap(m *config.Mesh, c Content, resourceVersion string) *corev1ac.ConfigMapApplyConfiguration {
	cm := corev1ac.ConfigMap(v1alpha1.ConfigMapName(m.Name), m.Namespace).
		WithLabels(labels(m)).
		WithOwnerReferences(owner(m))
	if resourceVersion != "" {
		cm.WithResourceVersion(resourceVersion)
	}
	if c.Key == v1alpha1.CompressedConfigKey {
		return cm.WithBinaryData(map[string][]byte{c.Key: c.Data})
	}
	if c.Incomplete {
		cm.WithData(map[string]string{v1alpha1.IncompleteConfigKey: "true"})
	}
	return cm.WithData(map[string]string{c.Key: string(c.Data)})
}

// Documents returns the documents of a ConfigMap's data, unpacked; nil where there are none.
func Documents(data map[string]string, binary map[string][]byte) ([]byte, error) {
	if text, ok := data[v1alpha1.ConfigKey]; ok {
		return []byte(text), nil
	}
	packed, ok := binary[v1alpha1.CompressedConfigKey]
	if !ok {
		return nil, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", v1alpha1.CompressedConfigKey, err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxDocuments+1))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", v1alpha1.CompressedConfigKey, err)
	}
	if len(out) > maxDocuments {
		return nil, fmt.Errorf("unpack %s: more than %d bytes", v1alpha1.CompressedConfigKey, maxDocuments)
	}
	return out, nil
}
