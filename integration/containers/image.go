package containers

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"

	"github.com/vietddude/load-balancer/integration/programs"
)

const (
	labelImage   = "loadbalancer.integration.image"
	buildTimeout = 5 * time.Minute
	pullTimeout  = time.Minute
)

// image is a program in an image, by the program's name.
type image struct {
	name string
	// official names the image that its makers publish; empty for none.
	official func() string
	// binary builds the program and returns its path.
	binary func(context.Context) (string, error)

	once sync.Once
	ref  string
	err  error
}

var (
	imageEtcd = &image{
		name:     "etcd",
		official: official("etcd"),
		binary:   programs.Pinned("etcd", false),
	}
	imageConsul   = &image{name: "consul", official: official("consul"), binary: programs.Pinned("consul", true)}
	imageBalancer = &image{name: "loadbalancer", binary: programs.Ours("./cmd/loadbalancer")}
	imageBackend  = &image{name: "backend", binary: programs.Ours("./internal/demo/cmd/backend")}
)

// official names the image of a server that its makers publish: what LBTEST_NAME_IMAGE says, else what docker-compose.yml
// has; empty where that builds it.
func official(server string) func() string {
	return func() string {
		if name, set := os.LookupEnv("LBTEST_" + strings.ToUpper(server) + "_IMAGE"); set {
			return name
		}
		root, err := programs.Root()
		if err != nil {
			return ""
		}
		text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
		if err != nil {
			return ""
		}
		m := regexp.MustCompile(`(?m)^\s+image: (\S*\b` + server + `:\S+)$`).FindSubmatch(text)
		if m == nil {
			return ""
		}
		return string(m[1])
	}
}

// resolve returns the image's reference, building it if need be, once in a process.
func (i *image) resolve(e *engine) (string, error) {
	i.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
		defer cancel()
		if i.official != nil {
			if i.ref = i.official(); i.ref != "" && e.have(ctx, i.ref) {
				return
			}
		}
		i.ref, i.err = i.build(ctx, e)
	})
	return i.ref, i.err
}

// have reports whether an image is on the machine, after pulling it where that is allowed and works.
func (e *engine) have(ctx context.Context, ref string) bool {
	if _, err := e.docker.ImageInspect(ctx, ref); err == nil {
		return true
	}
	if !mayPull() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	return e.provider.PullImage(ctx, ref) == nil
}

// build puts the program on an empty image that is tagged by its content, unless it lies there already.
func (i *image) build(ctx context.Context, e *engine) (string, error) {
	path, err := i.binary(ctx)
	if err != nil {
		return "", err
	}
	archive, sum, err := buildContext(i.name, path)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", i.name, err)
	}
	defer archive.Close()
	repo, tag := "loadbalancer-integration/"+i.name, sum[:16]
	ref := repo + ":" + tag
	if _, err := e.docker.ImageInspect(ctx, ref); err == nil {
		return ref, nil
	}
	request := testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		ContextArchive: archive, Repo: repo, Tag: tag, KeepImage: true,
	}}
	if _, err := e.provider.BuildImage(ctx, &request); err != nil {
		return "", fmt.Errorf("image %s: %w", i.name, err)
	}
	e.forget(ctx, i.name, ref)
	return ref, nil
}

// forget removes the images of earlier builds of a program, except those that are in use or that a run beside this one
// may be about to use.
func (e *engine) forget(ctx context.Context, name, keep string) {
	filter := make(client.Filters).Add("label", labelImage+"="+name)
	list, err := e.docker.ImageList(ctx, client.ImageListOptions{Filters: filter})
	if err != nil {
		return
	}
	for _, image := range list.Items {
		for _, tag := range image.RepoTags {
			if tag != keep && time.Since(time.Unix(image.Created, 0)) > staleAfter {
				_, _ = e.docker.ImageRemove(ctx, tag, client.ImageRemoveOptions{})
			}
		}
	}
}

// buildContext writes the archive that an image is built from into a file without a name, and returns the checksum of
// its content.
func buildContext(name, binary string) (_ *os.File, sum string, err error) {
	dockerfile := fmt.Sprintf("FROM scratch\nCOPY %[1]s /usr/local/bin/%[1]s\nCOPY tmp /tmp\nLABEL %[2]s=%[1]s\n", name, labelImage)
	file, err := os.CreateTemp("", "loadbalancer-integration-*.tar")
	if err != nil {
		return nil, "", err
	}
	_ = os.Remove(file.Name())
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	program, err := os.Open(binary)
	if err != nil {
		return nil, "", err
	}
	defer program.Close()
	info, err := program.Stat()
	if err != nil {
		return nil, "", err
	}
	hash := sha256.New()
	w := tar.NewWriter(io.MultiWriter(file, hash))
	if err = writeEntry(w, &tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}, dockerfile); err != nil {
		return nil, "", err
	}
	if err = w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return nil, "", err
	}
	if err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size()}); err != nil {
		return nil, "", err
	}
	if _, err = io.Copy(w, program); err != nil {
		return nil, "", err
	}
	if err = w.Close(); err != nil {
		return nil, "", err
	}
	if _, err = file.Seek(0, io.SeekStart); err != nil {
		return nil, "", err
	}
	return file, fmt.Sprintf("%x", hash.Sum(nil)), nil
}

func writeEntry(w *tar.Writer, h *tar.Header, text string) error {
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(w, text)
	return err
}
