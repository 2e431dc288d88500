// Package faultproxy puts a bad network between a database and the tests of this process: a TCP proxy that cuts, hangs,
// and strikes at a chosen statement. A slow network is [toxiproxy]'s work, through which a connection goes while
// it is asked to be slow.
//
// [toxiproxy]: https://pkg.go.dev/github.com/Shopify/toxiproxy/v2
package faultproxy
