package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// Colours that can be told apart without telling red from green, on white and on black pages.
const (
	paper  = "#ffffff"
	ink    = "#1f2937"
	faint  = "#d1d5db"
	muted  = "#6b7280"
	plain  = "#94a3b8"
	marked = "#d97706" // the slow backend
	line   = "#1d4ed8"
	shade  = "#fef3c7" // while it is slow
)

const (
	width, height = 840, 300
	barsLeft      = 52
	barsWidth     = 300
	timeLeft      = 440
	timeWidth     = 370
	top, bottom   = 62, 252
	middle        = 150 // between the two charts over time
)

// canvas collects the elements of a picture. Numbers have one decimal, so that the text does not depend on how
// the last bits are rounded.
type canvas struct{ bytes.Buffer }

func (c *canvas) put(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

func (c *canvas) rect(x, y, w, h float64, fill string) {
	c.put(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x, y, w, h, fill)
}

func (c *canvas) line(x1, y1, x2, y2 float64, stroke, more string) {
	c.put(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" %s/>`, x1, y1, x2, y2, stroke, more)
}

func (c *canvas) text(x, y float64, anchor, fill, text string) {
	c.put(`<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`, x, y, anchor, fill, text)
}

func (c *canvas) path(points []string, stroke string) {
	c.put(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2" stroke-linejoin="round"/>`, strings.Join(points, " "), stroke)
}

// draw simulates the picture's algorithm and shows it.
func (p picture) draw() ([]byte, error) {
	sc := p.scenario()
	all, err := simulate(sc)
	if err != nil {
		return nil, err
	}
	sc.slow = -1
	even, err := simulate(sc)
	if err != nil {
		return nil, err
	}
	c := &canvas{}
	c.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="12" role="img">`, width, height, width, height)
	c.put(`<title>%s: load over backends, and when one slows down tenfold</title>`, p.title)
	c.rect(0, 0, width, height, paper)
	c.put(`<text x="16" y="24" font-size="15" font-weight="600" fill="%s">%s</text>`, ink, p.title)
	c.bars(even)
	c.time(all)
	c.put("</svg>")
	return c.Bytes(), nil
}

// bars shows how many requests a second each backend gets while all are fast.
func (c *canvas) bars(r *result) {
	most := 0.0
	rates := make([]float64, len(r.requests))
	for i, n := range r.requests {
		rates[i] = float64(n) / length.Seconds()
		most = max(most, rates[i])
	}
	const step = 50 // the same scale in all pictures
	ceiling := max(math.Ceil(most/step)*step, 250)
	y := func(v float64) float64 { return bottom - v/ceiling*(bottom-top) }
	c.text(16, 46, "start", muted, "requests a second, by backend; all fast")
	for v := 0.0; v <= ceiling; v += step {
		c.line(barsLeft, y(v), barsLeft+barsWidth, y(v), faint, `stroke-width="1"`)
		c.text(barsLeft-6, y(v)+4, "end", muted, fmt.Sprintf("%.0f", v))
	}
	slot := float64(barsWidth) / float64(len(rates))
	for i, v := range rates {
		x := barsLeft + slot*float64(i)
		c.rect(x+4, y(v), slot-8, bottom-y(v), plain)
		name := fmt.Sprint(i + 1)
		c.text(x+slot/2, bottom+16, "middle", ink, name)
		if i == heavy {
			c.text(x+slot/2, bottom+31, "middle", muted, "weight 2")
		}
		share := 1000.0 / 11
		if i == heavy {
			share *= 2
		}
		if share <= ceiling {
			c.line(x+1, y(share), x+slot-1, y(share), ink, `stroke-width="2"`)
		}
	}
	c.line(barsLeft, bottom+27, barsLeft+16, bottom+27, ink, `stroke-width="2"`)
	c.text(barsLeft+21, bottom+31, "start", muted, "share by weight")
}

// time shows what the slow backend gets, and how long requests take.
func (c *canvas) time(r *result) {
	seconds := length.Seconds()
	x := func(s float64) float64 { return timeLeft + s/seconds*timeWidth }
	c.text(timeLeft-34, 46, "start", muted, "backend 5 is ten times slower from 20 s to 40 s")
	c.rect(x(slowFrom.Seconds()), top, x(slowTill.Seconds())-x(slowFrom.Seconds()), bottom-top, shade)

	// Above: requests a second to the slow backend, and to another of its weight.
	most := 0.0
	rate := func(s int) float64 { return float64(r.bySecond[s][slowOne]) }
	other := func(s int) float64 { // the mean of those like it
		n := 0
		for i := range r.bySecond[s] {
			if i != slowOne && i != heavy {
				n += r.bySecond[s][i]
			}
		}
		return float64(n) / (backends - 2)
	}
	for s := range r.bySecond {
		most = max(most, rate(s), other(s))
	}
	step := niceStep(most) * 2
	ceiling := math.Ceil(most/step) * step
	y := func(v float64) float64 { return middle - 12 - v/ceiling*(middle-12-top) }
	for v := 0.0; v <= ceiling; v += step {
		c.line(timeLeft, y(v), timeLeft+timeWidth, y(v), faint, `stroke-width="1"`)
		c.text(timeLeft-6, y(v)+4, "end", muted, fmt.Sprintf("%.0f", v))
	}
	var slow, like []string
	for s := range r.bySecond {
		at := x(float64(s) + 0.5)
		slow = append(slow, fmt.Sprintf("%.1f,%.1f", at, y(rate(s))))
		like = append(like, fmt.Sprintf("%.1f,%.1f", at, y(other(s))))
	}
	c.path(like, plain)
	c.path(slow, marked)

	// Below: the 99th percentile, on a scale where each step is a factor of ten.
	const low, high = 0.01, 1.0
	z := func(v float64) float64 {
		v = min(max(v, low), high)
		return bottom - math.Log10(v/low)/math.Log10(high/low)*(bottom-middle-12)
	}
	for _, v := range []float64{0.01, 0.1, 1} {
		c.line(timeLeft, z(v), timeLeft+timeWidth, z(v), faint, `stroke-width="1"`)
		label := fmt.Sprintf("%.0f ms", v*1000)
		if v == 1 {
			label = "1 s"
		}
		c.text(timeLeft-6, z(v)+4, "end", muted, label)
	}
	var p99 []string
	for s, v := range r.slowest {
		p99 = append(p99, fmt.Sprintf("%.1f,%.1f", x(float64(s)+0.5), z(v)))
	}
	c.path(p99, line)
	for s := 0; s <= int(seconds); s += 10 {
		c.text(x(float64(s)), bottom+16, "middle", ink, fmt.Sprintf("%d s", s))
	}
	c.legend(timeLeft, bottom+27, marked, "requests a second to 5")
	c.legend(timeLeft+172, bottom+27, plain, "to others")
	c.legend(timeLeft+262, bottom+27, line, "99th percentile")
}

func (c *canvas) legend(x, y float64, stroke, text string) {
	c.line(x, y, x+14, y, stroke, `stroke-width="3"`)
	c.text(x+18, y+4, "start", muted, text)
}

// niceStep divides a scale up to most into three to six steps of a round length.
func niceStep(most float64) float64 {
	base := math.Pow(10, math.Floor(math.Log10(most/3)))
	for _, f := range []float64{1, 2, 5, 10} {
		if most/(base*f) <= 5 {
			return base * f
		}
	}
	return base * 10
}
