package http1

// Limits bound what is read of one message besides its content. The zero value of a field means its default.
type Limits struct {
	// Line is how long a request line may be, in bytes; 0 means 8 KiB (RFC 9112, 3, asks for 8000 at least).
	Line int
	// Head is how long a head may be, in bytes, first line included; 0 means 64 KiB.
	Head int
	// Fields is how many fields a head may have; 0 means 256; 60,000 are the most.
	Fields int
	// Trailer is how long a trailer section may be, in bytes; 0 means 4 KiB (what net/http reads
	// at most). It may have as many fields as a head.
	Trailer int
}

func (l *Limits) line() int    { return or(l.Line, 8<<10) }
func (l *Limits) head() int    { return or(l.Head, 64<<10) }
func (l *Limits) count() int   { return min(or(l.Fields, 256), 60_000) }
func (l *Limits) trailer() int { return or(l.Trailer, 4<<10) }

func or(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}
