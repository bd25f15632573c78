// Package snapshot keeps the last known good state of the catalog in a file, so that a balancer that starts while its
// registries are away serves what was known before.
//
// The file is written in the background when something has changed, at most once a second and less often where writing
// takes long, and a last time at the end. A new one is written beside it, flushed to disk and renamed over it, so that
// at any moment, whenever the process or the machine dies, the file is a whole one. A disk that is full or a folder that may
// not be written costs the snapshot and nothing else: it is told once, counted, and tried again.
//
// The file is
//
//	"lbsnap" and a zero byte | version, one byte | length of the rest, 8 bytes | SHA-256 of the rest | the rest
//
// and is readable by its owner alone. It holds what sources announced and operators steered, which may be what others are
// not to see, but no credential of the balancer. A file that is cut short, changed, or of another version is not loaded:
// it is renamed to ….corrupt-<time>, for people to look at.
package snapshot
