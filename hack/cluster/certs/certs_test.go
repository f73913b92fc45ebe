package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readCert(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestIdentities verifies each certificate as its peer in the cluster does.
func TestIdentities(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, "10.89.0.1", "10.96.0.1", []string{"n1=10.89.0.11"}); err != nil {
		t.Fatal(err)
	}
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, tt := range []struct {
		file, authority, user, group string
		usage                        x509.ExtKeyUsage
		hosts                        []string
	}{
		{"apiserver", "ca", "kube-apiserver", "", server, []string{"10.89.0.1", "10.96.0.1", "127.0.0.1", "kubernetes.default.svc"}},
		{"apiserver-kubelet", "ca", "kube-apiserver-kubelet", "system:masters", client, nil},
		{"front-proxy-client", "front", "front-proxy-client", "", client, nil},
		{"admin", "ca", "admin", "system:masters", client, nil},
		{"kube-scheduler", "ca", "system:kube-scheduler", "", client, nil},
		{"n1", "ca", "system:node:n1", "system:nodes", client, nil},
		{"n1-serving", "ca", "system:node:n1", "system:nodes", server, []string{"10.89.0.11", "n1"}},
	} {
		cert := readCert(t, dir, tt.file)
		roots := x509.NewCertPool()
		roots.AddCert(readCert(t, dir, tt.authority))
		for _, host := range append(tt.hosts, "") {
			options := x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{tt.usage}}
			if _, err := cert.Verify(options); err != nil {
				t.Errorf("%s for %q: %v", tt.file, host, err)
			}
		}
		if got := strings.Join(cert.Subject.Organization, ","); cert.Subject.CommonName != tt.user || got != tt.group {
			t.Errorf("%s speaks for %q in %q, want %q in %q", tt.file, cert.Subject.CommonName, got, tt.user, tt.group)
		}
	}
	config, err := os.ReadFile(filepath.Join(dir, "n1.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(config), `server: "https://10.89.0.1:6443"`) {
		t.Errorf("kubeconfig:\n%s", config)
	}
}

func TestRefusedArguments(t *testing.T) {
	for _, tt := range []struct{ server, service, node string }{
		{"", "10.96.0.1", "n1=10.89.0.11"},
		{"10.89.0.1", "x", "n1=10.89.0.11"},
		{"10.89.0.1", "10.96.0.1", "n1"},
		{"10.89.0.1", "10.96.0.1", "=10.89.0.11"},
		{"10.89.0.1", "10.96.0.1", "n1=host"},
	} {
		if err := run(t.TempDir(), tt.server, tt.service, []string{tt.node}); err == nil {
			t.Errorf("%+v is taken", tt)
		}
	}
}
