package main

import "slices"

// mutations are the ways to break the code. Each stands for a promise; the tests named must fail when it is broken. The texts are
// whole statements where they can be, so that they move with the code.
func mutations() []mutation {
	return slices.Concat(requestMutations(), wireMutations(), overloadMutations(), balanceMutations(), policyMutations(), circuitMutations(), retryMutations(), timeMutations(), budgetMutations(), endpointMutations(), failoverMutations(), hopMutations(), watchMutations(), stateMutations(),
		operatorMutations(), rulesMutations(), namerMutations(), sourceMutations(), edgeMutations(), languageMutations(), benchMutations(), upgradeMutations(), headMutations())
}

// watchMutations break the way from the API server to the endpoints.
func watchMutations() []mutation {
	return []mutation{
		{
			name: "wait for ever for the answer to a watch", file: "proxy/naming/k8s/reflector/reflector.go",
			search:  "	timer := time.AfterFunc(limit, func()",
			replace: "	timer := time.AfterFunc(1000*limit, func()",
			pkg:     "./proxy/naming/k8s/reflector", run: "^TestSilenceIsABreakAfter150s$",
		},
		{
			name: "leave the servers of a test that is killed behind", file: "test/testkit/apiserver/apiserver.go",
			search:  "--pdeathsig KILL --",
			replace: "--pdeathsig clear --",
			pkg:     "./test/testkit/apiserver", run: "^TestEndsWithItsParent$",
		},
		{
			name: "believe an empty list without a version", file: "proxy/naming/k8s/reflector/reflector.go",
			search:  "v == \"\" || v == \"0\"",
			replace: "v == \"-\"",
			pkg:     "./proxy/naming/k8s/reflector", run: "^TestListWithoutVersionIsRefused$",
		},
		{
			name: "strip the conditions of endpoints", file: "proxy/naming/k8s/client.go",
			search:  "strip.Fields{1: {}, 2: {}, 6: {}, 7: {}}",
			replace: "strip.Fields{1: {}, 6: {}, 7: {}}",
			pkg:     "./proxy/naming/k8s", run: "^(TestDecodesWhatIsRead|TestAgainstModel)$",
		},
	}
}

