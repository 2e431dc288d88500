// Package layout holds what must stay as it is: who may import whom (docs/design.md), and the signatures that programs outside
// compile against. It has no code of its own.
package layout
