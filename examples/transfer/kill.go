package main

import (
	"fmt"
	"os"

	"github.com/xasql/xasql/xa"
)

// killPoint is where in the commit protocol the process kills itself, as a crash would. Empty: nowhere.
type killPoint string

const (
	beforeDecision killPoint = "before-decision"
	afterDecision  killPoint = "after-decision"
)

func (k *killPoint) set(s string) error {
	*k = killPoint(s)
	if *k != beforeDecision && *k != afterDecision {
		return fmt.Errorf("want %s or %s", beforeDecision, afterDecision)
	}
	return nil
}

// trace hooks into the protocol. Its hooks run at the very point that their names tell.
func (k killPoint) trace() *xa.Trace {
	switch k {
	case beforeDecision:
		return &xa.Trace{DecideStart: func(e xa.TxEvent) {
			die("all databases are prepared, and nothing is decided", e.ID)
		}}
	case afterDecision:
		return &xa.Trace{DecideDone: func(e xa.TxEvent) {
			die("all databases are prepared, and the decision to commit is in the log", e.ID)
		}}
	}
	return nil
}

// die ends the process with SIGKILL: nothing is cleaned up, nobody is told.
func die(state, id string) {
	fmt.Printf("%s: %s. kill -9!\n", id, state)
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // the signal may take a moment
}
