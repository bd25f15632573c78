package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAnUploadWithinItsLastStepIsWaitedForLonger(t *testing.T) {
	for _, c := range []struct {
		name       string
		ending     bool
		ends, want time.Duration
	}{
		{"much is left", false, 50 * time.Millisecond, settleDelay},
		{"the last step ends", true, 50 * time.Millisecond, 50 * time.Millisecond},
		{"the last step hangs", true, time.Second, endingDelay},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upload{done: make(chan struct{})}
				u.ending.Store(c.ending)
				conn := &engineConn{link: &link{e: &Engine{p: &Proxy{settleDelay: settleDelay}}}}
				conn.upload = u
				begun := time.Now()
				time.AfterFunc(c.ends, func() { close(u.done) })
				conn.settleUpload()
				if d := time.Since(begun); d != c.want {
					t.Errorf("it was waited for %v, want %v", d, c.want)
				}
				<-u.done
			})
		})
	}
}
