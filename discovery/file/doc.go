// Package file announces what a file says, and follows its changes.
//
// The file is read as a whole. One that is missing, cannot be read, or is refused by its grammar is an outage: what was
// announced before stays in force, and the next good version, or the file's appearance, ends it. What is wrong with
// single items is told as problems and costs those alone.
package file
