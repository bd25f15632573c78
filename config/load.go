package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// Load reads a configuration: the defaults, under the file (none if the path is empty), under the LB_ variables of an
// environment as of os.Environ, under what the overrides set. An error is [Problems] whenever a text is wrong, and of
// the file system when the file cannot be read.
func Load(path string, env []string, overrides ...func(*Config)) (*Config, error) {
	c, problems, broken := Default(), Problems(nil), false
	if path != "" {
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		c, problems, broken = parse(path, data)
	}
	problems = append(problems, c.ApplyEnv(env)...)
	before := *c
	before.Listen = slices.Clone(c.Listen)
	for _, set := range overrides {
		set(c)
	}
	c.misplace(&before)
	return c.finish(problems, broken)
}

// misplace forgets where settings were given that are others by now: what is wrong with them is not wrong there.
func (c *Config) misplace(before *Config) {
	for key, same := range map[string]bool{
		"discovery":       slices.Equal(c.Discovery, before.Discovery),
		"default_service": c.DefaultService == before.DefaultService,
		"admin.address":   c.Admin.Address == before.Admin.Address,
		"listen": slices.EqualFunc(c.Listen, before.Listen, func(a, b Listener) bool {
			return a.Address == b.Address && a.Port == b.Port
		}),
	} {
		if !same {
			maps.DeleteFunc(c.where, func(at string, _ pos) bool {
				rest, ok := strings.CutPrefix(at, key)
				return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
			})
		}
	}
}

// Parse reads a configuration from a text, whose file name is for messages. An error is [Problems].
func Parse(file string, data []byte) (*Config, error) {
	c, problems, broken := parse(file, data)
	return c.finish(problems, broken)
}

// finish looks at the whole once its parts are in. What was left out for its syntax would only make for false alarms.
func (c *Config) finish(problems Problems, broken bool) (*Config, error) {
	if !broken {
		named := !slices.ContainsFunc(problems, func(p Problem) bool {
			return strings.HasPrefix(p.Key, "discovery") || strings.HasPrefix(p.Key, "services") || strings.HasPrefix(p.Key, "backends")
		})
		problems = append(problems, c.validate(named)...)
	}
	if len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	return c, nil
}

func parse(file string, data []byte) (c *Config, problems Problems, broken bool) {
	c = Default()
	c.where = map[string]pos{}
	d := &decoder{report: &report{}, where: c.where}
	doc := read(newSource(file, data), fileLimits, true, d.report)
	switch {
	case doc.root != nil:
		root.decode(d, doc.root, c)
	case !doc.broken:
		// Most likely a file that is being written: to take it for a wish to drop everything would be an outage.
		d.add(pos{src: newSource(file, nil), line: 1, col: 1}, "", "the file is empty", "write {} if all defaults are meant")
	}
	d.problems.sort()
	return c, d.problems, doc.broken
}

// maxFile is more than any text that is read; it keeps a mistaken path (a device, an image) from filling the memory.
var maxFile = int64(fileLimits.bytes)

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, fmt.Errorf("the configuration %s cannot be read: %w", path, err)
	}
	if info.Mode().IsRegular() && info.Size() > maxFile {
		return nil, fmt.Errorf("the configuration %s has %d bytes, at most %d are read", path, info.Size(), maxFile)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("the configuration %s is a directory; name a file", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	return data, nil
}
