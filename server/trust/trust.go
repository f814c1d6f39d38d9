// Package trust reads the certificate authorities that the settings name for one thing outside.
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS is how to connect to what is called whose in errors ("LiveKit"): with TLS 1.2 or later, and with the certificate
// authorities of a PEM file instead of the system's, if one is named. Who sets a file says with it who may vouch; a hundred
// other authorities would take that back.
//
// It fails when the file cannot be read, or holds no certificate.
func TLS(file, whose string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return config, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the CA file of %s: %w", whose, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA file of %s, %s, holds no certificate in PEM", whose, file)
	}
	return config, nil
}
