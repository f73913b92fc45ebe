package control

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// REST returns how to reach the API server: by a kubeconfig file, or by the Pod's service account where file is "".
func REST(file, userAgent string) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if file == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags("", file)
	}
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	cfg.UserAgent = userAgent
	return cfg, nil
}
