package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// cronJob has the fields of Kubernetes' batch/v1 CronJob that the example uses, in Kubernetes' spelling: it has not been applied to a cluster by any test.
type cronJob struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		Schedule                string
		ConcurrencyPolicy       string `yaml:"concurrencyPolicy"`
		StartingDeadlineSeconds int    `yaml:"startingDeadlineSeconds"`
		JobTemplate             struct {
			Spec struct {
				BackoffLimit          *int `yaml:"backoffLimit"`
				ActiveDeadlineSeconds int  `yaml:"activeDeadlineSeconds"`
				Template              struct{ Spec podSpec }
			}
		} `yaml:"jobTemplate"`
	}
}

type podSpec struct {
	RestartPolicy   string `yaml:"restartPolicy"`
	SecurityContext struct {
		RunAsNonRoot bool `yaml:"runAsNonRoot"`
		RunAsUser    int  `yaml:"runAsUser"`
		FSGroup      int  `yaml:"fsGroup"`
	} `yaml:"securityContext"`
	Containers []struct {
		Name, Image  string
		Args         []string
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
		Secret    struct {
			SecretName  string `yaml:"secretName"`
			DefaultMode int    `yaml:"defaultMode"`
		}
	}
}

func TestKubernetesExampleIsSpelledAsKubernetesDoes(t *testing.T) {
	text, err := os.ReadFile("../../docs/xa-recover.k8s.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var job cronJob
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&job); err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.JobTemplate.Spec.Template.Spec
	if job.APIVersion != "batch/v1" || job.Kind != "CronJob" || job.Spec.ConcurrencyPolicy != "Forbid" || pod.RestartPolicy != "Never" || len(pod.Containers) != 1 {
		t.Fatalf("got %+v", job)
	}
	for _, mount := range pod.Containers[0].VolumeMounts {
		found := false
		for _, v := range pod.Volumes {
			found = found || v.Name == mount.Name
		}
		if !found {
			t.Errorf("volume %q is mounted, and is not there", mount.Name)
		}
	}
	knownArguments(t, pod.Containers[0].Args)
}

func TestCronLineAndUnitsUseFlagsThatThereAre(t *testing.T) {
	for _, name := range []string{"xa-recover.cron", "xa-recover.service"} {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		runs := 0
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			i := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "xa-recover") && !strings.HasPrefix(w, "#") })
			if i >= 0 && !strings.HasPrefix(line, "#") && slices.Contains(words, "resolve") {
				runs++
				knownArguments(t, words[i+1:])
			}
		}
		if runs != 1 {
			t.Errorf("%s runs xa-recover %d times", name, runs)
		}
	}
}

// knownArguments tells whether xa-recover takes the command line.
func knownArguments(t *testing.T, args []string) {
	t.Helper()
	root := (&app{}).command()
	cmd, flags, err := root.Find(args)
	if err != nil || cmd == root {
		t.Fatalf("%q: %v", args, err)
	}
	if err := cmd.ParseFlags(flags); err != nil {
		t.Errorf("%q: %v", args, err)
	}
}
