//go:build !unix

package consultest

import "errors"

func (p *process) freeze() error { return errors.New("freezing a process needs Unix signals") }

func (p *process) thaw() error { return p.freeze() }
