package main

import (
	"os"
	"path/filepath"
	"strings"
)

// Where every pod with an account finds its token and the authority of the API server.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// cluster looks at what k8s_attributes needs to ask the API server; whether that answers is no reason not to start.
func (c *checker) cluster(where string, settings map[string]any) {
	switch auth, _ := settings["auth_type"].(string); auth {
	case "serviceAccount", "":
		for _, name := range []string{"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} {
			if os.Getenv(name) == "" {
				c.wrong(where+"::auth_type", "serviceAccount needs %s: this is no pod; kubeConfig asks as kubectl does", name)
			}
		}
		if _, err := os.Stat(filepath.Join(account, "token")); err != nil {
			c.wrong(where+"::auth_type", "serviceAccount: %v: automountServiceAccountToken is off", err)
		}
		filter, _ := settings["filter"].(map[string]any)
		if node, _ := filter["node"].(string); node == "unknown" {
			c.wrong(where+"::filter::node", "OTELCOL_NODE_NAME is not set: no pod is on a node of that name")
		}
	case "kubeConfig":
		files := os.Getenv("KUBECONFIG")
		if files == "" {
			files = filepath.Join(os.Getenv("HOME"), ".kube", "config")
		}
		for _, file := range strings.Split(files, string(os.PathListSeparator)) {
			if _, err := os.Stat(file); err != nil {
				c.wrong(where+"::auth_type", "kubeConfig: %v", err)
			}
		}
	}
}
