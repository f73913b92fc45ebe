package main

// upgradeMutations break the replacement of one process by another.
func upgradeMutations() []mutation {
	return []mutation{
		{
			name: "hand no socket over", file: "proxy/handover/start.go",
			search:  "			sockets[addr] = len(files)\n",
			replace: "			_ = addr\n",
			pkg:     "./cmd/proxy", run: "^TestUpgradesUnderTraffic$",
		},
		{
			name: "make the sockets block for both processes", file: "proxy/handover/start.go",
			search:  "	return fd, errors.Join(controlErr, err)\n",
			replace: "	return fd, errors.Join(controlErr, err, unix.SetNonblock(fd, false))\n",
			pkg:     "./proxy/handover", run: "^TestStart$",
		},
		{
			name: "leave a new process that fails running", file: "proxy/handover/start.go",
			search:  "errors.Join(err, o.end(process, ended)))",
			replace: "err)",
			pkg:     "./proxy/handover", run: "^TestStartFails$/^hangs$",
		},
		{
			name: "keep the descriptors that were made for the new process", file: "proxy/handover/start.go",
			search:  "		_ = unix.Close(int(fd)) // the process has its own\n",
			replace: "		_ = fd\n",
			pkg:     "./proxy/handover", run: "^TestStartFails$",
		},
		{
			name: "keep sockets whose addresses are gone", file: "proxy/handover/handover.go",
			search:  "		_ = l.Close() // it was not used\n",
			replace: "		_ = l\n",
			pkg:     "./cmd/proxy", run: "^TestUpgradeWithAnotherConfiguration$",
		},
		{
			name: "let two upgrades be under way", file: "proxy/app/upgrade.go",
			search:  "	case underWay:\n		return \"an upgrade is under way\"\n",
			replace: "",
			pkg:     "./cmd/proxy", run: "^TestUpgradeUnderWay$",
		},
		{
			name: "apply no configuration after an upgrade that failed", file: "proxy/app/upgrade.go",
			search:  "		u.proxy.release()\n",
			replace: "",
			pkg:     "./cmd/proxy", run: "^TestUpgradeFails$",
		},
		{
			name: "tell the service manager of no new process", file: "proxy/app/upgrade.go",
			search:  "handover.Notify(\"MAINPID=\" + strconv.Itoa(pid))",
			replace: "handover.Notify(\"STATUS=\" + strconv.Itoa(pid))",
			pkg:     "./cmd/proxy", run: "^TestServiceManagerIsTold$",
		},
	}
}
