package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// packageComments tells of packages without a package comment, with more than one, or with one that does not begin as
// go doc has it.
func packageComments(packages []*pkg) []string {
	var found []string
	for _, p := range packages {
		var with []string
		for _, f := range p.files {
			doc := f.syntax.Doc
			if doc == nil {
				continue
			}
			with = append(with, f.name)
			want := "Package " + f.syntax.Name.Name + " "
			if f.syntax.Name.Name == "main" {
				want = "Command "
			}
			if !strings.HasPrefix(doc.Text(), want) {
				found = append(found, fmt.Sprintf("%s: the package comment must begin with %q", f.name, want))
			}
		}
		switch len(with) {
		case 0:
			found = append(found, fmt.Sprintf("%s: no file has a package comment; one must say what the package is for", p.path))
		case 1:
		default:
			found = append(found, fmt.Sprintf("%s: package comments in %s; go doc joins them, so one must hold all", p.path, strings.Join(with, " and ")))
		}
	}
	return found
}

// clockReads tells of uses of the clock in a package that has none.
func clockReads(p *pkg) []string {
	var found []string
	for _, f := range p.files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			switch sel.Sel.Name {
			case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick":
				if ok && x.Name == "time" {
					found = append(found, fmt.Sprintf("%s: time.%s: picking has no clock; whoever needs a time is given one", f.name, sel.Sel.Name))
				}
			}
			return true
		})
	}
	return found
}

// sharedState tells of package-level variables that are made to be changed: containers without content, numbers without
// a value, locks, atomics, channels. Tables that are written at their declaration are none, nor are pools, which hold
// nothing that anybody could miss.
func sharedState(packages []*pkg) []string {
	var found []string
	for _, p := range packages {
		for _, f := range p.files {
			for _, d := range f.syntax.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					why := mutable(v)
					if why == nilSlice && !assigned(p, v.Names[0].Name) {
						continue // a name for none at all
					}
					if why != "" && !filledIn(g.Doc) && !filledIn(v.Doc) {
						found = append(found, fmt.Sprintf("%s: %s is %s at package level: state belongs to a value that somebody makes and owns",
							f.name, v.Names[0].Name, why))
					}
				}
			}
		}
	}
	return found
}

// nilSlice is the verdict of mutable on a slice that is nil until somebody assigns it.
const nilSlice = "a slice that is assigned"

// mutable says what makes a variable one that is meant to change; empty for what is none.
func mutable(v *ast.ValueSpec) string {
	t := v.Type
	var value ast.Expr
	if len(v.Values) == 1 {
		value = v.Values[0]
		if u, ok := value.(*ast.UnaryExpr); ok && u.Op == token.AND {
			value = u.X
		}
	}
	switch x := value.(type) {
	case *ast.CompositeLit:
		if t == nil {
			t = x.Type
		}
		if len(x.Elts) > 0 {
			return ""
		}
	case *ast.CallExpr:
		if name, ok := x.Fun.(*ast.Ident); ok && (name.Name == "make" || name.Name == "new") && len(x.Args) > 0 {
			t = x.Args[0]
			break
		}
		return ""
	case nil:
	default:
		return ""
	}
	switch t := t.(type) {
	case *ast.ChanType:
		return "a channel"
	case *ast.ArrayType:
		if t.Len == nil && value == nil {
			return nilSlice
		}
		return "an empty container"
	case *ast.MapType:
		return "an empty container"
	case *ast.SelectorExpr:
		return locked(t)
	case *ast.IndexExpr:
		if sel, ok := t.X.(*ast.SelectorExpr); ok {
			return locked(sel)
		}
	case *ast.Ident:
		switch t.Name {
		case "int", "int64", "uint64", "bool", "string":
			return "a variable without a value"
		}
	}
	return ""
}

// assigned reports whether anything in the package assigns a variable of that name.
func assigned(p *pkg, name string) bool {
	found := false
	for _, f := range p.files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			a, ok := n.(*ast.AssignStmt)
			if ok && a.Tok == token.ASSIGN {
				for _, l := range a.Lhs {
					id, ok := l.(*ast.Ident)
					found = found || ok && id.Name == name
				}
			}
			return !found
		})
	}
	return found
}

// locked says which type of the synchronisation packages a variable is of; empty for none.
func locked(sel *ast.SelectorExpr) string {
	x, ok := sel.X.(*ast.Ident)
	if !ok || x.Name != "sync" && x.Name != "atomic" || sel.Sel.Name == "Pool" {
		return ""
	}
	return "a variable of " + x.Name + "." + sel.Sel.Name
}

// filledIn reports whether a variable's comment says that a go:embed directive or the linker gives it its value.
func filledIn(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//go:embed") || strings.Contains(c.Text, "linker") || strings.Contains(c.Text, "-ldflags") {
			return true
		}
	}
	return false
}
