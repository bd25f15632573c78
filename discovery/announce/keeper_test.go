package announce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a slot that notes its calls and fails as told.
type place struct {
	start time.Time

	mu    sync.Mutex
	calls []string         // with the second in which they came
	fails map[string]error // by call
}

func (p *place) call(what, with string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf("%s%s@%d", what, with, time.Since(p.start)/time.Second))
	return p.fails[what]
}

func (p *place) Put(_ context.Context, v string) error { return p.call("put", " "+v) }
func (p *place) Refresh(context.Context) error         { return p.call("refresh", "") }
func (p *place) Remove(context.Context) error          { return p.call("remove", "") }
func (p *place) Close() error                          { return p.call("close", "") }

func (p *place) fail(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails[what] = err
}

func (p *place) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// world runs a keeper with a time to live of 9 s in a bubble.
func world(t *testing.T, test func(p *place, k *Keeper[string], told func() []string, stop func() error)) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{start: time.Now(), fails: map[string]error{}}
		var mu sync.Mutex
		var told []string
		k := NewKeeper(p, Options{TTL: 9 * time.Second, Told: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(err))
		}})
		heard := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(told)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		synctest.Wait()
		once := false
		stop := func() error {
			if once {
				return nil
			}
			once = true
			cancel()
			return <-ended
		}
		test(p, k, heard, stop)
		_ = stop()
	})
}

func TestNothingIsWrittenBeforeThereIsAValue(t *testing.T) {
	world(t, func(p *place, k *Keeper[string], told func() []string, stop func() error) {
		time.Sleep(time.Minute)
		if len(p.log()) != 0 || len(told()) != 0 {
			t.Errorf("calls %v, told %v", p.log(), told())
		}
	})
}

func TestAValueIsWrittenOnceAndRefreshedThreeTimesWithinItsTime(t *testing.T) {
	world(t, func(p *place, k *Keeper[string], told func() []string, stop func() error) {
		k.Set("a")
		if !k.Written(context.Background()) {
			t.Error("not written")
		}
		time.Sleep(9*time.Second + time.Millisecond)
		if err := stop(); err != nil {
			t.Error(err)
		}
		want := []string{"put a@0", "refresh@3", "refresh@6", "refresh@9", "remove@9", "close@9"}
		if !slices.Equal(p.log(), want) {
			t.Errorf("calls are %v, want %v", p.log(), want)
		}
		if !slices.Equal(told(), []string{"<nil>"}) {
			t.Errorf("told %v, want that it stands", told())
		}
	})
}

func TestANewValueIsWrittenAtOnce(t *testing.T) {
	world(t, func(p *place, k *Keeper[string], told func() []string, stop func() error) {
		k.Set("a")
		time.Sleep(time.Second + time.Millisecond)
		k.Set("b")
		synctest.Wait()
		if last := p.log()[len(p.log())-1]; last != "put b@1" {
			t.Errorf("the last call is %s", last)
		}
	})
}

func TestWhatTheStoreLostIsWrittenAnew(t *testing.T) {
	world(t, func(p *place, k *Keeper[string], told func() []string, stop func() error) {
		k.Set("a")
		synctest.Wait()
		p.fail("refresh", fmt.Errorf("%w: the lease has ended", ErrLost))
		time.Sleep(4 * time.Second)
		p.fail("refresh", nil)
		if !slices.Contains(p.log(), "put a@3") {
			t.Errorf("calls are %v, want a second put", p.log())
		}
		if len(told()) != 1 {
			t.Errorf("told %v: a loss that is mended at once is none", told())
		}
	})
}

func TestAnOutageIsToldOnceAndItsEndToo(t *testing.T) {
	world(t, func(p *place, k *Keeper[string], told func() []string, stop func() error) {
		p.fail("put", errors.New("refused"))
		k.Set("a")
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if k.Written(ctx) {
			t.Error("what was refused counts as written")
		}
		if n := len(p.log()); n < 15 || n > 60 {
			t.Errorf("%d tries in a minute, want one about every two seconds", n)
		}
		p.fail("put", nil)
		time.Sleep(4 * time.Second)
		if !slices.Equal(told(), []string{"refused", "<nil>"}) {
			t.Errorf("told %v", told())
		}
	})
}

func TestWhatIsTakenIsLookedAfterWithoutHaste(t *testing.T) {
	world(t, func(p *place, k *Keeper[string], told func() []string, stop func() error) {
		k.Set("a")
		synctest.Wait()
		p.fail("refresh", ErrTaken)
		time.Sleep(30 * time.Second)
		if n := len(p.log()); n > 12 {
			t.Errorf("%d calls in 30 s, want one in three seconds", n)
		}
		if len(told()) != 2 || !strings.Contains(told()[1], "same id") {
			t.Errorf("told %v", told())
		}
	})
}

func TestTheEndTellsWhatCouldNotBeTakenBack(t *testing.T) {
	world(t, func(p *place, k *Keeper[string], told func() []string, stop func() error) {
		k.Set("a")
		synctest.Wait()
		p.fail("remove", errors.New("away"))
		if err := stop(); err == nil || !strings.Contains(err.Error(), "away") {
			t.Errorf("Run returns %v", err)
		}
	})
}

func TestARecordThatCannotBeIsRefusedWithItsField(t *testing.T) {
	good := func() (r Record) {
		r.Service, r.ID, r.URL, r.Weight = "web", "a", "10.0.0.1:80", 1
		return r
	}
	if r, err := good().Check(); err != nil || r.URL != "http://10.0.0.1:80" {
		t.Errorf("%q %v", r.URL, err)
	}
	for part, change := range map[string]func(*Record){
		"service": func(r *Record) { r.Service = "a/b" },
		"backend": func(r *Record) { r.ID = "" },
		"url":     func(r *Record) { r.URL = "10.0.0.1" },
		"weight":  func(r *Record) { r.Weight = 1001 },
		"meta":    func(r *Record) { r.Meta = map[string]string{"": "x"} },
		"tag":     func(r *Record) { r.Tags = []string{""} },
	} {
		r := good()
		change(&r)
		if _, err := r.Check(); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", part, err)
		}
	}
}
