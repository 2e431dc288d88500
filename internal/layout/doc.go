// Package layout holds the test of who may import whom (docs/design.md). It has no code.
package layout
