package proxy

import "sync"

// Sizes of the buffers that connections work in while they are in use.
const (
	smallBuffer  = 8 << 10  // heads, and requests that go out in one write
	mediumBuffer = 16 << 10 // responses as they come
	largeBuffer  = 32 << 10 // bodies on their way
)

var (
	smallBuffers  = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	mediumBuffers = sync.Pool{New: func() any { return new([mediumBuffer]byte) }}
)

func getSmall() []byte  { return smallBuffers.Get().(*[smallBuffer]byte)[:] }
func getMedium() []byte { return mediumBuffers.Get().(*[mediumBuffer]byte)[:] }
func getLarge() []byte  { return copyBuffers.Get().(*[largeBuffer]byte)[:] }

// putBuffer takes a buffer back, whatever its size; one of none of the sizes is left to the collector.
func putBuffer(b []byte) {
	switch b = b[:cap(b)]; len(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b))
	case mediumBuffer:
		mediumBuffers.Put((*[mediumBuffer]byte)(b))
	case largeBuffer:
		copyBuffers.Put((*[largeBuffer]byte)(b))
	}
}
