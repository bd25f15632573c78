package file

import "github.com/vietddude/load-balancer/discovery"

// Lint tells what a source would reject of a file's text, and why. An error that refuses the whole is a problem of the
// file.
func Lint(parse Parse, file string, data []byte) []discovery.Problem {
	_, _, problems, err := parse(file, data)
	if err != nil {
		return []discovery.Problem{{Key: file, Code: discovery.CodeBadValue, Detail: err.Error()}}
	}
	return problems
}
