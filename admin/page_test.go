package admin

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func newRequest(body string) (*httptest.ResponseRecorder, *http.Request) {
	r := httptest.NewRequest(http.MethodPatch, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return httptest.NewRecorder(), r
}

func TestThePageMayRunItsOwnScriptAlone(t *testing.T) {
	w := newWorld(t)
	rec := w.do(http.MethodGet, "/", "")
	policy := rec.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy %q is not strict", policy)
	}
	html := rec.Body.String()
	if got := rec.Header().Get("Content-Type"); got != "text/html; charset=utf-8" || !strings.HasPrefix(html, "<!doctype html>") {
		t.Errorf("the page is %s: %.40s", got, html)
	}
	for _, element := range []string{"<script>", "<style>", "</script>", "</style>"} {
		if n := strings.Count(html, element); n != 1 {
			t.Errorf("%s occurs %d times; its hash holds for one", element, n)
		}
	}
}

func TestThePageLoadsNothingAndMakesNoMarkupOfForeignText(t *testing.T) {
	html := string(page)
	for what, pattern := range map[string]string{
		"a resource from elsewhere": `(?i:(src|href)\s*=\s*["']?(https?:)?//)|url\(|@import|import\(`,
		"an inline handler":         `(?i)\son[a-z]+\s*=\s*["']`,
		"an inline style":           `(?i)\sstyle\s*=`,
		"markup made from text":     `innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function|srcdoc|javascript:`,
	} {
		if m := regexp.MustCompile(pattern).FindString(html); m != "" {
			t.Errorf("the page has %s: %s", what, m)
		}
	}
}

func TestForeignTextIsNoMarkupInTheAPI(t *testing.T) {
	w := newWorld(t)
	rec := w.do(http.MethodGet, "/api/v1/table", "")
	body := rec.Body.String()
	if strings.Contains(body, "<img") || strings.Contains(body, "</script>") {
		t.Error("the answer holds markup as it was announced")
	}
	if !strings.Contains(body, `\u003cimg src=x`) {
		t.Error("the answer lacks what was announced")
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if rec.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("other origins may read the answer")
	}
}
