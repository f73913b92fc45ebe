// Package strip takes out of protobuf messages of the API server what nobody reads, before they are decoded: managed fields,
// annotations and the like are never made into objects. It knows the wire format and nothing of any type: what is kept is told by
// field numbers, which the API never changes.
package strip

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Fields are those of a message that are kept, by number.
type Fields map[protowire.Number]Field

// Field says what is kept of a field: all of it, or of a message in it only Fields, or of a map only the entry of Key.
type Field struct {
	Fields Fields
	Key    string
}

// Numbers in runtime.Unknown, TypeMeta, and any list of the API.
const (
	typeMeta protowire.Number = 1
	raw      protowire.Number = 2
	kind     protowire.Number = 2
	listMeta protowire.Number = 1
	items    protowire.Number = 2
	mapKey   protowire.Number = 1
)

// prefix stands before every object in protobuf.
var prefix = []byte("k8s\x00")

// Serializer returns s with objects stripped while it decodes protobuf. kinds has what is kept by kind; of a list of a kind the
// same is kept of each item. Other kinds, as Status, and other formats stay as they are.
func Serializer(s runtime.NegotiatedSerializer, kinds map[string]Fields) runtime.NegotiatedSerializer {
	envelopes := make(map[string]Fields, 2*len(kinds))
	for name, keep := range kinds {
		envelopes[name] = envelope(keep)
		envelopes[name+"List"] = envelope(Fields{listMeta: {}, items: {Fields: keep}})
	}
	return serializer{s, envelopes}
}

func envelope(keep Fields) Fields { return Fields{typeMeta: {}, raw: {Fields: keep}} }

type serializer struct {
	runtime.NegotiatedSerializer
	envelopes map[string]Fields
}

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (s serializer) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return decoder{s.NegotiatedSerializer.DecoderToVersion(d, gv), s.envelopes}
}

type decoder struct {
	runtime.Decoder
	envelopes map[string]Fields
}

// Decode implements runtime.Decoder. It overwrites data.
func (d decoder) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if message, ok := bytes.CutPrefix(data, prefix); ok {
		if keep, ok := d.envelopes[string(kindOf(message))]; ok {
			kept, err := Message(message, keep)
			if err != nil {
				return nil, nil, err
			}
			data = data[:len(prefix)+len(kept)]
		}
	}
	return d.Decoder.Decode(data, gvk, into)
}

// kindOf returns the kind that an envelope says is in it, or "".
func kindOf(envelope []byte) []byte {
	meta, err := find(envelope, typeMeta)
	if err != nil {
		return nil
	}
	name, err := find(meta, kind)
	if err != nil {
		return nil
	}
	return name
}

// find returns the last field of a number, as protobuf has it, if it is bytes.
func find(message []byte, number protowire.Number) (found []byte, err error) {
	for len(message) > 0 {
		n, wire, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, fmt.Errorf("protobuf: %w", protowire.ParseError(size))
		}
		length := protowire.ConsumeFieldValue(n, wire, message[size:])
		if length < 0 {
			return nil, fmt.Errorf("protobuf: field %d: %w", n, protowire.ParseError(length))
		}
		if n == number && wire == protowire.BytesType {
			found, _ = protowire.ConsumeBytes(message[size:])
		}
		message = message[size+length:]
	}
	return found, nil
}

// Message removes from message, in place, all but the fields to keep, and returns what is left: the front of message.
func Message(message []byte, keep Fields) ([]byte, error) {
	out := message[:0]
	for at := 0; at < len(message); {
		n, wire, size := protowire.ConsumeTag(message[at:])
		if size < 0 {
			return nil, fmt.Errorf("protobuf: %w", protowire.ParseError(size))
		}
		length := protowire.ConsumeFieldValue(n, wire, message[at+size:])
		if length < 0 {
			return nil, fmt.Errorf("protobuf: field %d: %w", n, protowire.ParseError(length))
		}
		field := message[at : at+size+length]
		at += size + length
		f, ok := keep[n]
		if !ok {
			continue
		}
		if wire != protowire.BytesType || f.Fields == nil && f.Key == "" {
			out = append(out, field...)
			continue
		}
		value, _ := protowire.ConsumeBytes(field[size:])
		if f.Key != "" {
			// An entry that is not sound is an error, like any other field: what its key is could only be guessed.
			key, err := find(value, mapKey)
			if err != nil {
				return nil, err
			}
			if string(key) == f.Key {
				out = append(out, field...)
			}
			continue
		}
		value, err := Message(value, f.Fields)
		if err != nil {
			return nil, err
		}
		// A tag and a length never get longer than they were, so nothing is overwritten that is still to be read.
		out = protowire.AppendTag(out, n, wire)
		out = protowire.AppendBytes(out, value)
	}
	return out, nil
}