// wireMutations break what is read from and written to the wire.
func wireMutations() []mutation {
	return []mutation{
		{
			name: "ask the decoder of a malformed body again", file: "proxy/protocol/http1/chunk.go",
			search:  "	if d.failed != nil {\n",
			replace: "	if d.failed != nil && d.kind == framingNone {\n",
			pkg:     "./test/conformance", run: "^TestWireCases$/^(chunks|trailers)_refused",
		},
		{
			name: "use a connection to an endpoint again that has more to say", file: "proxy/protocol/http1/relay.go",
			search:  "			if reusable && !x.bodyRunning && (x.whole || x.bodyOK) && x.up.r == x.up.w {\n",
			replace: "			if reusable && !x.bodyRunning && (x.whole || x.bodyOK) {\n",
			pkg:     "./test/conformance", run: "^TestWireCases$/^response",
		},
		{
			name: "let clients have every descriptor", file: "proxy/transport/door.go",
			search:  "	if isForClients(fd, limit) || inTurn {\n",
			replace: "	if raw != nil || isForClients(fd, limit) || inTurn {\n",
			pkg:     "./proxy/transport", run: "^TestDescriptorsAreKeptBack$",
		},
		{
			name: "refuse clients where idle connections could make room", file: "proxy/transport/listen.go",
			search:  "		if door.isNear {\n",
			replace: "		if door.isNear && door.isShut {\n",
			pkg:     "./proxy/transport", run: "^TestClientsWaitForRoom$",
		},
		{
			name: "keep connections for which others are in line", file: "proxy/transport/pool.go",
			search:  "; descriptors.waiting.Load() > 0 {\n",
			replace: "; descriptors.waiting.Load() > 1<<20 {\n",
			pkg:     "./proxy/transport", run: "^TestLineForDescriptors$",
		},
		{
			name: "try other endpoints where descriptors are short", file: "proxy/protocol/http1/hop.go",
			search:  " || f.Reason == ReasonDescriptors\n",
			replace: "\n",
			pkg:     "./proxy/protocol/http1", run: "^TestTooFewDescriptors$",
		},
		{
			name: "trust a new connection to be silent", file: "proxy/transport/ask.go",
			search:  "	return a.n < len(a.p) || !c.reused && c.readable(fd)\n",
			replace: "	return a.n < len(a.p)\n",
			pkg:     "./proxy/transport", run: "^TestAskOfAPeerThatSpokeFirst$",
		},
		{
			name: "trust an idle connection to an endpoint", file: "proxy/transport/ask.go",
			search:  "	if c.reused {\n",
			replace: "	if c.reused && c.shard > 1<<20 {\n",
			pkg:     "./proxy/transport", run: "^TestAskSpokenOn$",
		},
		{
			name: "trust an idle connection with a body that is streamed", file: "proxy/protocol/http1/exchange.go",
			search:  "	if x.up.c.Reused() && !x.up.c.Quiet() {\n",
			replace: "	if x.up.c.Reused() && x.held && !x.up.c.Quiet() {\n",
			pkg:     "./proxy/protocol/http1", run: "^TestSpokenOn$",
		},
		{
			name: "forget the wait after the write", file: "proxy/transport/ask.go",
			search:  "	if a.done {\n",
			replace: "	if a.done && c.shard > 1<<20 {\n",
			pkg:     "./proxy/transport", run: "^TestAskWaits$",
		},
		{
			name: "let an HTTP/1.0 request be in chunks", file: "proxy/protocol/http1/request.go",
			search:  "	case r.tes > 0 && r.minor == 0:\n",
			replace: "	case r.tes > 1 && r.minor == 0:\n",
			pkg:     "./test/conformance", run: "^TestWireCases$/^smuggling",
		},
	}
}

// requestMutations break the way of a request.
func requestMutations() []mutation {
	return []mutation{
		{
			name: "let a trailer behind a long body be named as the proxy's header", file: "proxy/protocol/http1/relay.go",
			search:  ", mark: x.sent.mark}",
			replace: "}",
			pkg:     "./proxy/protocol/http1", run: "^TestNoTrailerIsAMark$",
		},
		{
			name: "skip the swap: an edit is applied and not served", file: "proxy/app/app.go",
			search:  "		routers[rc.Name].set(rc, mounts, changes[i])\n",
			replace: "		if gone[rc.Name] == nil {\n			routers[rc.Name].set(rc, mounts, changes[i])\n		}\n",
			pkg:     "./proxy/app", run: "^TestEditsUnderTraffic$",
		},
		{
			name: "ignore deletions of slices", file: "proxy/naming/k8s/sink.go",
			search:  "	s.refresh(s.table.deleteSlice(key)...)\n",
			replace: "	s.refresh(key)\n",
			pkg:     "./proxy/naming/k8s", run: "^(TestChangesAreLive|TestAgainstModel)$",
		},
		{
			name: "send requests to endpoints that are not ready", file: "proxy/naming/k8s/resolve.go",
			search:  "a.Ready || !anyReady && a.lastResort()",
			replace: "true || anyReady && a.lastResort()",
			pkg:     "./proxy/naming/k8s", run: "^(TestLookup|TestAgainstModel)$",
		},
		{
			name: "pass hop-by-hop headers on", file: "proxy/protocol/http1/request.go",
			search:  "1<<kConnection | 1<<kTE | 1<<kHop",
			replace: "1<<kConnection | 1<<kTE",
			pkg:     "./proxy/protocol/http1", run: "^TestWire$",
		},
		{
			name: "fail without l5d-err", file: "proxy/protocol/http1/refuse.go",
			search:  "\\r\\nl5d-err: ",
			replace: "\\r\\nx-err: ",
			pkg:     "./proxy/protocol/http1", run: "^(TestRefusedRequests|TestRouterFailure)$",
		},
		{
			name: "ignore the weights of a union", file: "proxy/route/name.go",
			search:  "rand.Float64() * d.cumulative[len(d.cumulative)-1]",
			replace: "0 * rand.Float64() * d.cumulative[len(d.cumulative)-1]",
			pkg:     "./proxy/route", run: "^TestChooseByWeight$",
		},
		{
			name: "cut a name that is longer than the pattern", file: "proxy/naming/rewrite/rewrite.go",
			search:  "n.exact && len(p) > len(n.pattern)",
			replace: "n.exact && len(p) > len(n.pattern)+100",
			pkg:     "./proxy/naming/rewrite", run: ".",
		},
		{
			name: "be a way into the own node", file: "proxy/app/policy.go",
			search:  "		case refused[a]:\n",
			replace: "		case refused[a] && false:\n",
			pkg:     "./proxy/app", run: "^TestClusterPolicy$",
		},
		{
			name: "let a name lead to an IPv4 address in IPv6 clothes", file: "proxy/app/policy.go",
			search:  "to.Addr().Unmap().WithZone(\"\")",
			replace: "to.Addr().WithZone(\"\")",
			pkg:     "./proxy/app", run: "^TestClusterPolicy$",
		},
	}
}

