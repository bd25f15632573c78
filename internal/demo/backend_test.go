package demo

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); http.DefaultClient.CloseIdleConnections() })
	return s
}

func ask(t *testing.T, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestABackendSaysWhoItIsAndWhatItWasAsked(t *testing.T) {
	s := start(t, Options{Name: "backend-2"})
	code, header, text := ask(t, "PUT", s.URL()+"/a/b?c=d", "", "X-Forwarded-For", "192.0.2.7", "Cookie", "secret=1")
	if code != 200 || header.Get("X-Backend") != "backend-2" {
		t.Errorf("status %d from %q", code, header.Get("X-Backend"))
	}
	for _, want := range []string{"hello from backend-2\n", "PUT /a/b?c=d HTTP/1.1\n", "Host: " + s.Addr() + "\n", "X-Forwarded-For: 192.0.2.7\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the answer %q does not say %q", text, want)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("the answer repeats a cookie")
	}
}

func TestHealthStatusSlowAndEchoAnswerAsAsked(t *testing.T) {
	s := start(t, Options{Name: "a"})
	for _, c := range []struct {
		path, body string
		code       int
		text       string
	}{
		{"/health", "", 200, "ok\n"},
		{"/status/204", "", 204, ""},
		{"/status/503", "", 503, ""},
		{"/status/999", "", 400, "want /status/200 to /status/599\n"},
		{"/status/x", "", 400, "want /status/200 to /status/599\n"},
		{"/slow?ms=1", "", 200, "hello from a"},
		{"/slow?ms=-1", "", 400, "want ?ms=0 to 60000\n"},
		{"/slow", "", 400, "want ?ms=0 to 60000\n"},
		{"/slow?ms=99999999999999999999", "", 400, "want ?ms=0 to 60000\n"},
		{"/slow?ms=9223372036854775807", "", 400, "want ?ms=0 to 60000\n"},
		{"/echo", "what\nwas sent", 200, "what\nwas sent"},
	} {
		code, _, text := ask(t, "POST", s.URL()+c.path, c.body)
		if code != c.code || !strings.HasPrefix(text, c.text) {
			t.Errorf("%s: %d %q, want %d %q", c.path, code, text, c.code, c.text)
		}
	}
}

func TestEchoAnswersBeforeTheWholeBodyHasCome(t *testing.T) {
	s := start(t, Options{})
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/echo", r)
	if err != nil {
		t.Fatal(err)
	}
	go w.Write([]byte("first"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, word := range []string{"first", "second"} {
		got := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != word {
			t.Fatalf("%q, %v; want %q", got, err, word)
		}
		if word == "first" {
			go w.Write([]byte("second"))
		}
	}
	w.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v at the end", rest, err)
	}
}

func TestCloseCutsASlowAnswer(t *testing.T) {
	s := start(t, Options{})
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL()+"/slow?ms=60000", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	ask(t, "GET", s.URL()+"/health", "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || ctx.Err() != nil {
		t.Errorf("the slow answer came: %v", err)
	}
}

func TestAnAddressInUseIsAnErrorThatNamesIt(t *testing.T) {
	s := start(t, Options{})
	if _, err := Start(t.Context(), Options{Addr: s.Addr(), Name: "second"}); err == nil ||
		!strings.Contains(err.Error(), s.Addr()) || !strings.Contains(err.Error(), "second") {
		t.Errorf("the error is %v, want one with the name and the address", err)
	}
}
