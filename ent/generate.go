// Package ent is the data model by hand: the schema, and the versioned SQL made from it. The client generated from it is
// in gen/ent.
package ent

//go:generate go run -mod=mod entc.go
