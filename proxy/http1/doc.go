// Package http1 is the wire of HTTP/1.0 and 1.1: it reads, checks and writes heads and bodies, over any connection and
// on both sides of a proxy. It holds no policy: what is done with a message is the caller's.
//
// # Pieces
//
// A [Reader] is the receiving side of a connection, a [Writer] the sending one; each works in one buffer that the caller
// lends it. [Reader.ReadRequest] and [Reader.ReadResponse] fill a [Request] or a [Response], which hold no copies but
// places in the Reader's buffer. A [Body] is the content that follows. [Writer.Relay] carries it on, step by step, so
// that the caller can move deadlines and count between the steps. The append functions write heads; a [Header] is for those
// who change fields first. A [Watch] waits for a connection without a buffer. All of these are made once and used again:
// in steady state nothing is allocated for a message.
//
//	for {
//		if err := in.ReadRequest(&q, &limits); err != nil { … }     // *Error: answer err.Status() and close
//		out.Buf = q.AppendLine(out.Buf, q.Path())
//		out.Buf = q.AppendFields(out.Buf)                           // without what ends here
//		out.Buf = AppendField(out.Buf, "X-Forwarded-For", client)
//		out.Buf = AppendEnd(out.Buf, q.Framing, q.Length)
//		body.Begin(&in, &q.Head, &limits)
//		out.Begin(q.Framing, q.Length)
//		for done := false; !done; { _, done, err = out.Relay(&body) } // head and small body in one write
//	}
//
// # Strictness
//
// What two readers could take for different messages is refused, in requests and responses alike: bare CR or LF,
// whitespace before colons (in requests; in responses it is removed, as RFC 9112, 5.1, demands, but from fields that
// frame the message it is refused), folded lines, controls in values, Content-Length twice (with the same value too),
// beside Transfer-Encoding, or not of digits only, Transfer-Encoding that is not exactly "chunked" or comes with
// HTTP/1.0, no Host in HTTP/1.1 or several, chunk lines with anything in them that RFC 9112, 7.1, does not know. After
// such an error nothing more of the connection may be read as a message. Errors name the section that they rest on.
//
// What is only unusual passes: any token as method, obs-text in values and reasons, empty values, absolute-form,
// "OPTIONS *", an empty line before a request, HTTP/1.2 to 1.9 (read as 1.1), status codes up to 999, a status line
// without the space that announces a reason. In targets, the bytes that RFC 3986 wants escaped and that clients send raw
// all the same (quotes, brackets, braces, bars, carets, and all above 0x7f) pass unchanged: no reader ends a target there.
// A '%' without two hexadecimal digits is refused in paths, which everybody decodes, and passes in queries.
//
// # What ends here
//
// [Head.AppendFields] leaves out the fields of one connection (RFC 9110, 7.6.1): Connection and those it names, but for
// Host, Content-Length, Cache-Control and Transfer-Encoding, which it must not name; Keep-Alive, Proxy-Connection,
// Proxy-Authenticate, Proxy-Authorization, TE, Upgrade, HTTP2-Settings; Trailer, unless the message is chunked; Expect of HTTP/1.0; and what
// frames the message, which [AppendEnd] writes anew. Everything else goes on byte by byte, in its order. Of trailers
// those go on that RFC 9110, 6.5.1, lets be trailers.
package http1