// overloadMutations break what happens when there is no room.
func overloadMutations() []mutation {
	return []mutation{
		{
			name: "take one request more than an endpoint may have", file: "proxy/balance/node.go",
			search:  "most == 0 || now <= most {",
			replace: "most == 0 || now <= most+1 {",
			pkg:     "./proxy/balance", run: "^TestPickKeepsTheLimit$",
		},
		{
			name: "let another proxy's choice have more than an endpoint may have", file: "proxy/route/chosen.go",
			search:  "		if !node.Start(nowNs, l.most) {\n",
			replace: "		if !node.Start(nowNs, 0) {\n",
			pkg:     "./proxy/route", run: "^TestChosenEndpointIsBusy$",
		},
		{
			name: "wait for a slow body for ever", file: "proxy/protocol/http1/upload.go",
			search:  " - float64(x.bodyWaited)",
			replace: " - 0*float64(x.bodyWaited)",
			pkg:     "./proxy/protocol/http1", run: "^TestBodyPatience$",
		},
		{
			name: "take one request more than allowed", file: "proxy/protocol/http1/admission.go",
			search:  "	if a.pending.Add(1) <= limit {",
			replace: "	if a.pending.Add(1) <= limit+1 {",
			pkg:     "./proxy/protocol/http1", run: "^TestMaxRequests$",
		},
		{
			name: "never let a request go that was counted", file: "proxy/protocol/http1/admission.go",
			search:  "			a.leave()\n",
			replace: "",
			pkg:     "./proxy/protocol/http1", run: "^TestMaxRequests$",
		},
		{
			name: "send a stream again that was refused", file: "proxy/protocol/http1/hop.go",
			search:  "return x.word.unsent && x.whole && x.interims == 0 }",
			replace: "return x.word.unsent && x.interims == 0 }",
			pkg:     "./proxy/protocol/http1", run: "^TestNack$",
		},
		{
			name: "close the connection of an endpoint without room", file: "proxy/protocol/http1/admission.go",
			search:  "		x.keepUpstream()\n",
			replace: "",
			pkg:     "./proxy/protocol/http1", run: "^TestNack$",
		},
		{
			name: "believe who a client says it is", file: "proxy/protocol/http1/marks.go",
			search:  "			m.XForwarded == XForwardedReplace && (",
			replace: "			m.XForwarded == 99 && (",
			pkg:     "./proxy/protocol/http1", run: "^TestMarks$",
		},
		{
			name: "ignore an edit of maxConcurrentRequests", file: "proxy/app/listener.go",
			search:  "	l.server.SetMaxRequests(s.MaxConcurrentRequests)\n	l.server.SetAdmission(&r.admission)\n	l.server.SetMarks(marks(r.name, &s.Marks))\n	l.server.SetRouter(r)\n",
			replace: "	l.server.SetAdmission(&r.admission)\n	l.server.SetMarks(marks(r.name, &s.Marks))\n	l.server.SetRouter(r)\n",
			pkg:     "./proxy/app", run: "^TestMaxConcurrentRequests$",
		},
		{
			name: "never give back the place of a request", file: "proxy/protocol/http1/admission.go",
			search:  "			x.counted[i] = a\n",
			replace: "			_ = x.counted[i]\n",
			pkg:     "./proxy/protocol/http1", run: "^TestSharedAdmission$",
		},
	}
}

