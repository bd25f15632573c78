package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
)

// healthPath is the method of grpc.health.v1 that a probe calls.
const healthPath = "/grpc.health.v1.Health/Check"

const (
	maxFrames     = 1024     // that are read for one answer
	maxGRPCAnswer = 16 << 10 // bytes of a message
)

// grpcCheck is one grpc probe: a call of Health/Check over HTTP/2, spoken by hand so that an idle connection needs no
// goroutine. What the server sends between probes (settings, pings) is answered at the next.
type grpcCheck struct {
	plan      *plan
	at        *where
	service   string
	userAgent string
}

func (g *grpcCheck) what() string {
	of := "the server"
	if g.service != "" {
		of = strconv.Quote(g.service)
	}
	return "gRPC health of " + of + " at " + g.at.address
}

func (g *grpcCheck) next() string { return "h2" }

// h2conn is an HTTP/2 connection from probe to probe.
type h2conn struct {
	net.Conn
	begun  bool
	stream uint32 // of the next call
	framer *http2.Framer
	fields bytes.Buffer
	enc    *hpack.Encoder
}

func (g *grpcCheck) wrap(conn net.Conn) net.Conn {
	c := &h2conn{Conn: conn, stream: 1, framer: http2.NewFramer(conn, conn)}
	c.enc = hpack.NewEncoder(&c.fields)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = maxHead
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(maxGRPCAnswer)
	return c
}

func (g *grpcCheck) exchange(ctx context.Context, conn net.Conn, reused bool) (keep bool, err error) {
	c := conn.(*h2conn)
	stream := c.stream
	c.stream += 2
	a := grpcAnswer{}
	err = g.ask(c, stream)
	if err == nil {
		err = a.read(c, stream)
	}
	if err != nil {
		// An answer that was begun, or a refusal in words, is the server's word; silence on an old connection is not.
		if reused && !a.heard && ctx.Err() == nil {
			return false, errStale
		}
		return false, err
	}
	return c.stream < 1<<30 && !a.goAway, a.judge()
}

// ask sends the call.
func (g *grpcCheck) ask(c *h2conn, stream uint32) error {
	if !c.begun {
		c.begun = true
		if _, err := io.WriteString(c.Conn, http2.ClientPreface); err != nil {
			return err
		}
		if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}); err != nil {
			return err
		}
	}
	scheme, authority := "http", g.plan.host
	if g.at.secure {
		scheme = "https"
	}
	if authority == "" {
		authority = g.at.authority()
	}
	c.fields.Reset()
	for _, f := range [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: scheme}, {Name: ":path", Value: healthPath},
		{Name: ":authority", Value: authority}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
		{Name: "user-agent", Value: g.userAgent},
	} {
		c.enc.WriteField(f) // into memory: it cannot fail
	}
	for _, h := range g.plan.headers {
		if h.Name != "User-Agent" && h.Name != "Content-Type" {
			c.enc.WriteField(hpack.HeaderField{Name: lower(h.Name), Value: h.Value})
		}
	}
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.fields.Bytes(), EndHeaders: true})
	if err != nil {
		return err
	}
	message := make([]byte, 5, 5+2+len(g.service))
	if g.service != "" {
		message = protowire.AppendTag(message, 1, protowire.BytesType)
		message = protowire.AppendString(message, g.service)
	}
	binary.BigEndian.PutUint32(message[1:5], uint32(len(message)-5))
	return c.framer.WriteData(stream, true, message)
}

// lower is a canonical field name as HTTP/2 wants it.
func lower(name string) string { return string(bytes.ToLower([]byte(name))) }

// grpcAnswer is what came back of a call.
type grpcAnswer struct {
	heard           bool // something of this call came, or a refusal of it
	goAway          bool
	http            string
	status, message string // grpc-status, grpc-message
	data            []byte
}

// read reads frames until the call has ended.
func (a *grpcAnswer) read(c *h2conn, stream uint32) error {
	for range maxFrames {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		ours := frame.Header().StreamID == stream
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.framer.WriteSettingsAck(); err != nil {
					return err
				}
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				if err := c.framer.WritePing(true, f.Data); err != nil {
					return err
				}
			}
		case *http2.GoAwayFrame:
			if a.goAway = true; f.LastStreamID < stream {
				return fmt.Errorf("the server closed the connection: %v", f.ErrCode)
			}
		case *http2.RSTStreamFrame:
			if ours {
				a.heard = true
				return fmt.Errorf("the server reset the call: %v", f.ErrCode)
			}
		case *http2.MetaHeadersFrame:
			if ours {
				a.heard = true
				a.fields(f)
				if f.StreamEnded() {
					return nil
				}
			}
		case *http2.DataFrame:
			if !ours {
				continue
			}
			a.heard = true
			if len(a.data)+len(f.Data()) > maxGRPCAnswer {
				return fmt.Errorf("the answer is longer than %d KiB", maxGRPCAnswer>>10)
			}
			a.data = append(a.data, f.Data()...)
			if n := f.Header().Length; n > 0 { // the window of the connection lasts for all its probes
				if err := c.framer.WriteWindowUpdate(0, n); err != nil {
					return err
				}
			}
			if f.StreamEnded() {
				return nil
			}
		}
	}
	return fmt.Errorf("more than %d frames without an answer", maxFrames)
}

func (a *grpcAnswer) fields(f *http2.MetaHeadersFrame) {
	for _, h := range f.Fields {
		switch h.Name {
		case ":status":
			a.http = h.Value
		case "grpc-status":
			a.status = h.Value
		case "grpc-message":
			a.message = h.Value
		}
	}
}

// servingStatus are the words of grpc.health.v1.HealthCheckResponse.ServingStatus.
var servingStatus = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

const serving = 1

// judge says why the answer is no success; nil if it is one.
func (a *grpcAnswer) judge() error {
	switch {
	case a.status == "" && a.http != "200":
		return fmt.Errorf("HTTP status %s, no gRPC answer", clip(a.http))
	case a.status == "5":
		return errors.New("the server does not know this service (NOT_FOUND)")
	case a.status == "12":
		return errors.New("the server has no grpc.health.v1.Health (UNIMPLEMENTED)")
	case a.status != "0":
		text, err := url.PathUnescape(a.message)
		if err != nil {
			text = a.message
		}
		return fmt.Errorf("gRPC status %s: %s", clip(a.status), clip(strconv.Quote(text)))
	}
	status, err := parseHealth(a.data)
	switch {
	case err != nil:
		return err
	case status == serving:
		return nil
	case status < uint64(len(servingStatus)):
		return fmt.Errorf("%s, want %s", servingStatus[status], servingStatus[serving])
	}
	return fmt.Errorf("serving status %d, want %s", status, servingStatus[serving])
}

var errNoHealth = errors.New("the answer is no HealthCheckResponse")

// parseHealth reads the status out of one uncompressed message.
func parseHealth(data []byte) (status uint64, err error) {
	if len(data) < 5 || data[0] != 0 || uint32(len(data)-5) != binary.BigEndian.Uint32(data[1:5]) {
		return 0, errNoHealth
	}
	for data = data[5:]; len(data) > 0; {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return 0, errNoHealth
		}
		data = data[n:]
		if number == 1 && kind == protowire.VarintType {
			if status, n = protowire.ConsumeVarint(data); n < 0 {
				return 0, errNoHealth
			}
		} else if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return 0, errNoHealth
		}
		data = data[n:]
	}
	return status, nil
}
