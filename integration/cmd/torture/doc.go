// Command torture
package main
