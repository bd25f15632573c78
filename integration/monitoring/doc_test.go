// Package monitoring proves that what the repository ships for Prometheus, Grafana and Docker fits the balancer: every
// expression of every dashboard panel and alert is evaluated by a real Prometheus that scrapes a real balancer under
// load. It needs the programs prometheus and promtool; tests skip where they are missing.
package monitoring
