# Requests of Python's http.client over one kept connection: python3 client.py HOST PORT NAME.
import hashlib
import http.client
import sys

host, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
connection = http.client.HTTPConnection(host, port, timeout=20)
socket = None


def ask(method, path, body=None, **more):
    sent = b"".join(body) if isinstance(body, list) else body or b""
    connection.request(method, path, body=iter(body) if isinstance(body, list) else body, headers={"Host": name}, **more)
    response = connection.getresponse()
    got = response.read().decode()
    want = "" if method == "HEAD" else f"{method} {path} {hashlib.sha256(sent).hexdigest()}"
    if response.status != 200 or got != want:
        sys.exit(f"{method} {path}: {response.status} {got!r}, want {want!r}")
    global socket
    if socket is not None and connection.sock is not socket:
        sys.exit(f"{method} {path}: the connection was not kept")
    socket = connection.sock


for i in range(50):
    ask("GET", f"/{i}?a=b")
    ask("HEAD", f"/{i}")
    ask("POST", f"/{i}", b"x" * (i * 1000))
    ask("PUT", f"/{i}", [b"a" * 1000, b"b", b"c" * 70000], encode_chunked=True)
    ask("DELETE", f"/{i}")
