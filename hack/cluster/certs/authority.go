package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is far longer than a test cluster lives, and short enough that nobody keeps one of these certificates.
const lifetime = 30 * 24 * time.Hour

// folder is where everything is written, readable by the owner alone.
type folder struct{ dir string }

func (f folder) write(name string, content []byte) error {
	if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o600); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (f folder) writePEM(name, kind string, der []byte) error {
	return f.write(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// newKey makes a P-256 key and writes it to name.key.
func (f folder) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("%s: generate key: %w", name, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s: encode key: %w", name, err)
	}
	return key, f.writePEM(name+".key", "EC PRIVATE KEY", der)
}

type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// newAuthority makes a self-signed root in name.crt and name.key.
func newAuthority(out folder, name, commonName string) (*authority, error) {
	key, err := out.newKey(name)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: commonName})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("%s: sign: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: parse: %w", name, err)
	}
	return &authority{key: key, cert: cert}, out.writePEM(name+".crt", "CERTIFICATE", der)
}

// issue writes the identity's key and certificate. One with names is for servers alone, one without for clients alone.
func (a *authority) issue(out folder, id identity) error {
	key, err := out.newKey(id.file)
	if err != nil {
		return err
	}
	subject := pkix.Name{CommonName: id.user}
	if id.group != "" {
		subject.Organization = []string{id.group}
	}
	template, err := newTemplate(subject)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(id.dns)+len(id.addrs) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	template.DNSNames = id.dns
	for _, addr := range id.addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return out.writePEM(id.file+".crt", "CERTIFICATE", der)
}

// newTemplate is valid from an hour ago: the clock of a virtual machine may be set back while the cluster runs.
func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
	}, nil
}

// writeServiceAccountKey writes sa.key, which signs the tokens of ServiceAccounts, and sa.pub, which verifies them.
func writeServiceAccountKey(out folder) error {
	key, err := out.newKey("sa")
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("sa: encode public key: %w", err)
	}
	return out.writePEM("sa.pub", "PUBLIC KEY", der)
}

// writeKubeconfig writes name.kubeconfig for the identity in name.crt and name.key, with everything inlined.
func writeKubeconfig(out folder, name, server string) error {
	encoded := make([]any, 0, 4)
	for _, file := range []string{"ca.crt", name + ".crt", name + ".key"} {
		content, err := os.ReadFile(filepath.Join(out.dir, file))
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		encoded = append(encoded, base64.StdEncoding.EncodeToString(content))
	}
	const format = `apiVersion: v1
kind: Config
clusters:
- name: fairlead
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: user
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: fairlead
  context: {cluster: fairlead, user: user}
current-context: fairlead
`
	return out.write(name+".kubeconfig", fmt.Appendf(nil, format, append([]any{server}, encoded...)...))
}
