// Package outbound makes requests to hosts that somebody else has named, and
// keeps them from going inwards, to addresses that only this machine reaches.
package outbound

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrNotAllowed reports a URL, or an address that its host stands for, to which
// nothing may be sent.
var ErrNotAllowed = errors.New("not allowed to send there")

// NotAllowed says why something is not allowed. It is [ErrNotAllowed].
type NotAllowed string

func (e NotAllowed) Error() string        { return string(e) }
func (e NotAllowed) Is(target error) bool { return target == ErrNotAllowed }

// NewTransport returns a transport that uses no proxy, and waits for an answer
// as long as timeout. If public is true, it connects to public addresses only;
// the error of a request to another one is [ErrNotAllowed].
func NewTransport(timeout time.Duration, public bool) *http.Transport {
	dialer := &net.Dialer{Timeout: timeout / 2}
	if public {
		dialer.Control = checkAddress
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    timeout / 2,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: timeout / 4, PingTimeout: timeout / 4}, // to notice a dead connection
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64, // a bot talks to few hosts, and to those a lot
		MaxConnsPerHost:        256,
		IdleConnTimeout:        90 * time.Second,
	}
}

// checkAddress is a dialer's Control: it sees the address that a name was
// resolved to, right before the connection is made. Whoever owns the name
// cannot change it any more.
func checkAddress(network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(to.Addr()) {
		return NotAllowed(address + " is no public address")
	}
	return nil
}

// globalIPv6 is what of IPv6 has been allocated.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// notPublic are the ranges that belong to somebody's own network or to nobody,
// besides those that netip knows, according to the IANA registries of special
// purpose addresses. 168.63.129.16 is the host of a virtual machine in Azure.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"), // Teredo among them
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // stands for an IPv4 address
	netip.MustParsePrefix("3fff::/20"),
}

// isPublic reports whether an address is one of the public internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !globalIPv6.Contains(a) {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
