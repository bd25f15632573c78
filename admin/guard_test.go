package admin

import (
	"encoding/base64"
	"net/http"
	"testing"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestTheTokenOpensEverything(t *testing.T) {
	w := newWorld(t, withToken)
	for _, c := range []struct {
		name, authorization string
		status              int
	}{
		{"bearer", "Bearer sesame", 200},
		{"bearer in another case", "bearer sesame", 200},
		{"basic with any user", basic("anyone", "sesame"), 200},
		{"nothing", "", 401},
		{"another token", "Bearer sesam", 401},
		{"a longer token", "Bearer sesame2", 401},
		{"no token", "Bearer ", 401},
		{"token as the user", basic("sesame", ""), 401},
		{"token without a scheme", "sesame", 401},
		{"another scheme", "Digest sesame", 401},
		{"basic that is no base64", "Basic !!!", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/", "/metrics", "/api/v1/table", "/api/v1/version", "/nothing"} {
				rec := w.do(http.MethodGet, path, "", "Authorization", c.authorization)
				want := c.status
				if path == "/nothing" && want == 200 {
					want = 404
				}
				if rec.Code != want {
					t.Errorf("GET %s is answered %d, want %d", path, rec.Code, want)
				}
				if rec.Code == 401 && rec.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("GET %s does not say how to authenticate", path)
				}
			}
		})
	}
}

func TestWithTheTokenAnyNameWillDo(t *testing.T) {
	w := newWorld(t, withToken)
	if rec := w.do(http.MethodGet, "/api/v1/table", "", "Host", "lb.example.com"); rec.Code != http.StatusOK {
		t.Errorf("the answer is %d", rec.Code)
	}
}

func TestWithoutATokenAForeignNameIsRefused(t *testing.T) {
	w := newWorld(t)
	for host, status := range map[string]int{
		"127.0.0.1:9901": 200, "127.0.0.1": 200, "localhost:9901": 200, "localhost": 200, "LOCALHOST.:9901": 200,
		"[::1]:9901": 200, "[::1]": 200, "10.0.0.5:9901": 200,
		"evil.example:9901": 403, "evil.example": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403,
		"": 403, "[::1].evil.example": 403,
	} {
		for _, path := range []string{"/api/v1/table", "/", "/metrics"} {
			if rec := w.do(http.MethodGet, path, "", "Host", host); rec.Code != status {
				t.Errorf("GET %s at %q is answered %d, want %d", path, host, rec.Code, status)
			}
		}
	}
}

func TestChangesFromAnotherPageAreRefused(t *testing.T) {
	for _, w := range []*world{newWorld(t), newWorld(t, withToken)} {
		const path, body = "/api/v1/services/web/backends/a", `{"draining": true}`
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Origin", "http://evil.example"},
			{"Origin", "http://127.0.0.1:8080"},
			{"Origin", "null"},
		} {
			expectError(t, w.do(http.MethodPatch, path, body, header...), http.StatusForbidden, "another origin")
			expectError(t, w.do(http.MethodDelete, path, "", header...), http.StatusForbidden, "another origin")
		}
		for _, header := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://127.0.0.1:9901"}, nil} {
			if rec := w.do(http.MethodPatch, path, body, header...); rec.Code != http.StatusNoContent {
				t.Errorf("with %v the answer is %d %s", header, rec.Code, rec.Body)
			}
		}
	}
}

func TestChangesMustBeJSON(t *testing.T) {
	w := newWorld(t)
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx"} {
		for _, method := range []string{http.MethodPut, http.MethodPatch} {
			rec := w.do(method, "/api/v1/services/web/backends/a", `{"draining": true}`, "Content-Type", contentType)
			expectError(t, rec, http.StatusUnsupportedMediaType, "application/json")
		}
	}
	if rec := w.do(http.MethodPatch, "/api/v1/services/web/backends/a", `{"draining": true}`, "Content-Type", "application/json; charset=utf-8"); rec.Code != http.StatusNoContent {
		t.Errorf("JSON with a charset is answered %d", rec.Code)
	}
}
