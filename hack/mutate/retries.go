package main

// retryMutations break what is sent again.
func retryMutations() []mutation {
	const (
		wire    = "./proxy/protocol/http1"
		retries = "proxy/protocol/http1/retry.go"
	)
	return []mutation{
		{
			name: "retry what the client has seen a part of", file: retries,
			search:  "!x.whole || x.interims > 0",
			replace: "!x.whole",
			pkg:     wire, run: "^TestRetries$",
		},
		{
			name: "retry a body that was not kept", file: retries,
			search:  "!x.whole || x.interims > 0",
			replace: "x.interims > 0",
			pkg:     wire, run: "^TestRetries$",
		},
		{
			name: "believe what any application says of its response", file: retries,
			search:  "	if !x.policy.TrustsClassHeaders {\n		return class\n	}\n",
			replace: "",
			pkg:     wire, run: "^(TestRetries|TestSuccessClass)$",
		},
		{
			name: "retry at the endpoint that failed", file: retries,
			search:  "	x.tried = append(x.tried, x.node)\n	x.noted = true\n",
			replace: "	x.noted = true\n",
			pkg:     wire, run: "^TestRetryElsewhere$",
		},
		{
			name: "send the headers of the last target", file: retries,
			search:  "	copy(b[x.ownAt:], lines)\n",
			replace: "",
			pkg:     wire, run: "^TestRetryOfAnotherTarget$",
		},
		{
			name: "lose the deadline's place", file: retries,
			search:  "x.appendOwn(room[:0], x.ownAt)",
			replace: "x.appendOwn(room[:0], 0)",
			pkg:     wire, run: "^(TestRetryOfAnotherTarget|TestDeadlineOfARetry)$",
		},
	}
}

// timeMutations break the time that a request may take, and what it may cost.
func timeMutations() []mutation {
	const wire = "./proxy/protocol/http1"
	return []mutation{
		{
			name: "say that nothing was written after a retry", file: "proxy/protocol/http1/refuse.go",
			search:  "x.o.Retries > 0 || x.requeued > 0 || x.o.HopResends > 0",
			replace: "x.requeued > 0 || x.o.HopResends > 0",
			pkg:     wire, run: "^TestWhatWasTried$",
		},
		{
			name: "wait for a slow body beyond the total timeout", file: "proxy/protocol/http1/upload.go",
			search:  "x.wall.at > 0 && x.wall.at < want && !x.bodyStarted",
			replace: "x.wall.at > 0 && x.wall.at < want && x.bodyStarted",
			pkg:     wire, run: "^TestNothingOutlivesTheTotalTimeout$",
		},
		{
			name: "wait for a connect beyond the total timeout", file: "proxy/protocol/http1/exchange.go",
			search:  "time.Duration(x.left(transport.Now()))",
			replace: "0",
			pkg:     wire, run: "^TestNothingOutlivesTheTotalTimeout$",
		},
		{
			name: "believe a clock that is ahead", file: "proxy/protocol/http1/deadline.go",
			search:  "min(u-epoch, u-w)",
			replace: "u - epoch",
			pkg:     wire, run: "^TestDeadlineIsKept$",
		},
		{
			name: "tell the endpoint a later deadline", file: "proxy/protocol/http1/deadline.go",
			search:  "epoch+at-now < until",
			replace: "epoch+at-now > until",
			pkg:     wire, run: "^TestDeadlineIsForwarded$",
		},
		{
			name: "spend more than the budget", file: "proxy/resilience/retry/budget.go",
			search:  "	b.sums[b.period.Load()%periods].Add(-b.cost)\n",
			replace: "",
			pkg:     "./proxy/resilience/retry", run: "^TestBudget",
		},
		{
			name: "never forget a request", file: "proxy/resilience/retry/budget.go",
			search:  "		b.sums[i%periods].Store(0)\n",
			replace: "		_ = b.sums[i%periods].Load()\n",
			pkg:     "./proxy/resilience/retry", run: "^(TestRequestsAreForgotten|TestAgainstAModel)$",
		},
	}
}

// budgetMutations break what retries may cost.
func budgetMutations() []mutation {
	return []mutation{
		{
			name: "retry behind a proxy that retries", file: "proxy/route/retry.go",
			search:  "	if r.IsLocal() && p.Classifier != classify.AllSuccessful {\n		p.Classifier = classify.NonRetryable5XX\n	}\n",
			replace: "",
			pkg:     "./proxy/route", run: "^TestOneRetriesOfTwo$",
		},
		{
			name: "retry without a budget", file: "proxy/route/retry.go",
			search:  "	if !s.budget.withdraw(shard, nowNs) {\n		return nil, 0\n	}\n",
			replace: "",
			pkg:     "./proxy/route", run: "^(TestTotalFailure|TestRetriesFollowTheConfiguration)$",
		},
		{
			name: "pay for a retry that there is no time for", file: "proxy/route/retry.go",
			search:  "	if a.Left > 0 && wait >= a.Left {\n",
			replace: "	if a.Left < 0 {\n",
			pkg:     "./proxy/route", run: "^TestRetryWithoutTime$",
		},
		{
			name: "drop a client that ended its side at once", file: "proxy/protocol/http1/retry.go",
			search:  "left > int64(clientCheck) && x.c.tc.Gone()",
			replace: "x.c.tc.Gone()",
			pkg:     "./proxy/protocol/http1", run: "^TestHalfClosedPause$",
		},
		{
			name: "feed requeues with failures", file: "proxy/route/retry.go",
			search:  "	if r.Class == classify.Success {\n",
			replace: "	if r.Class != classify.Ignored {\n",
			pkg:     "./proxy/route", run: "^TestRequeues$",
		},
		{
			name: "wait for a name longer than the request may take", file: "proxy/route/name.go",
			search:  "total > 0 && total < timeout",
			replace: "total > timeout",
			pkg:     "./proxy/route", run: "^TestBindingEndsWithTheRequest$",
		},
	}
}
