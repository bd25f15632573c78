package http1

import (
	"bufio"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestHeaderIsLikeAMap compares with net/http's Header whatever is done to both.
func TestHeaderIsLikeAMap(t *testing.T) {
	names := []string{"Cookie", "X-Own", "X-Forwarded-For", "Via", "x-own", "COOKIE", "Other", "Z"}
	name := rapid.SampledFrom(names)
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		text.WriteString("GET / HTTP/1.1\r\nHost: h\r\n")
		want := make(http.Header)
		for i := range rapid.IntRange(0, 6).Draw(t, "fields") {
			n, v := name.Draw(t, "name"), fmt.Sprint("came", i)
			fmt.Fprintf(&text, "%s: %s\r\n", n, v)
			want.Add(n, v)
		}
		text.WriteString("\r\n")
		var q Request
		if n, err := q.Parse([]byte(text.String()), &Limits{}); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		var h Header
		h.Reset(&q.Head)
		for i := range rapid.IntRange(0, 10).Draw(t, "changes") {
			n, v := name.Draw(t, "name"), fmt.Sprint("own", i)
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				h.Add(n, v)
				want.Add(n, v)
			case 1:
				h.Set(n, v)
				want.Set(n, v)
			case 2:
				h.Del(n)
				want.Del(n)
			}
			for _, n := range names {
				if got := h.Values(n); !slices.Equal(got, want.Values(n)) || h.Get(n) != want.Get(n) {
					t.Fatalf("%s is %q, want %q", n, got, want.Values(n))
				}
			}
		}
		written := string(h.Append(nil)) + "\r\n"
		got, err := textproto.NewReader(bufio.NewReader(strings.NewReader(written))).ReadMIMEHeader()
		if err != nil {
			t.Fatal(err)
		}
		got.Del("Host")
		if len(want) != len(got) {
			t.Fatalf("%q is written, want %q", written, want)
		}
		for n := range want {
			if !slices.Equal(got[n], want[n]) {
				t.Fatalf("%q is written, want %q", written, want)
			}
		}
	})
}

func TestValuesStayWhileOthersAreAsked(t *testing.T) {
	q := parsed(t, "GET / HTTP/1.1\r\nHost: h\r\nCookie: a\r\nCookie: b\r\nX: c\r\n\r\n")
	var h Header
	h.Reset(&q.Head)
	cookies := h.Values("Cookie")
	for range 100 {
		h.Values("X")
	}
	h.Del("Cookie")
	if !slices.Equal(cookies, []string{"a", "b"}) {
		t.Errorf("the cookies are %q", cookies)
	}
}

func TestFieldsOfOursDoNotEndHere(t *testing.T) {
	q := parsed(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade, x\r\nUpgrade: a\r\nX: y\r\n\r\n")
	var h Header
	h.Reset(&q.Head)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "a")
	h.Add("X", "ours\r\nEvil: 1")
	if got, want := string(h.Append(nil)), "Host: h\r\nConnection: Upgrade\r\nUpgrade: a\r\nX: ours  Evil: 1\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChangesCostNoAllocation(t *testing.T) {
	q := parsed(t, plainGet)
	var h Header
	var out []byte
	change := func() {
		h.Reset(&q.Head)
		if len(h.Values("X-Request-Id")) != 1 || h.Values("X-Forwarded-For") != nil {
			t.Fatal("not what came")
		}
		h.Del("X-Real-Ip")
		h.Set("X-Forwarded-For", "127.0.0.1")
		h.Set("X-Forwarded-Proto", "http")
		out = h.Append(out[:0])
	}
	change()
	if n := testing.AllocsPerRun(100, change); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
