package monitoring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// docker runs the docker program and returns what it prints.
func docker(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// mustDocker is docker for what must work.
func mustDocker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := docker(t, args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestTheImageRuns builds the last stage of the Dockerfile around a binary built here, so that no registry is needed, and
// runs it as the compose file would: by its health check it gets healthy, and SIGTERM ends it with exit code 0.
func TestTheImageRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary and an image")
	}
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("docker is not in PATH")
	}
	if out, err := docker(t, "version", "--format", "{{.Server.Version}}"); err != nil {
		t.Skipf("no Docker engine answers: %s", out)
	}
	tag := fmt.Sprintf("loadbalancer-image-test-%d", os.Getpid())
	mustDocker(t, "build", "-q", "-t", tag, lastStage(t))
	t.Cleanup(func() { exec.Command("docker", "rmi", "-f", tag).Run() })

	if out := mustDocker(t, "run", "--rm", tag, "version"); !strings.Contains(out, "loadbalancer") {
		t.Errorf("the image's version command says %q", out)
	}
	if user := mustDocker(t, "inspect", "--format", "{{.Config.User}}", tag); user != "65532:65532" {
		t.Errorf("the image runs as %q", user)
	}
	id := mustDocker(t, "run", "-d", "--read-only", "--cap-drop=ALL", tag, "--config", "/config.yaml")
	t.Cleanup(func() { exec.Command("docker", "rm", "-f", id).Run() })
	awaitHealthy(t, id)
	mustDocker(t, "stop", "-t", "20", id)
	if code := mustDocker(t, "inspect", "--format", "{{.State.ExitCode}}", id); code != "0" {
		t.Errorf("the container exits with %s:\n%s", code, mustDocker(t, "logs", id))
	}
}

// awaitHealthy waits until the image's health check has passed.
func awaitHealthy(t *testing.T, id string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		state := mustDocker(t, "inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", id)
		if state == "running healthy" {
			return
		}
		if time.Now().After(deadline) || !strings.HasPrefix(state, "running") {
			log := mustDocker(t, "logs", id)
			checks, _ := docker(t, "inspect", "--format", "{{range .State.Health.Log}}{{.Output}}{{end}}", id)
			t.Fatalf("the container is %s\n%s\n%s", state, log, checks)
		}
		time.Sleep(500 * time.Millisecond) // between two looks at another process
	}
}

// lastStage makes a build context of the Dockerfile's last stage and a configuration: what the stage copies from the
// build stage lies in the context under the same paths.
func lastStage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(text), "\nFROM ")
	if at < 0 || !strings.Contains(string(text[at:]), "COPY --from=build ") {
		t.Fatal("the Dockerfile's last stage copies nothing from the stage build")
	}
	stage := strings.ReplaceAll(string(text[at+1:]), "--from=build ", "") + "COPY config.yaml /config.yaml\n"
	dir := t.TempDir()
	for _, sub := range []string{"out", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	authorities, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{
		"Dockerfile": []byte(stage), "etc/ssl/certs/ca-certificates.crt": authorities,
		"config.yaml": []byte("listen: {port: 8080}\nbackends: [{id: a, url: \"http://127.0.0.1:1\"}]\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "out/loadbalancer"), "./cmd/loadbalancer")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}
