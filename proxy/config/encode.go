package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const (
	kindMesh = "Mesh"
	kindDtab = "Dtab"
)

// document is what Encode writes of one object.
type document[S any] struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   identity `json:"metadata"`
	Spec       S        `json:"spec"`
}

// identity is what Encode writes of an object's metadata.
type identity struct {
	Name       string    `json:"name"`
	Namespace  string    `json:"namespace,omitempty"`
	UID        types.UID `json:"uid,omitempty"`
	Generation int64     `json:"generation,omitempty"`
}

func identityOf(o *metav1.ObjectMeta) identity {
	return identity{Name: o.Name, Namespace: o.Namespace, UID: o.UID, Generation: o.Generation}
}

func (id identity) objectMeta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: id.Name, Namespace: id.Namespace, UID: id.UID, Generation: id.Generation}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

// Encode returns a YAML stream of the mesh (nil: none) and the Dtabs by namespace and name, with name, namespace, uid, generation
// and spec of each. Equal objects give equal bytes. Every document is one line of JSON, which Decode reads far faster than other
// YAML: this is the form of the ConfigMap and the snapshot.
func Encode(mesh *v1alpha1.Mesh, dtabs []*v1alpha1.Dtab) ([]byte, error) {
	var out bytes.Buffer
	if mesh != nil {
		if err := encodeDocument(&out, kindMesh, &mesh.ObjectMeta, &mesh.Spec); err != nil {
			return nil, err
		}
	}
	sorted := slices.Clone(dtabs)
	slices.SortStableFunc(sorted, func(a, b *v1alpha1.Dtab) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, d := range sorted {
		if err := encodeDocument(&out, kindDtab, &d.ObjectMeta, &d.Spec); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func encodeDocument[S any](out *bytes.Buffer, kind string, meta *metav1.ObjectMeta, spec *S) error {
	out.WriteString("---\n")
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false) // "&" and "=>" are what dtabs are made of
	d := document[*S]{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Metadata: identityOf(meta), Spec: spec}
	if err := enc.Encode(d); err != nil {
		return fmt.Errorf("encode %s %s/%s: %w", kind, meta.Namespace, meta.Name, err)
	}
	return nil
}
