package routing

// Match returns the route for a request, nil if there is none. It does not allocate.
func (t *Table) Match(r *Request) *Route {
	host := bareHost(r.Host)
	if len(host) > maxHost {
		host = ""
	}
	if hasUpper(host) {
		return t.matchLower(host, r)
	}
	return t.match(host, r)
}

// matchLower is match for a host that has upper case letters. It is a function of its own so that others do not pay
// for the buffer.
//
//go:noinline
func (t *Table) matchLower(host string, r *Request) *Route {
	var buf [maxHost]byte
	return t.match(lower(host, &buf), r)
}

// match asks what can match the host, in order of precedence: the exact host, its suffixes from the longest, any host.
// It keeps nothing of the host.
func (t *Table) match(host string, r *Request) *Route {
	path := r.Path
	if path != "" && path[0] != '/' {
		path = "" // "*" of OPTIONS: what asks for a path does not match
	}
	if tree := t.exact.at(host); tree != nil {
		if m := tree.match(path, r); m != nil {
			return m
		}
	}
	if t.wild.n > 0 {
		for i := 1; i < len(host); i++ {
			if host[i] != '.' {
				continue
			}
			if tree := t.wild.at(host[i+1:]); tree != nil {
				if m := tree.match(path, r); m != nil {
					return m
				}
			}
		}
	}
	if t.any != nil {
		if m := t.any.match(path, r); m != nil {
			return m
		}
	}
	return t.catchAll
}

// tree returns the routes of a claim's host.
func (t *Table) tree(c *claim) *pathNode {
	switch c.hostClass() {
	case 0:
		return t.exact.at(c.host)
	case 1:
		return t.wild.at(c.host)
	}
	return t.any
}

// setTree replaces the routes of a claim's host; nil removes them. Only the table's builder calls it.
func (t *Table) setTree(c *claim, tree *pathNode) {
	hosts := &t.exact
	switch c.hostClass() {
	case 1:
		hosts = &t.wild
	case 2:
		t.any = tree
		return
	}
	if tree == nil {
		*hosts = hosts.delete(c.host)
	} else {
		*hosts = hosts.set(c.host, tree)
	}
}
