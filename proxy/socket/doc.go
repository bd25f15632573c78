// Package socket reads and writes sockets that do not block by single system calls, for code that runs within the callback
// of a [syscall.RawConn]. They bypass the scheduler, which need not be told of a call that cannot wait.
package socket
