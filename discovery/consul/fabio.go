package consul

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// fabio takes one of Fabio's tags, without its prefix: host/path or /path, and options after spaces. Options that are
// not understood are left out alone, but for those that restrict who may come: without them the route would let in
// whom it keeps out now, so it is left out with them.
func (p *parser) fabio(tag, rest string) {
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		p.reject(tag, discovery.CodeBadOption, "want urlprefix-HOST/PATH or urlprefix-/PATH")
		return
	}
	host, path, ok := strings.Cut(fields[0], "/")
	if !ok {
		detail := "want urlprefix-HOST/PATH or urlprefix-/PATH"
		if strings.Contains(host, ":") {
			detail = "listening on ports for TCP is not supported; " + detail
		}
		p.reject(tag, discovery.CodeBadOption, detail)
		return
	}
	r := discovery.Route{Host: fabioHost(host), Path: "/" + path}
	var scheme string
	var share float64
	for _, option := range fields[1:] {
		key, value, _ := strings.Cut(option, "=")
		err := ""
		switch key {
		case "strip":
			r.StripPrefix = value
		case "proto":
			switch value {
			case "http", "https":
				scheme = value
			case "tcp", "tcp+sni", "tcp-dynamic":
				p.reject(tag, discovery.CodeBadOption, "TCP is not supported; the route is left out")
				return
			default:
				err = "want proto=http or proto=https"
			}
		case "weight":
			f, bad := strconv.ParseFloat(value, 64)
			if bad != nil || !(f >= 0 && f <= 1) {
				err = "want a share of the traffic from 0 to 1"
				break
			}
			share = f
		case "allow", "deny", "auth", "redirect":
			p.reject(tag, discovery.CodeBadOption,
				fmt.Sprintf("the option %q is not supported; the route is left out, since it would serve without it", clip(option)))
			return
		default:
			err = "the option is not supported; the rest of the tag is taken"
		}
		if err != "" {
			p.reject(tag+" option "+option, discovery.CodeBadOption, err)
		}
	}
	if !p.route(tag, r) {
		return
	}
	if scheme != "" && !strings.HasPrefix(p.schemeText, "lb") { // what is said in so many words is stronger
		p.setScheme(tag, scheme)
	}
	switch {
	case share > 0 && p.share > 0 && p.share != share:
		p.reject(tag+" option weight", discovery.CodeBadOption, "another tag of the instance gives it another weight")
	case share > 0:
		p.share = share
	}
}

// fabioHost is the host of a Fabio tag without the ports that mean what no port means.
func fabioHost(host string) string {
	host = strings.TrimSuffix(host, ":80")
	return strings.TrimSuffix(host, ":443")
}
