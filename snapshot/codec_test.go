package snapshot

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// fill sets every exported field of a value to something that is not zero, and different from field to field, so that a
// field which is added and not encoded is found.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		if t, ok := v.Addr().Interface().(*time.Time); ok {
			*t = time.Unix(1_700_000_000, int64(*n))
			return
		}
		for i := range v.NumField() {
			// Seen is no part of an announcement.
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Seen" {
				fill(v.Field(i), n)
			}
		}
	default:
		panic("fill knows no " + v.Kind().String())
	}
}

func fullState() routing.State {
	var st routing.State
	n := 0
	fill(reflect.ValueOf(&st).Elem(), &n)
	return st
}

func TestEveryFieldComesBack(t *testing.T) {
	st, at := fullState(), time.Unix(1_800_000_000, 5)
	got, when, err := decode(encode(&st, at, 0))
	if err != nil || !when.Equal(at) {
		t.Fatalf("written at %v: %v", when, err)
	}
	if !reflect.DeepEqual(got, st) {
		t.Errorf("got  %+v\nwant %+v", got, st)
	}
}

func TestNothingComesBackAsNothing(t *testing.T) {
	got, _, err := decode(encode(&routing.State{}, time.Time{}, 0))
	if err != nil || !reflect.DeepEqual(got, routing.State{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnEmptyPolicyIsNotNone(t *testing.T) {
	st := routing.State{Sources: []routing.SourceState{{Services: []discovery.Service{{Name: "a", Policy: []byte{}}, {Name: "b"}}}}}
	got, _, err := decode(encode(&st, time.Time{}, 0))
	if err != nil || got.Sources[0].Services[0].Policy == nil || got.Sources[0].Services[1].Policy != nil {
		t.Errorf("got %+v, %v", got.Sources, err)
	}
}

func TestEqualStatesAreEqualBytes(t *testing.T) {
	a, b := fullState(), fullState()
	if !bytes.Equal(encode(&a, time.Time{}, 0), encode(&b, time.Time{}, 0)) {
		t.Error("two encodings of one state differ")
	}
}

func TestWhateverIsCutOrChangedIsNotLoaded(t *testing.T) {
	st := fullState()
	good := encode(&st, time.Now(), 0)
	for n := range good {
		if _, _, err := decode(good[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are loaded", n, len(good))
		}
		bad := slices.Clone(good)
		bad[n] ^= 0x20
		if _, _, err := decode(bad); err == nil {
			t.Fatalf("with byte %d changed it is loaded", n)
		}
	}
	if _, _, err := decode(append(slices.Clone(good), 0)); err == nil {
		t.Error("with a byte more it is loaded")
	}
}

// FuzzDecode has what a file holds behind a right checksum be anything.
func FuzzDecode(f *testing.F) {
	st := fullState()
	f.Add(encode(&st, time.Unix(1, 1), 0)[headLen:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		file := seal(append(make([]byte, headLen), body...))
		got, at, err := decode(file)
		if err != nil {
			return
		}
		again, _, err := decode(encode(&got, at, 0))
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("what was read is not what is written of it: %v", err)
		}
	})
}

// fleet is a state of so many services of ten backends.
func fleet(services int) routing.State {
	src := routing.SourceState{Name: "etcd", Synced: time.Now()}
	for i := range services {
		s := discovery.Service{Name: fmt.Sprintf("service-%05d", i)}
		for k := range 10 {
			s.Backends = append(s.Backends, discovery.Backend{ID: fmt.Sprintf("b%d", k), URL: fmt.Sprintf("http://10.%d.%d.%d:8080", i/256, i%256, k), Weight: 1})
		}
		src.Services = append(src.Services, s)
	}
	return routing.State{Sources: []routing.SourceState{src}}
}

func BenchmarkEncode100kBackends(b *testing.B) {
	st := fleet(10_000)
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(encode(&st, time.Time{}, 0))))
	}
}

func BenchmarkDecode100kBackends(b *testing.B) {
	st := fleet(10_000)
	text := encode(&st, time.Time{}, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
