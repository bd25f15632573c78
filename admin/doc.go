// Package admin is the balancer's face to its operators: whether it works, what it does, changes at run time, and a
// status page. It serves on an address of its own, loopback unless a token guards it, see [CheckAddress].
//
//	GET    /healthz                                    200 while the process works
//	GET    /readyz                                     200 or 503, with what is amiss
//	GET    /metrics                                    for Prometheus
//	GET    /api/v1/table?q=&state=&limit=              services, backends, routes, sources, problems
//	GET    /api/v1/services/{service}                  one service with its policy
//	PUT    /api/v1/services/{service}/backends/{id}    {"url": "http://10.0.0.5:8080", "weight": 2, "zone": "a"}
//	PATCH  /api/v1/services/{service}/backends/{id}    {"weight": 5, "draining": true}; weight null takes the override back
//	DELETE /api/v1/services/{service}/backends/{id}
//	GET    /api/v1/sources
//	GET    /api/v1/diff                                what is held back, and what shadowed sources say otherwise
//	POST   /api/v1/guard/release                       {"source": "etcd"}: obey it; without a source, all
//	GET    /api/v1/version
//	GET    /                                           the status page
//
// Changes are in the table a moment after the answer (50 ms at most), and last until the process ends. Errors are
// {"error": "what is wrong and what to do"}.
//
// # Who may
//
// With a token, everything but /healthz and /readyz wants it, as "Authorization: Bearer TOKEN" or as the password of
// basic authentication with any user name; without it those two answer with the verdict alone.
//
// Without a token, whoever reaches the address may do everything. On loopback that is every user of the machine, and
// every web page in their browsers unless kept out: so requests must be addressed to an IP address or localhost (a page
// that had its own name resolve to 127.0.0.1 says that name), and with and without a token changes must not come from
// another origin and must carry JSON.
package admin
