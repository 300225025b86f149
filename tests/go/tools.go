//go:build tools

// Programs that are built as they are.
package tools

import _ "github.com/google/go-containerregistry/cmd/crane"
