// Command registry is Distribution's registry with the one storage driver that the sandbox uses.
//
// Its own command also links the drivers for S3, Azure and Google Cloud Storage, with their SDKs.
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
