package main

// headMutations break what is refused in the head of a request.
func headMutations() []mutation {
	return []mutation{
		{
			name: "take a host with two ports", file: "proxy/protocol/http1/authority.go",
			search:  "port[0] == ':' && areDigits(port[1:])",
			replace: "port[0] == ':'",
			pkg:     "./test/conformance", run: "^TestWireCases$/^host:_two_ports",
		},
	}
}
