// Command registry is the registry of github.com/distribution/distribution with only the storage driver for files.
//
// The command of that module also includes the drivers for S3, Azure and Google Cloud Storage, with their SDKs.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
