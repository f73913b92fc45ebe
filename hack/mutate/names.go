package main

// rulesMutations break what depends on documents alone.
func rulesMutations() []mutation {
	return []mutation{
		{
			name: "restart proxies when rules change", file: "controllers/desired/daemonset.go",
			search:  "				WithAnnotations(proxy.Annotations).\n",
			replace: "				WithAnnotations(proxy.Annotations).WithAnnotations(map[string]string{\"routers\": strconv.Itoa(len(m.Routers[0].Dtab))}).\n",
			pkg:     "./controllers/desired", run: "^TestTemplateDependsOnProxyAndPortsAlone$",
		},
		{
			name: "accept a Dtab of a namespace that is not allowed", file: "proxy/config/dtab.go",
			search:  "		if err := checkNamespace(m, d.Namespace, dentries); err != nil {\n",
			replace: "		if err := checkNamespace(m, d.Namespace, dentries); err != nil && false {\n",
			pkg:     "./proxy/config", run: "^TestAcceptDtab$",
		},
		{
			name: "let a Dtab of another namespace take precedence", file: "proxy/config/dtab.go",
			search:  "		out.Priority = min(out.Priority, 0)\n",
			replace: "",
			pkg:     "./proxy/config", run: "^TestPriorityOfAnotherNamespace$",
		},
		{
			name: "apply Dtabs in the order they come", file: "proxy/config/build.go",
			search:  "cmp.Or(cmp.Compare(a.Priority, b.Priority), ",
			replace: "cmp.Or(0*cmp.Compare(a.Priority, b.Priority), ",
			pkg:     "./proxy/config", run: "^TestBuildOrder$",
		},
		{
			name: "leave the generation out of the revision", file: "proxy/config/build.go",
			search:  "strconv.AppendInt(line, m.Generation, 10)",
			replace: "strconv.AppendInt(line, m.Generation*0, 10)",
			pkg:     "./proxy/config", run: "^TestRevision$",
		},
	}
}

// namerMutations break what names lead to.
func namerMutations() []mutation {
	return []mutation{
		{
			name: "ask name servers before the TTL ends", file: "proxy/naming/dns/question.go",
			search:  "	return min(max(ttl, MinTTL), most)\n",
			replace: "	return min(max(ttl/2, MinTTL), most)\n",
			pkg:     "./proxy/naming/dns", run: "^TestTTLIsObeyed$",
		},
		{
			name: "believe at once that a name is no more", file: "proxy/naming/dns/question.go",
			search:  "since < MissingGrace {",
			replace: "since < 0*MissingGrace {",
			pkg:     "./proxy/naming/dns", run: "^TestMissingNames$",
		},
		{
			name: "let a request name an address by rinet", file: "proxy/naming/utility/utility.go",
			search:  "Namer: n, Address: true",
			replace: "Namer: n, Address: !n.PortFirst",
			pkg:     "./proxy/naming/utility", run: "^TestRequestsMayNotNameAddresses$",
		},
		{
			name: "mark the first alternate, whether it exists or not", file: "proxy/naming/step.go",
			search:  "			if c.visited && !c.passed && c.out.verdict != neg {\n",
			replace: "			if c.visited && !c.passed {\n",
			pkg:     "./test/conformance", run: "^TestExplainedAsServed$",
		},
		{
			name: "call a way a circle that repeats nothing", file: "proxy/naming/loop.go",
			search:  "if len(way)-k-begin >= max(k, leastRepeats) {",
			replace: "if len(way)-k-begin >= 0 {",
			pkg:     "./proxy/naming", run: "^TestDepthErrorNamesTheRules$",
		},
		{
			name: "take a union of fails for one that decides", file: "proxy/dtab/lint/outcome.go",
			search:  "	if allMayGo && anyDrops {\n",
			replace: "	if allMayGo && anyDrops && out == 0 {\n",
			pkg:     "./proxy/dtab/lint", run: "^TestCheck$",
		},
		{
			name: "compare names with the rules they have", file: "proxy/app/compare.go",
			search:  "	other.Set(dtab.Compile(rules), by.mounts, 0, by.changes...)\n",
			replace: "	other.Set(dtab.Compile(rules[:1]), by.mounts, 0, by.changes...)\n",
			pkg:     "./proxy/app", run: "^TestNamesAndDiff$",
		},
		{
			name: "let a request name a service of DNS", file: "proxy/app/namers.go",
			search:  "Address: spec.Kind == v1alpha1.KindNamerDNSSRV",
			replace: "Address: spec.Kind == \"\"",
			pkg:     "./proxy/app", run: "^(TestRequestsMayNotNameServices|TestNamersOverReloads)$",
		},
		{
			name: "answer for a label that the slices were read without", file: "proxy/naming/k8s/lookup.go",
			search:  "v.label != \"\" && !slices.Contains(s.knownLabels, v.label)",
			replace: "v.label != \"\" && slices.Contains(s.knownLabels, \"\")",
			pkg:     "./proxy/naming/k8s", run: "^TestLabelSelector$",
		},
		{
			name: "hear of no change of a file", file: "proxy/naming/fs/watch.go",
			search:  "		if element == \"\" || element == matters {\n",
			replace: "		if element == \"\" && element == matters {\n",
			pkg:     "./proxy/naming/fs", run: "^TestChangesAreSeen$",
		},
	}
}

