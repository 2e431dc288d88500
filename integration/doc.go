// Package integration tests xasql against real servers and real crashes. It is a module of its own, so that
// containers and client libraries never reach the go.sum of xasql's users.
//
// Package engines says where the servers come from.
package integration
