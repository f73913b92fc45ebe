package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// recall remembers the documents of the ConfigMap as the API server has it, once for each set of refused objects. The mounted copy
// may be a minute old after an outage, and a proxy that starts then would serve an older accepted generation than the others.
// It reports whether there was something to remember.
func (c *Cluster) recall(ctx context.Context, refused []config.Refusal) (bool, error) {
	if key := keyOf(refused); key == c.recalled {
		return false, nil
	} else if key == "" {
		c.recalled = ""
		return false, nil
	}
	name := v1alpha1.ConfigMapName(c.opts.Mesh)
	raw, err := c.client.Get().AbsPath("/api/v1/namespaces", c.opts.Namespace, "configmaps", name).DoRaw(ctx)
	if err != nil {
		return false, fmt.Errorf("configmap %s: %w", name, err)
	}
	var stored struct {
		Data       map[string]string `json:"data"`
		BinaryData map[string][]byte `json:"binaryData"`
	}
	if err := json.Unmarshal(raw, &stored); err != nil {
		return false, fmt.Errorf("configmap %s: %w", name, err)
	}
	m, err := unpack(func(key string) ([]byte, error) {
		if data, ok := stored.BinaryData[key]; ok {
			return data, nil
		}
		if data, ok := stored.Data[key]; ok {
			return []byte(data), nil
		}
		return nil, fs.ErrNotExist
	})
	if err != nil {
		return false, fmt.Errorf("configmap %s: %w", name, err)
	}
	docs, bad := config.Decode(name, m.data, config.Cluster)
	if bad != nil {
		c.opts.Log.Info("Stored documents ignored", "error", message(bad))
	}
	c.accept.remember(docs)
	c.recalled = keyOf(refused)
	return true, nil
}

// keyOf names a set of refused generations.
func keyOf(refused []config.Refusal) string {
	keys := make([]string, len(refused))
	for i, r := range refused {
		keys[i] = fmt.Sprintf("%s/%d", r.UID, r.Generation)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}
