// Command registry is the CNCF distribution registry with only its file system store: no cloud provider's client is built.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	// The command prints its own error.
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
