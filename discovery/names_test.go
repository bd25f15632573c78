package discovery

import (
	"strings"
	"testing"
)

func TestAnAddressIsNormalised(t *testing.T) {
	for text, want := range map[string]string{
		"http://10.0.0.5:8080":  "http://10.0.0.5:8080",
		"10.0.0.5:8080":         "http://10.0.0.5:8080",
		"HTTPS://API.internal/": "https://api.internal:443",
		"http://h":              "http://h:80",
		"[::1]:8080":            "http://[::1]:8080",
	} {
		if got, err := ParseURL(text); err != nil || got != want {
			t.Errorf("%s is read as %q (%v), want %q", text, got, err, want)
		}
	}
}

func TestAnAddressWithALoginIsRefusedWithoutRepeatingIt(t *testing.T) {
	for _, text := range []string{"http://u:hunter2@h:80", "ftp://u:hunter2@h:80", "u:hunter2@h:80", "http://u:hunter2 @h:80",
		"http://u:hunter2%zz@h:80", "http://u:hunter2@h:0"} {
		got, err := ParseURL(text)
		if err == nil {
			t.Errorf("%s is read as %q", text, got)
		} else if strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "user or password") {
			t.Errorf("%s: the error is %q; it must tell of the login without repeating it", text, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"http://10.0.0.5:8080", "h:1", "[::1]:80", "https://h/", "http://u:p@h:1", "://", "h:99999", "https://a-b.c_d:1", "http://h:08", "http://.:65536"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseURL(text)
		if long, e := parseURL(text); long != u || (e == nil) != (err == nil) {
			t.Errorf("%q is read as %q (%v), the long way as %q (%v)", text, u, err, long, e)
		}
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Errorf("the error of %q has %d bytes", text, len(err.Error()))
			}
			return
		}
		if again, err := ParseURL(u); err != nil || again != u {
			t.Errorf("%q is read as %q, and that as %q (%v)", text, u, again, err)
		}
	})
}
