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
		{
			name: "merge equal lengths", file: "proxy/protocol/http1/head.go",
			search:  "if !ok || h.lengths > 0 {",
			replace: "if !ok || h.lengths > 0 && n != h.length {",
			pkg:     "./proxy/protocol/http1", run: "^TestRefusedRequests$/^equal_lengths$",
		},
	}
}