// hopMutations break the way from node to node.
func hopMutations() []mutation {
	return []mutation{
		{
			name: "read the endpoint that was chosen after the body came", file: "proxy/protocol/http1/request.go",
			search:  "	if !r.endpointKept {\n",
			replace: "	if r.endpointLen >= 0 {\n",
			pkg:     "./proxy/app", run: "^TestChoiceBeforeALateBody$",
		},
		{
			name: "offer h2c beside another upgrade", file: "proxy/protocol/http1/request.go",
			search:  "			may = may && !hasH2C(r.val(i)) // any line of several\n			r.upgrade = may\n",
			replace: "			r.upgrade = may && !hasH2C(r.val(i))\n",
			pkg:     "./test/conformance", run: "^TestWireCases$",
		},
		{
			name: "trust a name that a request says another proxy chose", file: "proxy/route/route.go",
			search:  "		bind = r.interpreter.BindOwn // its path came in a header that anybody can forge\n",
			replace: "		bind = r.interpreter.Bind\n",
			pkg:     "./proxy/app", run: "^TestForgedServiceIsNoAddress$",
		},
		{
			name: "count a hop that is not there against the endpoint", file: "proxy/protocol/http1/hop.go",
			search:  "			x.o.HopFailures++\n			return nil, false\n",
			replace: "			x.o.HopFailures++\n			return fail, true\n",
			pkg:     "./proxy/app", run: "^TestNoHop$",
		},
		{
			name: "send a request again that its hop may have passed on", file: "proxy/protocol/http1/hop.go",
			search:  "(x.wrote == 0 || x.replayable())",
			replace: "(x.wrote == 0 || x.whole)",
			pkg:     "./proxy/protocol/http1", run: "^TestHop$",
		},
		{
			name: "believe an application that nothing was written to it", file: "proxy/protocol/http1/hop.go",
			search:  "x.resp.status < 400 || x.resp.vias > 0 ||",
			replace: "x.resp.status < 400 ||",
			pkg:     "./proxy/app", run: "^TestHopCannotConnect$",
		},
		{
			name: "go wherever l5d-dst-endpoint says on any node", file: "proxy/route/chosen.go",
			search:  "node != nil && node.Endpoint.Node == r.options.Node && node.Endpoint.Serving",
			replace: "node != nil && node.Endpoint.Serving",
			pkg:     "./proxy/app", run: "^TestChoicesThatAreNotFollowed$",
		},
		{
			name: "follow a choice to an address", file: "proxy/app/hops.go",
			search:  "	if !r.discoveries.Load().has(to) {\n",
			replace: "	if len(to) == 0 {\n",
			pkg:     "./proxy/app", run: "^TestChoicesThatAreNotFollowed$",
		},
		{
			name: "make a new hop at each change of the endpoints", file: "proxy/naming/transformer/daemonset.go",
			search:  "	if hop := d.hops[node].Value(); hop != nil {\n",
			replace: "	if hop := d.hops[node].Value(); hop != nil && false {\n",
			pkg:     "./proxy/naming/transformer", run: "^TestDaemonSet$",
		},
	}
}

