package admin

import (
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// policyView shows a policy with durations as people write them.
type policyView struct {
	Algorithm string       `json:"algorithm"`
	Health    string       `json:"health,omitempty"`
	Probe     *probePolicy `json:"health_check,omitempty"`
	Breaker   *breakPolicy `json:"circuit_breaker,omitempty"`
	Outlier   *outlyPolicy `json:"outlier_detection,omitempty"`
	Affinity  *stickPolicy `json:"sticky_session,omitempty"`
	Retry     *retryPolicy `json:"retry,omitempty"`
	Hedge     *hedgePolicy `json:"hedge,omitempty"`
	Timeouts  waits        `json:"timeouts"`
}

type probePolicy struct {
	Type             string `json:"type"`
	Path             string `json:"path,omitempty"`
	Interval         string `json:"interval"`
	Timeout          string `json:"timeout"`
	FailureThreshold int    `json:"failure_threshold"`
	SuccessThreshold int    `json:"success_threshold"`
	InitialState     string `json:"initial_state,omitempty"`
}

type breakPolicy struct {
	FailureThreshold int     `json:"failure_threshold"`
	FailureRate      float64 `json:"failure_rate,omitempty"`
	Window           string  `json:"window,omitempty"`
	MinVolume        int     `json:"min_volume,omitempty"`
	ResetTimeout     string  `json:"reset_timeout"`
	HalfOpenLimit    int     `json:"half_open_limit"`
}

type outlyPolicy struct {
	Consecutive5xx     int     `json:"consecutive_5xx,omitempty"`
	ConsecutiveGateway int     `json:"consecutive_gateway,omitempty"`
	SuccessRateStdev   float64 `json:"success_rate_stdev,omitempty"`
	LatencyFactor      float64 `json:"latency_factor,omitempty"`
	Interval           string  `json:"interval"`
	MaxEjectionPercent int     `json:"max_ejection_percent"`
}

type stickPolicy struct {
	Type       string `json:"type"`
	CookieName string `json:"cookie_name,omitempty"`
	HeaderName string `json:"header_name,omitempty"`
	Timeout    string `json:"timeout"`
	Store      string `json:"store"`
	Return     bool   `json:"return,omitempty"`
}

type retryPolicy struct {
	MaxRetries      int     `json:"max_retries"`
	InitialInterval string  `json:"initial_interval"`
	MaxInterval     string  `json:"max_interval"`
	Budget          float64 `json:"budget"`
}

type hedgePolicy struct {
	Percentile float64 `json:"percentile"`
	MinDelay   string  `json:"min_delay"`
	MaxDelay   string  `json:"max_delay"`
}

type waits struct {
	Connect      string `json:"connect,omitempty"`
	ResponseHead string `json:"response_head,omitempty"`
	Exchange     string `json:"exchange,omitempty"`
}

// viewPolicy leaves out what the policy switches off.
func viewPolicy(p *routing.Policy) *policyView {
	v := &policyView{
		Algorithm: string(p.Algorithm),
		Health:    string(p.Health),
		Timeouts:  waits{bound(p.Timeouts.Connect), bound(p.Timeouts.ResponseHead), bound(p.Timeouts.Exchange)},
	}
	if o := p.Probe; o.Interval > 0 {
		v.Probe = &probePolicy{o.Type, o.Path, o.Interval.String(), o.Timeout.String(), o.FailureThreshold, o.SuccessThreshold, o.InitialState}
	}
	if o := p.Breaker; o.FailureThreshold > 0 || o.FailureRate > 0 {
		v.Breaker = &breakPolicy{FailureThreshold: o.FailureThreshold, ResetTimeout: o.ResetTimeout.String(), HalfOpenLimit: o.HalfOpenLimit}
		if o.FailureRate > 0 {
			v.Breaker.FailureRate, v.Breaker.Window, v.Breaker.MinVolume = o.FailureRate, o.Window.String(), o.MinVolume
		}
	}
	if o := p.Outlier; o.Enabled() {
		v.Outlier = &outlyPolicy{o.ConsecutiveErrors, o.ConsecutiveGateway, o.SuccessRateStdev, o.LatencyFactor,
			o.Interval.String(), o.MaxEjectionPercent}
	}
	if o := p.Affinity; o.Type != "" {
		v.Affinity = &stickPolicy{string(o.Type), o.CookieName, o.HeaderName, o.Timeout.String(), o.Store, o.Return}
	}
	if o := p.Retry; o.MaxRetries > 0 {
		v.Retry = &retryPolicy{o.MaxRetries, o.InitialInterval.String(), o.MaxInterval.String(), o.Budget}
	}
	if o := p.Hedge; o.Percentile > 0 {
		v.Hedge = &hedgePolicy{o.Percentile, o.MinDelay.String(), o.MaxDelay.String()}
	}
	return v
}

// bound is empty for no bound.
func bound(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.String()
}
