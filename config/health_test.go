package config

import (
	"strings"
	"testing"
)

func TestHealthPolicies(t *testing.T) {
	for text, want := range map[string]string{
		"health: probe":    "",
		"health: registry": "",
		"health: etcd":     "must be one of consul, probe or both",
		"health_check: {type: grpc, grpc_service: web}":                             "",
		"health_check: {headers: {x-a: 1, Authorization: Bearer x}}":                "",
		"health_check: {headers: 'X-A: 1'}":                                         "",
		"health_check: {headers: {x-a: 1, X-A: 2}}":                                 "is given twice",
		"health_check: {headers: {host: a}}":                                        "set health_check.host",
		"health_check: {headers: {content-length: 5}}":                              "is set by the probe itself",
		"health_check: {headers: hello}":                                            "lines of the form Name: value",
		"health_check: {headers: {\"a b\": c}}":                                     "must be a word of",
		"health_check: {statuses: '200 - 204,404'}":                                 "",
		"health_check: {statuses: 1xx}":                                             "statuses and ranges like",
		"health_check: {statuses: 100-200}":                                         "from 200 to 599",
		"health_check: {body_regexp: '('}":                                          "must be a regular expression",
		"health_check: {host: 'a:b'}":                                               "perhaps with a port",
		"health_check: {host: '[::1]:80'}":                                          "",
		"health_check: {port: 70000}":                                               "65535",
		"health_check: {type: tcp, statuses: '200'}":                                "has no meaning for a probe of type tcp",
		"health_check: {type: http, grpc_service: a}":                               "use type grpc",
		"circuit_breaker: {failures: '5xx,timeout'}":                                "",
		"circuit_breaker: {failures: 4xx}":                                          "must be some of 5xx",
		"circuit_breaker: {failures: ','}":                                          "at least one of",
		"circuit_breaker: {failure_rate: 1.5}":                                      "from 0 to 1",
		"outlier_detection: {max_ejection_percent: 101}":                            "from 0 to 100",
		"outlier_detection: {min_hosts: 0}":                                         "from 1 to",
		"outlier_detection: {consecutive_5xx: 3, latency_factor: 4, enabled: true}": "",
	} {
		err := CheckPolicy([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWhatIsNotAskedForStaysOff(t *testing.T) {
	for text, want := range map[string]func(Policy) bool{
		"": func(p Policy) bool {
			return !p.OutlierDetection.Enabled && p.CircuitBreaker.FailureThreshold == 0 && p.HealthCheck.Interval == 0
		},
		"outlier_detection: {min_volume: 5}":                 func(p Policy) bool { return p.OutlierDetection.Enabled && p.OutlierDetection.MinVolume == 5 },
		"outlier_detection: {min_volume: 5, enabled: false}": func(p Policy) bool { return !p.OutlierDetection.Enabled },
		"circuit_breaker: {failure_rate: 0.5}": func(p Policy) bool {
			return p.CircuitBreaker.FailureThreshold == 0 && p.CircuitBreaker.FailureRate == 0.5
		},
		"circuit_breaker: {failure_rate: 0.5, failure_threshold: 3}": func(p Policy) bool { return p.CircuitBreaker.FailureThreshold == 3 },
		"{health: consul, health_check: {path: /}}":                  func(p Policy) bool { return p.HealthCheck.Interval == 0 },
		"health_check: {headers: {b: 2, a: 1}, path: /}":             func(p Policy) bool { return p.HealthCheck.Headers == "A: 1\nB: 2" && p.HealthCheck.Interval > 0 },
	} {
		o, problems := parsePolicy([]byte(text))
		if p := resolve(o); len(problems) > 0 || !want(p) {
			t.Errorf("%s: %+v %v", text, p, problems)
		}
	}
}