// stateMutations break what a proxy keeps and tells of what it serves.
func stateMutations() []mutation {
	return []mutation{
		{
			name: "lose who is being accepted as the admin server ends", file: "proxy/admin/server.go",
			search:  "	<-s.served             // one that is being accepted counts as open from here on\n",
			replace: "",
			pkg:     "./proxy/admin", run: "^TestShutdownLosesNoneItAccepts$",
		},
		{
			name: "report the wanted in place of the served revision", file: "proxy/control/cluster.go",
			search:  "	if err := c.opts.Apply(ctx, cfg); err != nil {\n",
			replace: "	c.confirm(cfg, current)\n	if err := c.opts.Apply(ctx, cfg); err != nil {\n",
			pkg:     "./proxy/control", run: "^TestReportsWhatIsServedNotWhatIsWanted$",
		},
		{
			name: "remember a Dtab as good before it is validated", file: "proxy/control/acceptance.go",
			search:  "	accepted, err := config.AcceptDtab(m, d)\n",
			replace: "	a.dtabs[d.UID] = d\n	accepted, err := config.AcceptDtab(m, d)\n",
			pkg:     "./proxy/control", run: "^TestAcceptance$",
		},
		{
			name: "write what is not validated into the snapshot's memory of a Mesh", file: "proxy/control/acceptance.go",
			search:  "	m, err := config.AcceptMesh(mesh, a.env)\n	if err == nil {\n",
			replace: "	a.meshes[mesh.UID] = mesh\n	m, err := config.AcceptMesh(mesh, a.env)\n	if err == nil {\n",
			pkg:     "./proxy/control", run: "^(TestAcceptance|TestLastGoodGenerationIsServed)$",
		},
		{
			name: "believe a broken snapshot", file: "proxy/control/snapshot.go",
			search:  "hex.EncodeToString(sum[:]) != want {",
			replace: "hex.EncodeToString(sum[:]) != want && false {",
			pkg:     "./proxy/control", run: "^TestBrokenSnapshotIsRefused$",
		},
		{
			name: "serve the snapshot of another Mesh", file: "proxy/control/disk.go",
			search:  "c.opts.MeshUID != \"\" && snap.MeshUID != c.opts.MeshUID",
			replace: "c.opts.MeshUID != \"\" && snap.MeshUID == \"\"",
			pkg:     "./proxy/control", run: "^TestNothingOnDiskAndNoAPI$",
		},
	}
}

