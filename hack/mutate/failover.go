package main

// failoverMutations break when names fall over to alternates with a live endpoint, and back.
func failoverMutations() []mutation {
	const (
		route  = "./proxy/route"
		health = "proxy/route/health.go"
	)
	return []mutation{
		{
			name: "fall over to nothing", file: "proxy/naming/health.go",
			search:  "		default:\n			c.ends = true\n			break walk\n",
			replace: "		default:\n			return choice{outcome: out, index: i}\n",
			pkg:     "./proxy/naming", run: "^TestFailover$",
		},
		{
			name: "follow the health of the first live leaf alone", file: "proxy/naming/health.go",
			search:  "live = e.isLive(b) || live",
			replace: "live = e.isLive(b)",
			pkg:     "./proxy/naming", run: "^TestFailover$",
		},
		{
			name: "mark what is passed over as what requests take", file: "proxy/naming/explain.go",
			search:  "steps[i].Unhealthy, steps[i].passed = true, i != out.index",
			replace: "steps[i].Unhealthy = true",
			pkg:     "./proxy/naming", run: "^TestExplainFailover$",
		},
		{
			name: "go back with the first request that succeeds", file: health,
			search:  "		after = back\n",
			replace: "		after = min(after, back, 0)\n",
			pkg:     route, run: "^(TestFailover|TestNoFlapping)$",
		},
		{
			name: "go back in spite of a failure", file: health,
			search:  "		h.rest()\n		h.wait(true)\n",
			replace: "		_ = h.timer\n",
			pkg:     route, run: "^TestFailbackStartsAnew$",
		},
		{
			name: "try what is passed over with every request", file: health,
			search:  "!h.next.CompareAndSwap(next, nowNs+int64(trialEvery))",
			replace: "!h.next.CompareAndSwap(next, nowNs)",
			pkg:     route, run: "^TestFailover",
		},
		{
			name: "never try what has no live endpoint", file: health,
			search:  "h.balancer.Live() == 0 && !h.balancer.IsDue(nowNs)",
			replace: "h.balancer.Live() == 0",
			pkg:     route, run: "^TestFailover$",
		},
		{
			name: "keep the client of a name that is gone", file: health,
			search:  "		h.mu.Unlock()\n		released()\n",
			replace: "		h.mu.Unlock()\n		_ = released\n",
			pkg:     route, run: "^TestFailoverOverEdits$",
		},
		{
			name: "wait for longer with each failure of an endpoint that was spared", file: "proxy/resilience/accrual/accrual.go",
			search:  "	b.attempts, b.last = max(b.attempts-1, 0), b.before\n",
			replace: "",
			pkg:     "./proxy/balance", run: "^TestSpared",
		},
	}
}
