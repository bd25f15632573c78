package http1

// Name is a field name that is known here, so that it is found without being compared again. 0 is any other.
type Name uint8

// The known names.
const (
	Other Name = iota
	Connection
	ContentLength
	TransferEncoding
	Host
	Upgrade
	TE
	Trailer
	Expect
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	HTTP2Settings
	Forwarded
	XForwardedFor
	XForwardedProto
	XForwardedHost
	XForwardedPort
	XForwardedServer
	XForwardedPrefix
	XRealIP
	Via
	Cookie
	SetCookie
	UserAgent
	Referer
	Date
	Server
	ContentType
	CacheControl
	Authorization
	ContentEncoding
	ContentRange
	MaxForwards
	nameCount
)

// names are the known names in lower case.
var names = [nameCount]string{
	Connection: "connection", ContentLength: "content-length", TransferEncoding: "transfer-encoding", Host: "host",
	Upgrade: "upgrade", TE: "te", Trailer: "trailer", Expect: "expect", KeepAlive: "keep-alive",
	ProxyConnection: "proxy-connection", ProxyAuthenticate: "proxy-authenticate",
	ProxyAuthorization: "proxy-authorization", HTTP2Settings: "http2-settings", Forwarded: "forwarded",
	XForwardedFor: "x-forwarded-for", XForwardedProto: "x-forwarded-proto", XForwardedHost: "x-forwarded-host",
	XForwardedPort: "x-forwarded-port", XForwardedServer: "x-forwarded-server", XForwardedPrefix: "x-forwarded-prefix",
	XRealIP: "x-real-ip", Via: "via", Cookie: "cookie", SetCookie: "set-cookie", UserAgent: "user-agent",
	Referer: "referer", Date: "date", Server: "server", ContentType: "content-type", CacheControl: "cache-control",
	Authorization: "authorization", ContentEncoding: "content-encoding", ContentRange: "content-range",
	MaxForwards: "max-forwards",
}

// String is the name in lower case, empty for Other.
func (n Name) String() string { return names[n] }

// buckets holds the known names by length and then by the last letter's lowest bits, four to a place at most.
var buckets = fillBuckets()

const longestName = 19

func bucketOf(length int, last byte) int { return length<<2 | int(last&3) }

func fillBuckets() (b [(longestName + 1) << 2][4]Name) {
	for n := Other + 1; n < nameCount; n++ {
		s := names[n]
		at := &b[bucketOf(len(s), s[len(s)-1])]
		for i := range at {
			if at[i] == Other {
				at[i] = n
				break
			}
			if i == len(at)-1 {
				panic("http1: too many known names of one length")
			}
		}
	}
	return b
}

// NameOf finds a known name, whatever its case.
func NameOf(b []byte) Name {
	if len(b) == 0 || len(b) > longestName {
		return Other
	}
	for _, n := range &buckets[bucketOf(len(b), b[len(b)-1])] {
		if n == Other {
			break
		}
		if fold(b, names[n]) {
			return n
		}
	}
	return Other
}

// set is a set of known names.
type set uint64

func (s set) has(n Name) bool { return s>>n&1 != 0 }

func setOf(names ...Name) (s set) {
	for _, n := range names {
		s |= 1 << n
	}
	return s
}

var (
	// ending are the fields that AppendFields leaves out, Trailer but for chunked messages.
	ending = setOf(Connection, KeepAlive, ProxyConnection, ProxyAuthenticate, ProxyAuthorization, TE, Upgrade,
		HTTP2Settings, Trailer, ContentLength, TransferEncoding)
	// endToEnd are those that stay though Connection names them: without them the message would be another one.
	endToEnd = setOf(Host, ContentLength, TransferEncoding, CacheControl)
	// neverTrailers frame, route, authenticate or describe a message, which is too late at its end (RFC 9110, 6.5.1).
	neverTrailers = setOf(Connection, KeepAlive, ProxyConnection, ProxyAuthenticate, ProxyAuthorization, TE, Upgrade,
		HTTP2Settings, Trailer, ContentLength, TransferEncoding, Host, Expect, Forwarded, XForwardedFor,
		XForwardedProto, XForwardedHost, XForwardedPort, XForwardedServer, XForwardedPrefix, XRealIP, Cookie,
		SetCookie, ContentType, ContentEncoding, ContentRange, CacheControl, Authorization, MaxForwards)
)
