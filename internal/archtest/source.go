package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// module is the path of the module, which packages of ours begin with.
const module = "github.com/vietddude/load-balancer"

// pkg is one package of the module, by its non-test files.
type pkg struct {
	path  string // within the module: "discovery/etcd"
	files []file
}

type file struct {
	name    string // within the module
	syntax  *ast.File
	imports []imported
}

type imported struct {
	path string
	line int
}

// load parses the non-test files of all packages of the module whose go.mod lies in root. Nested modules, testdata and
// hidden folders are left out.
func load(root string) ([]*pkg, error) {
	byDir := map[string]*pkg{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			return skip(name, rel)
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		f, err := read(name, rel)
		if err != nil {
			return err
		}
		dir := path.Dir(rel)
		if byDir[dir] == nil {
			byDir[dir] = &pkg{path: dir}
		}
		byDir[dir].files = append(byDir[dir].files, f)
		return nil
	})
	var all []*pkg
	for _, p := range byDir {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	return all, err
}

// skip leaves out a folder that holds no package of the module.
func skip(name, rel string) error {
	base := path.Base(rel)
	if rel != "." && (base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_') {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); rel != "." && err == nil {
		return fs.SkipDir
	}
	return nil
}

func read(name, rel string) (file, error) {
	positions := token.NewFileSet()
	syntax, err := parser.ParseFile(positions, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	f := file{name: rel, syntax: syntax}
	for _, i := range syntax.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return file{}, fmt.Errorf("%s: %w", rel, err)
		}
		f.imports = append(f.imports, imported{path: p, line: positions.Position(i.Pos()).Line})
	}
	return f, nil
}
