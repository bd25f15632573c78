// Package accesslog writes one line for each exchange, as JSON or in the common log format, to a file or standard
// output.
//
// A line is made by the exchange that it tells of and written by a goroutine of the log. Between them stands a bounded
// buffer: an exchange never waits for a disk. What does not fit is dropped and counted ([Log.Stats]), and so is what
// cannot be written.
//
// Whatever a client chose (method, host, target) is escaped and clipped, so that no request can forge a line, end one
// early, or fill the buffer.
package accesslog
