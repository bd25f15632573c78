package admin

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// CheckAddress reports why the admin address (host:port, as net.Listen takes it) cannot be used with the token: off
// loopback it wants one. Names other than localhost count as off loopback, since they may resolve to anything.
func CheckAddress(addr, token string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return fmt.Errorf("the admin address %q is not host:port, such as 127.0.0.1:9901", clip(addr))
	}
	if token != "" || loopback(host) {
		return nil
	}
	if host == "" {
		return fmt.Errorf("the admin address %q listens on every interface; set admin.token, or use 127.0.0.1:%s", addr, port)
	}
	return fmt.Errorf("the admin address %q is not loopback; set admin.token, or use 127.0.0.1:%s", addr, port)
}

// loopback reports whether a host is certainly this machine alone.
func loopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
