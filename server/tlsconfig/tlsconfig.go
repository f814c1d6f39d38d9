// Package tlsconfig reads the certificate authorities that the settings name for connections to one peer.
package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Load returns the TLS configuration for connections to peer, the name that errors use, such as "LiveKit": TLS 1.2 or later,
// and, if caFile is not empty, the certificate authorities of that PEM file instead of the system's. An operator who names a
// file trusts those authorities only, so the system's are not added.
//
// It fails when the file cannot be read or holds no certificate.
func Load(caFile, peer string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file of %s: %w", peer, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA file of %s, %s, holds no certificate in PEM", peer, caFile)
	}
	return config, nil
}
