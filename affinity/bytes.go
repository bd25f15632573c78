package affinity

import "unsafe"

// bytesOf is the string's bytes, which must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf is the bytes as a string, which lasts only as long as the bytes stay what they are.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
