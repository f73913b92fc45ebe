package main

// endpointMutations break what endpoints get that are new, elsewhere, or cannot be connected to.
func endpointMutations() []mutation {
	const pkg = "./proxy/balance"
	return []mutation{
		{
			name: "give a new endpoint all of its part at once", file: "proxy/balance/slowstart.go",
			search:  "share < 1 && rand.Float64() >= share",
			replace: "share < 0 && rand.Float64() >= share",
			pkg:     pkg, run: "^TestSlowStart",
		},
		{
			name: "hold the first endpoints back, too", file: "proxy/balance/slowstart.go",
			search:  "	return serving > 0 && now.Endpoint.Serving",
			replace: "	return now.Endpoint.Serving",
			pkg:     pkg, run: "^TestSlowStart",
		},
		{
			name: "stay in a zone that is too slow", file: "proxy/balance/zone.go",
			search:  "near > z.SpillFactor*far",
			replace: "near > 1000*z.SpillFactor*far",
			pkg:     pkg, run: "^TestZonePreference$",
		},
		{
			name: "leave the zone for good", file: "proxy/balance/zone.go",
			search:  "min(keep+keepStep, mostKept)",
			replace: "keep * 0.9",
			pkg:     pkg, run: "^TestZonePreference$",
		},
		{
			name: "lose the last endpoint", file: "proxy/balance/circuit.go",
			search:  "b.Down() >= b.snapshot.Load().serving-1",
			replace: "b.Down() >= b.snapshot.Load().serving",
			pkg:     pkg, run: "^TestLose$",
		},
		{
			name: "try an endpoint that left", file: "proxy/route/failfast.go",
			search:  "		if !present[id] {\n			f.forget(l)\n		}\n",
			replace: "		_, _ = l, present[id]\n",
			pkg:     "./proxy/route", run: "^TestFailFastEnds$",
		},
		{
			name: "try a lost endpoint every second", file: "proxy/route/failfast.go",
			search:  "reconnect.Next(l.tries, l.last)",
			replace: "reconnect.Next(0, l.last)",
			pkg:     "./proxy/route", run: "^TestFailFast$",
		},
	}
}
