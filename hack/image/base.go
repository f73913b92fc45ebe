package main

// The environment and the work folder are the base's too.
const (
	basePath       = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	baseWorkingDir = "/home/nonroot"
)

// baseDirectories and baseFiles stand in for the base image: what a static binary may look for. As there, root owns everything
// and /tmp is everybody's.
func baseDirectories() []entry {
	return []entry{
		{path: "etc/", mode: 0o755},
		{path: "home/nonroot/", mode: 0o755},
		{path: "tmp/", mode: 0o1777},
	}
}

func baseFiles() []entry {
	return []entry{
		{path: "etc/passwd", mode: 0o644, content: []byte(
			"root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n" +
				"nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")},
		{path: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n")},
		// Without it a resolver may ask DNS before /etc/hosts.
		{path: "etc/nsswitch.conf", mode: 0o644, content: []byte("hosts: files dns\n")},
	}
}
