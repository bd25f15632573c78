// Package containers runs the balancer and its surroundings in Docker containers for tests.
//
// A [Lab] is one Docker network and the containers on it, all of which are removed when the test ends. [New] skips the
// test when no Docker engine answers.
//
// Images come from static binaries that are put on an empty image, so that no registry is needed: the balancer and the
// demo backend from this tree, etcd and Consul from their Go modules (integration/tools). An image is named by its
// content and built once. Where official images are at hand they take the place of ours; the environment decides:
//
//	LBTEST_PULL_IMAGES=1     official images may be pulled, within a minute; ours are the fallback
//	LBTEST_CONSUL_IMAGE      the official image's name; what docker-compose.yml has unless set, none if empty
//	LBTEST_ETCD_IMAGE        the same for etcd
//
// An official image that lies on the machine already is used without being asked for. (Variables of tests do not begin
// with LB_, because a balancer that inherits one refuses what it does not know.)
package containers
