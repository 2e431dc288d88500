package main

import (
	"slices"
	"testing"
)

func TestFlatnessComparesThirds(t *testing.T) {
	f := flatness{names: []string{"goroutines"}}
	for _, n := range []float64{10, 12, 20, 22, 30, 32, 99} { // what does not divide by three comes after the last third
		f.samples = append(f.samples, []float64{n})
	}
	got := f.series()
	if len(got) != 1 || got[0].Name != "goroutines" || got[0].Means != [3]float64{11, 21, 31} || got[0].Peaks != [3]float64{12, 22, 32} {
		t.Errorf("got %+v", got)
	}
	if want := []float64{225.0 / 7}; !slices.Equal(got[0].Minutes, want) {
		t.Errorf("got the minutes %v, want %v", got[0].Minutes, want)
	}
	if got := (flatness{names: f.names, samples: f.samples[:2]}).series(); got != nil {
		t.Errorf("of two samples: %v", got)
	}
}
