package server

import (
	"fmt"
	"time"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/discovery"
)

// parseAnnouncement reads the file of a file source by the configuration's grammar.
func parseAnnouncement(file string, data []byte) ([]discovery.Service, []discovery.Route, []discovery.Problem, error) {
	a, wrong := config.ParseAnnouncement(file, data)
	if a == nil {
		return nil, nil, nil, wrong.Err()
	}
	now := time.Now()
	services := make([]discovery.Service, 0, len(a.Services))
	for _, s := range a.Services {
		services = append(services, discovery.Service{
			Name: s.Name, Backends: backends(s.Backends), Policy: s.PolicyText, Seen: now,
		})
	}
	routes := make([]discovery.Route, 0, len(a.Routes))
	for _, r := range a.Routes {
		routes = append(routes, route(r))
	}
	problems := make([]discovery.Problem, 0, len(wrong))
	for _, p := range wrong {
		problems = append(problems, discovery.Problem{
			Key:    fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column),
			Code:   discovery.CodeBadValue,
			Detail: config.Problems{p}.Summary(),
		})
	}
	return services, routes, problems, nil
}
