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
			search:  "|| down != 0 && (down < 0 || nowNs < down || ",
			replace: "|| down < 0 && (down < 0 || nowNs < down || ",
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

// circuitMutations break the circuit breaking.
func circuitMutations() []mutation {
	return []mutation{
		{
			name: "take a whole service down", file: "proxy/balance/circuit.go",
			search:  "	return (serving + 1) / 2\n",
			replace: "	return serving\n",
			pkg:     "./proxy/balance", run: "^TestMostDown$",
		},
		{
			name: "take the only endpoint down", file: "proxy/balance/circuit.go",
			search:  "	if serving < 2 {\n",
			replace: "	if serving < 1 {\n",
			pkg:     "./proxy/balance", run: "^TestMostDown$",
		},
		{
			name: "believe what began before an endpoint went down", file: "proxy/balance/node.go",
			search:  "	case down > 0: // the request began before the endpoint went down\n",
			replace: "	case down > 0 && c == classify.Ignored: // the request began before the endpoint went down\n",
			pkg:     "./proxy/balance", run: "^TestCircuit$",
		},
		{
			name: "lose a probe whose client went away", file: "proxy/balance/node.go",
			search:  "	case down < 0 && (b == nil || c == classify.Ignored):\n		n.state.down.CompareAndSwap(down, -down) // the next one probes\n",
			replace: "	case down < 0 && (b == nil || c == classify.Ignored):\n",
			pkg:     "./proxy/balance", run: "^TestCircuit$",
		},
		{
			name: "count failures that are not in a row", file: "proxy/resilience/accrual/accrual.go",
			search:  "			b.failures.Store(0)\n		}\n		return 0\n",
			replace: "		}\n		return 0\n",
			pkg:     "./proxy/resilience/accrual", run: "^TestConsecutive$",
		},
		{
			name: "take an endpoint down on a success", file: "proxy/resilience/accrual/accrual.go",
			search:  "b.rate.add(&b.policy, failed, nowNs) && failed\n",
			replace: "b.rate.add(&b.policy, failed, nowNs)\n",
			pkg:     "./proxy/resilience/accrual", run: "^(TestRates|TestRateActsOnFailures)$",
		},
		{
			name: "wait longer after a success too", file: "proxy/resilience/accrual/accrual.go",
			search:  "	b.attempts, b.last = 0, 0\n",
			replace: "",
			pkg:     "./proxy/resilience/accrual", run: "^TestBackoff$",
		},
		{
			name: "leave endpoints alone that have no room", file: "proxy/protocol/http1/retry.go",
			search:  "	case x.word.nack: // that it has no room now says nothing\n		return classify.Ignored\n",
			replace: "",
			pkg:     "./proxy/app", run: "^TestNackIsNoFailure$",
		},
		{
			name: "report endpoints that are left alone as available", file: "proxy/balance/balancer.go",
			search:  "b.snapshot.Load().serving - b.Down()",
			replace: "b.snapshot.Load().serving",
			pkg:     "./proxy/app", run: "^TestFailureAccrual$",
		},
		{
			name: "judge no endpoints after an edit that wants it", file: "proxy/route/client.go",
			search:  "		c.balancer.SetBreakers(breakers(accrual), c.clock())\n",
			replace: "",
			pkg:     "./proxy/app", run: "^TestFailureAccrual$",
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
