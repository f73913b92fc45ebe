package main

// balanceMutations break the choice of an endpoint.
func balanceMutations() []mutation {
	const pkg = "./proxy/balance"
	return []mutation{
		{
			name: "always pick the first endpoint", file: "proxy/balance/p2c/p2c.go",
			search:  "	i := rand.IntN(n)\n",
			replace: "	i := 0 * rand.IntN(n)\n",
			pkg:     pkg, run: "^TestEveryPolicy$",
		},
		{
			name: "ignore the load of endpoints", file: "proxy/balance/p2c/p2c.go",
			search:  "b.Pending() < a.Pending()",
			replace: "b.Pending() < 0",
			pkg:     pkg, run: "^TestPickPrefersTheLighterNode$",
		},
		{
			name: "ignore whether an endpoint is down", file: "proxy/balance/node.go",
			search:  "	if down != 0 && (down < 0 || nowNs < down || ",
			replace: "	if down < 0 && (down < 0 || nowNs < down || ",
			pkg:     pkg, run: "^TestEveryPolicy$",
		},
		{
			name: "probe an endpoint twice", file: "proxy/balance/node.go",
			search:  "!n.state.down.CompareAndSwap(down, -down)",
			replace: "!n.state.down.CompareAndSwap(down, down)",
			pkg:     pkg, run: "^TestEveryPolicy$",
		},
		{
			name: "refuse where all endpoints are down", file: "proxy/balance/balancer.go",
			search:  "[...]bool{true, false}",
			replace: "[...]bool{true, true}",
			pkg:     pkg, run: "^TestEveryPolicy$",
		},
		{
			name: "draw weights by the number of endpoints alone", file: "proxy/balance/balancer.go",
			search:  "total += s.classes[i].weight * float64(",
			replace: "total += float64(",
			pkg:     pkg, run: "^(TestPickSpreadsByWeight|TestEveryPolicy)$",
		},
		{
			name: "forget the weights after a first attempt", file: "proxy/balance/balancer.go",
			search:  "		effort = untriedEffort\n",
			replace: "		effort = 0\n",
			pkg:     pkg, run: "^TestPickOfAnotherSpreadsByWeight$",
		},
		{
			name: "keep the hop of an address that moved", file: "proxy/balance/balancer.go",
			search:  "		id := identity{e.Addr, e.Hop}\n",
			replace: "		id := identity{e.Addr, nil}\n",
			pkg:     pkg, run: "^TestUpdateMovesAnAddressToAnotherNode$",
		},
		{
			name: "forget an endpoint that goes for a moment", file: "proxy/balance/balancer.go",
			search:  "ok && nowNs < old.until",
			replace: "ok && nowNs > old.until",
			pkg:     pkg, run: "^TestUpdateRemembers$",
		},
	}
}

// policyMutations break the ways to choose.
func policyMutations() []mutation {
	const pkg = "./proxy/balance"
	return []mutation{
		{
			name: "follow peaks slowly", file: "proxy/balance/node.go",
			search:  "		case rtt > before*w:\n			after = rtt\n",
			replace: "		case rtt > 2*before*w:\n			after = rtt\n",
			pkg:     pkg, run: "^TestCost$",
		},
		{
			name: "flood an endpoint that has not answered yet", file: "proxy/balance/ewma/ewma.go",
			search:  "return penalty + pending",
			replace: "return pending",
			pkg:     pkg, run: "^TestEWMAProbesNewEndpoints$",
		},
		{
			name: "leave ended requests in the heap", file: "proxy/balance/heap/heap.go",
			search:  "	if e := p.known[n.Identity()]; e != nil {\n",
			replace: "	if e := p.known[n.Identity()]; e != nil && nowNs < 0 {\n",
			pkg:     pkg, run: "^TestHeapIsExact$",
		},
		{
			name: "never narrow an aperture", file: "proxy/balance/aperture/aperture.go",
			search:  "load <= p.low && width > p.least",
			replace: "load < 0 && width > p.least",
			pkg:     pkg, run: "^TestApertureWidth$",
		},
		{
			name: "keep the balancer after an edit", file: "proxy/route/client.go",
			search:  "		c.balancer.SetPolicy(policy(kind))\n",
			replace: "",
			pkg:     "./proxy/app", run: "^TestLoadBalancer$",
		},
	}
}
