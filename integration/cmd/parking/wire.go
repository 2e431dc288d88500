package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// tap is what the connections to one database of a trial have in common.
type tap struct {
	t    *trial
	side string
	next atomic.Pointer[expected]
}

// expected is a statement whose reply is an event.
type expected struct {
	text  string // it contains
	event string
}

// expect makes the reply to the next statement that contains the text an event.
func (p *tap) expect(text, event string) { p.next.Store(&expected{text, event + " " + p.side}) }

// dial connects to the server through a wire.
func (p *tap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, tap: p}, nil
}

// wire is a connection to a server. Where the trial stops at the reply to a statement, the server has executed that statement, and the reply is
// never read: afterwards the connection is found broken.
type wire struct {
	net.Conn
	tap   *tap
	event atomic.Pointer[string] // what the next reply is
}

func (w *wire) Write(p []byte) (int, error) {
	if e := w.tap.next.Load(); e != nil && bytes.Contains(p, []byte(e.text)) && w.tap.next.CompareAndSwap(e, nil) {
		w.event.Store(&e.event)
	}
	return w.Conn.Write(p)
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	if event := w.event.Swap(nil); event != nil && w.tap.t.at(*event) {
		_ = w.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// SyscallConn lets MySQL's driver look whether the server has closed the connection, as it does without a wire.
func (w *wire) SyscallConn() (syscall.RawConn, error) { return w.Conn.(syscall.Conn).SyscallConn() }