// sourceMutations break what files and name servers are trusted with.
func sourceMutations() []mutation {
	return []mutation{
		{
			name: "keep a watch that has ended", file: "proxy/naming/fs/watch.go",
			search:  "alive := w.ended == ended",
			replace: "alive := w.ended >= ended",
			pkg:     "./proxy/naming/fs", run: "^TestWatchesUnderChurn$",
		},
		{
			name: "tell of a bad file whenever it is read", file: "proxy/naming/fs/refusals.go",
			search:  "	if r.told[file] == now {\n",
			replace: "	if r.told == nil {\n",
			pkg:     "./proxy/naming/fs", run: "^TestBadFilesAreToldOf$",
		},
		{
			name: "believe half an answer", file: "proxy/naming/dns/system.go",
			search:  "		case missing && w.isOpen():\n",
			replace: "		case missing && ttl < 0:\n",
			pkg:     "./proxy/naming/dns", run: "^TestHalfAnAnswer$",
		},
		{
			name: "take what files say for discovered", file: "proxy/app/transformers.go",
			search:  "under(id, d.own) && !under(id, d.others)",
			replace: "under(id, d.own)",
			pkg:     "./proxy/app", run: "^TestNamersBelowDiscovery$",
		},
	}
}

// languageMutations break what rules mean.
func languageMutations() []mutation {
	return []mutation{
		{
			name: "read a comment as a part of a plain rule", file: "proxy/config/plain.go",
			search:  "		case c == ' ' && i < len(s)-1 && s[i+1] != '#':\n",
			replace: "		case c == ' ' && i < len(s)-1:\n",
			pkg:     "./proxy/config", run: "^TestReadPlain$",
		},
		{
			name: "read plain rules wherever their key stands", file: "proxy/config/plain.go",
			search:  "	if !exact || list.Line != ",
			replace: "	if !exact || list.Line > 1<<20 && list.Line != ",
			pkg:     "./proxy/config", run: "^TestReadPlain$",
		},
		{
			name: "find a rule in the part before its own", file: "proxy/dtab/trie.go",
			search:  "	k, _ := slices.BinarySearch(t.ends, i+1)",
			replace: "	k, _ := slices.BinarySearch(t.ends, max(i, 1))",
			pkg:     "./proxy/dtab", run: "^TestTableOfParts$",
		},
		{
			name: "take the same part twice for another", file: "proxy/dtab/table.go",
			search:  "ok && !has[at] {",
			replace: "ok {",
			pkg:     "./proxy/dtab", run: "^TestRecompile$",
		},
		{
			name: "lose which rule of its object a text is", file: "proxy/dtab/rules.go",
			search:  "Source{Object: r.object, Index: i}",
			replace: "Source{Object: r.object}",
			pkg:     "./proxy/dtab", run: "^TestTextRules$",
		},
		{
			name: "find rules that an edit took away", file: "proxy/dtab/table.go",
			search:  "part = l.parts[part]; part != none {",
			replace: "part = max(l.parts[part], 0); part != none {",
			pkg:     "./proxy/dtab", run: "^TestRecompile$",
		},
		{
			name: "let rules share elements", file: "proxy/dtab/slab.go",
			search:  "	out := s.free[:0:n]\n",
			replace: "	out := s.free[:0]\n",
			pkg:     "./proxy/dtab", run: "^TestParserSharesNoElement$",
		},
		{
			name: "look no wildcard up", file: "proxy/dtab/trie.go",
			search:  "		if n.any != none {\n",
			replace: "		if n.any != none && used < 0 {\n",
			pkg:     "./proxy/dtab", run: "^TestTableLookup$",
		},
		{
			name: "lose the last answer of a namer that fails", file: "proxy/naming/delegate.go",
			search:  "	case state == Failed && isUnset(tree):\n",
			replace: "	case state == Failed:\n",
			pkg:     "./test/conformance", run: "^TestServedAsByReferenceWhileNamersFlip$",
		},
		{
			name: "let an alternate without a name stop those after it", file: "proxy/naming/delegate.go",
			search:  "	return outcome{verdict: neg, tree: Neg()}\n}\n\n// union binds",
			replace: "	return outcome{verdict: fail, tree: Tree{Kind: dtab.Fail}}\n}\n\n// union binds",
			pkg:     "./test/conformance", run: "^TestDtabCases$",
		},
		{
			name: "keep rules of a file whose Mesh changed", file: "proxy/config/reader.go",
			search:  "if !ok || !sameMesh || taken[sum] {\n",
			replace: "if !ok || taken[sum] {\n",
			pkg:     "./proxy/config", run: "^TestReaderReadsAsDecodeConfig$",
		},
	}
}

// benchMutations break what makes a comparison fair.
func benchMutations() []mutation {
	return []mutation{
		{
			name: "count the latency of an open loop from when a request was sent", file: "hack/bench/open.go",
			search:  "		c.at = at\n",
			replace: "		c.at = sinceBoot()\n",
			pkg:     "./hack/bench", run: "^TestPaceCountsFromTheIntendedTime$",
		},
		{
			name: "take the answer of one hop for that of two", file: "hack/bench/rig.go",
			search:  "hops > 0 && passed != hops",
			replace: "hops > 0 && passed == 0",
			pkg:     "./hack/bench", run: "^TestGetCountsHops$",
		},
		{
			name: "compare with idle connections that are closed", file: "hack/bench/idle.go",
			search:  "out != holding+\"\\nclosed 0\"",
			replace: "out == holding",
			pkg:     "./hack/bench", run: "^TestReleaseWantsAllOpen$",
		},
	}
}
