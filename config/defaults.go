package config

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// Default is what holds where neither the file nor the environment says otherwise. It is valid.
func Default() *Config {
	return &Config{
		Listen:          []Listener{defaultListener()},
		Services:        map[string]Service{},
		DefaultDomain:   "localhost",
		Prometheus:      Prometheus{Path: "/metrics"},
		Admin:           Admin{Address: "127.0.0.1:9901"},
		Limits:          Limits{HeadBytes: 64 << 10, HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute, HeadFields: 256},
		Fleet:           Fleet{Enabled: true, TTL: 10 * time.Second},
		Announce:        Announce{Weight: 1, TTL: 10 * time.Second, Drain: 5 * time.Second},
		ShutdownTimeout: 30 * time.Second,
		ForgetAfter:     time.Hour,
		Merge:           "union",
		Guard:           Guard{Mode: "hold", Window: 10 * time.Second, Hold: time.Minute, MaxRemoval: 0.5, MinBackends: 10},
		AccessLog:       AccessLog{Format: "json"},
		Log:             Log{Level: slog.LevelInfo, Format: "text"},
	}
}

func defaultListener() Listener {
	return Listener{Port: 8080, TLS: TLS{ReloadInterval: 500 * time.Millisecond, MinVersion: tls.VersionTLS12}}
}

func defaultBackend() Backend { return Backend{Weight: 1} }

// builtin is the policy whose parts are all on: [resolve] turns off what nobody asked for.
func builtin() Policy {
	return Policy{
		Algorithm: "round-robin", Hash: Hash{By: "address"}, Zones: "prefer",
		Health: "both",
		HealthCheck: HealthCheck{
			Type: "http", Interval: 10 * time.Second, Timeout: 5 * time.Second, Path: "/",
			FailureThreshold: 3, SuccessThreshold: 1, InitialState: "probing", Method: "GET", Statuses: "200-399",
			Share: "off", ShareBy: 2,
		},
		CircuitBreaker: CircuitBreaker{
			FailureThreshold: 5, Window: 10 * time.Second, MinVolume: 20, Failures: "5xx, gateway, connect, timeout, reset",
			ResetTimeout: 30 * time.Second, ResetMultiplier: 1, MaxResetTimeout: 5 * time.Minute, HalfOpenLimit: 1,
		},
		AdaptiveConcurrency: AdaptiveConcurrency{Enabled: true, MinLimit: 2, MaxLimit: 1000, InitialLimit: 20, Tolerance: 1.5},
		OutlierDetection: OutlierDetection{
			Enabled: true, Consecutive5xx: 5, ConsecutiveGateway: 3, SuccessRateStdev: 1.9, Interval: 10 * time.Second,
			MinHosts: 5, MinVolume: 100, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 5 * time.Minute, MaxEjectionPercent: 50,
		},
		StickySession: StickySession{
			Type: "cookie", CookieName: "session_id", CookiePath: "/", CookieSameSite: "lax", CookieSecure: "auto",
			AddressIPv6Prefix: 128, Timeout: time.Hour,
			Store: "none", MaxSessions: 100_000, CleanupInterval: time.Minute,
		},
		Retry: Retry{
			MaxRetries: 2, InitialInterval: 25 * time.Millisecond, MaxInterval: time.Second,
			Multiplier: 2, Randomization: 0.5, Budget: 0.2,
			On: "connect,reset,malformed,timeout",
		},
		Hedge: Hedge{Enabled: true, Percentile: 95, MinDelay: 5 * time.Millisecond, MaxDelay: time.Second},
		Connections: Connections{
			MaxIdle: 512, IdleTimeout: 4 * time.Second, MaxQueue: 1024, QueueTimeout: 5 * time.Second,
			KeepAlive: 15 * time.Second, UserTimeout: time.Minute,
		},
		ProxyProtocol: "off",
		Timeouts: Timeouts{
			Connect: 3 * time.Second, ResponseHead: time.Minute,
			ClientIdle: time.Minute, BackendIdle: 5 * time.Minute, TunnelIdle: time.Hour,
		},
	}
}
