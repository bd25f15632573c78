// Package config reads the balancer's configuration: a YAML (or JSON) file, LB_… environment variables and the policy
// and route texts that sources announce.
//
// # Precedence
//
// [Default] is the weakest, then the file, then the environment, then whatever the caller sets by itself (flags). A
// service's policy is resolved by [Config.Policy]: the built-in defaults, the policy keys at the top level of the file
// (and their environment variables), the texts announced by sources, and last the file's block under services.
//
// # Problems
//
// A text is never refused for its first mistake alone: decoding goes on, and every [Problem] is told at once with its
// file, line, column and the line itself. After a YAML syntax error the top-level block around it is left out and the
// rest is still checked. No message and no quoted line holds a secret.
//
// # Tables
//
// Each block of the file is a table of fields (see block and field): the name, the kind of the value, where it goes and
// what it means. Decoding, environment variables and the tables of docs/configuration.md all come from it.
package config
