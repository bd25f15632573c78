// Package archtest keeps the arrows between packages: its test reads the source of the module and tells which import,
// call or comment breaks a rule of the design, and the rule's reason.
//
// A wall that is in the way is moved in rules.go first, with its reason, then in the code. Rules name packages that do
// not exist yet; they hold from the day that these do.
package archtest
