package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// flatness is how a worker that is never killed is doing over the run, sampled every second.
type flatness struct {
	names   []string
	samples [][]float64 // one value for each name
}

// series is one of the figures: mean and greatest value in each third of the run.
type series struct {
	Name    string     `json:"name"`
	Means   [3]float64 `json:"means"`
	Peaks   [3]float64 `json:"peaks"`
	Minutes []float64  `json:"minutes"` // means
}

// takeSample takes a sample of the steady worker.
func (r *run) takeSample() {
	s := r.slots[0]
	s.mu.Lock()
	last, process := s.last, s.process
	s.mu.Unlock()
	if !s.steady || process == nil || last.Goroutines == 0 {
		return
	}
	names := []string{"goroutines", "connections", "heap MB", "memory MB", "open files"}
	values := []float64{float64(last.Goroutines), float64(last.Connections), float64(last.Heap) / 1e6, residentMB(process.Pid), openFiles(process.Pid)}
	if dir, isFile := strings.CutPrefix(s.log, "file:"); isFile {
		names, values = append(names, "log KB"), append(values, sizeKB(dir))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flat.names, r.flat.samples = names, append(r.flat.samples, values)
}

// series works out the figures.
func (f flatness) series() []series {
	var out []series
	third := len(f.samples) / 3
	if third == 0 {
		return nil
	}
	for i, name := range f.names {
		s := series{Name: name}
		for t := range 3 {
			part := f.samples[t*third : (t+1)*third]
			s.Means[t], s.Peaks[t] = meanAndPeak(part, i)
		}
		for minute := range slices.Chunk(f.samples, 60) {
			mean, _ := meanAndPeak(minute, i)
			s.Minutes = append(s.Minutes, mean)
		}
		out = append(out, s)
	}
	return out
}

func meanAndPeak(samples [][]float64, i int) (mean, peak float64) {
	for _, sample := range samples {
		mean += sample[i]
		peak = max(peak, sample[i])
	}
	return mean / float64(len(samples)), peak
}

func printFlatness(all []series) {
	if all == nil {
		return
	}
	fmt.Printf("the worker that was never killed, in the first, middle and last third of the run, mean (and peak):\n")
	for _, s := range all {
		fmt.Printf("  %-12s", s.Name)
		for t := range 3 {
			fmt.Printf("%10.1f (%.1f)", s.Means[t], s.Peaks[t])
		}
		fmt.Println()
	}
}

// residentMB is what of a process is in memory, 0 where the system does not tell.
func residentMB(pid int) float64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()) / 1e6
}

func openFiles(pid int) float64 {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return float64(len(files))
}

// sizeKB is the size of a directory's files. Those that go while it looks don't count.
func sizeKB(dir string) float64 {
	var size int64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if info, err := entry.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return float64(size) / 1e3
}