// operatorMutations break what the operator keeps and concludes.
func operatorMutations() []mutation {
	return []mutation{
		{
			name: "leave the children of a deleted Mesh to the garbage collector", file: "controllers/mesh_controller.go",
			search:  "	again, err := r.removeChildren(ctx, mesh)\n",
			replace: "	again, err := false, error(nil)\n",
			pkg:     "./controllers", run: "^TestMeshGetsChildrenThatGoWithIt$",
		},
		{
			name: "delete children that were orphaned", file: "controllers/mesh_remove.go",
			search:  "	if owner == nil || owner.Kind != \"Mesh\" || owner.Name != mesh.Name || child.GetDeletionTimestamp() != nil {\n		return nil\n	}\n",
			replace: "	if owner == nil {\n		owner = &metav1.OwnerReference{}\n	}\n",
			pkg:     "./controllers", run: "^TestOrphanedChildrenStay$",
		},
		{
			name: "keep a refused Dtab in the ConfigMap", file: "controllers/mesh_decide.go",
			search:  "	d.current, d.refusal = config.AcceptDtab(s.accepted, object)\n",
			replace: "	d.document = object\n	d.current, d.refusal = config.AcceptDtab(s.accepted, object)\n",
			pkg:     "./controllers", run: "^TestRefusedDtabKeepsItsLastGoodRules$",
		},
		{
			name: "let an old generation overwrite a newer one in the ConfigMap", file: "controllers/mesh_decide.go",
			search:  "d.document != nil && object.Generation < d.document.Generation",
			replace: "d.document != nil && object.Generation < 0",
			pkg:     "./controllers", run: "^TestOlderNeverReplacesNewer$",
		},
		{
			name: "take the younger Mesh where two want one port", file: "controllers/mesh_decide.go",
			search:  "other.UID == mesh.UID || !older(other, mesh)",
			replace: "other.UID == mesh.UID || older(other, mesh)",
			pkg:     "./controllers", run: "^TestPortConflict$",
		},
		{
			name: "count proxies that are about to end", file: "controllers/mesh_record.go",
			search:  "ref.UID != daemonSet || pod.DeletionTimestamp != nil ||",
			replace: "ref.UID != daemonSet ||",
			pkg:     "./controllers", run: "^TestPodsThatCount$",
		},
		{
			name: "believe the report of a frozen proxy", file: "controllers/rollup/rollup.go",
			search:  "	case !pod.Ready:\n		return whyNotReady\n",
			replace: "",
			pkg:     "./controllers/rollup", run: "^TestMeshProgrammed$",
		},
		{
			name: "believe the report of an earlier Pod of the name", file: "controllers/rollup/rollup.go",
			search:  "string(ref.UID) == pod.UID",
			replace: "string(ref.UID) != \"\"",
			pkg:     "./controllers/rollup", run: "^TestMeshProgrammed$",
		},
		{
			name: "call a Mesh programmed whatever rules are served", file: "controllers/rollup/mesh.go",
			search:  "		case p.status.DtabRevision != in.Revision:\n",
			replace: "		case p.status.DtabRevision == \"\":\n",
			pkg:     "./controllers/rollup", run: "^TestMeshProgrammed$",
		},
		{
			name: "call a Dtab programmed by an older generation", file: "controllers/rollup/dtab.go",
			search:  "	for revision, proxies := range f.byRevision {\n		if revisions.Holds(revision, in.UID, in.Accepted) {\n",
			replace: "	for revision, proxies := range f.byRevision {\n		if revisions.Known(revision) {\n",
			pkg:     "./controllers/rollup", run: "^TestDtabProgrammedPerMember$",
		},
		{
			name: "add available endpoints up over proxies", file: "controllers/rollup/dtab.go",
			search:  "min(t.available, d.Available)",
			replace: "max(t.available%math.MaxInt32, d.Available)",
			pkg:     "./controllers/rollup", run: "^TestDtabNumbers$",
		},
	}
}

// edgeMutations break what a request may say about its own way.
func edgeMutations() []mutation {
	return []mutation{
		{
			name: "show strangers the bodies of errors", file: "proxy/protocol/http1/exchange.go",
			search:  "x.resp.bodiless = x.resp.clearContext()",
			replace: "_ = x.resp.clearContext()",
			pkg:     "./proxy/protocol/http1", run: "^TestClearContextOfResponses$",
		},
		{
			name: "wait for the body that a stranger does not get", file: "proxy/protocol/http1/relay.go",
			search:  "reusable = x.skipResponse() && reusable",
			replace: "reusable = x.skipResponse() || reusable",
			pkg:     "./proxy/protocol/http1", run: "^TestClearContextOfResponses$",
		},
		{
			name: "let every request name addresses", file: "proxy/app/router.go",
			search:  "if rc.AllowAddressOverrides {",
			replace: "if true || rc.AllowAddressOverrides {",
			pkg:     "./proxy/app", run: "^(TestOverridesOfARequest|TestAddressOverridesMayBeAllowed)$",
		},
		{
			name: "send on what was consumed", file: "proxy/app/router.go",
			search:  "if match.Consume > 0 {",
			replace: "if match.Consume < 0 {",
			pkg:     "./proxy/app", run: "^TestIdentifiers$",
		},
		{
			name: "leave waiting who lost the place of its name", file: "proxy/route/name.go",
			search:  "	if d.pending || d.unready() {\n		// It made",
			replace: "	if d.pending && d.unready() {\n		// It made",
			pkg:     "./proxy/app", run: "^TestManyNamesWithOverrides$",
		},
	}
}
