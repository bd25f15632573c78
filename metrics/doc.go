// Package metrics shows what the balancer does to Prometheus.
//
// Nothing is counted here. The counters live where the work is done (a backend's record, the catalog, the listeners);
// a [Reader] shows them in a [Snapshot] when a scrape asks, and the [Handler] writes them down one after another, without
// gathering them first: a scrape of 100,000 backends takes no more memory than one of three. So an exchange pays for no metric twice, and a backend that left the table leaves the metrics with it.
//
// All metrics of ours are listed in one table, see [Metrics]; docs/metrics.md is the same table for people. Names begin
// with lb_, units are seconds, counters end in _total. Label values are names from the configuration, from the sources,
// or fixed words; a client cannot choose any.
package metrics
