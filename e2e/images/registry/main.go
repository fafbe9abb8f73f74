// Command registry is the CNCF distribution registry with nothing but its file system driver: the stock command links the
// client libraries of every cloud's object store, which cost minutes to compile and are of no use to a test.
package main

import (
	"fmt"
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
