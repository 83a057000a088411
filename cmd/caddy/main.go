// Command caddy is Caddy with its standard modules and step_up: the product.
// It takes every command and flag of Caddy itself.
//
// `go build ./cmd/caddy` follows this module's go.mod. To add other plugins,
// use xcaddy or cmd/build.
package main

import (
	_ "time/tzdata" // containers seldom carry time zones

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-stepup/stepup/caddymodule"
)

func main() {
	caddycmd.Main()
}
