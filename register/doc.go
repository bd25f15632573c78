// Package register keeps a backend announced for as long as its command runs and its check is healthy.
//
// [Run] starts the command, announces the backend in every given place once its check succeeds, withdraws it while the
// check fails, and at a signal to end drains first: the drain is announced, some time passes in which balancers send
// what is new elsewhere, the backend is deregistered, and only then is the command told. What the command exits with is
// returned. If the process is killed, the stores forget the backend by the end of its lease or check.
package register
