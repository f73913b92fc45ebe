package http1

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// script is an endpoint that answers its requests one after the other, on whatever connection, and keeps what it got. The answer "" closes
// the connection, "-" never comes.
type script struct {
	*endpoint
	mu      sync.Mutex
	answers []string
	got     []string
}

func newScript(t *testing.T, answers ...string) *script {
	s := &script{answers: answers}
	s.endpoint = newEndpoint(t, func(_ int, c *client) {
		for {
			h, whole := c.tryHead()
			if !whole {
				return
			}
			body := readBody(c, h)
			s.mu.Lock()
			s.got = append(s.got, h+body)
			answer := s.answers[0]
			if len(s.answers) > 1 {
				s.answers = s.answers[1:]
			}
			s.mu.Unlock()
			switch answer {
			case "":
				return
			case "-":
				_, _ = io.Copy(io.Discard, c.r)
				return
			}
			c.reply(answer)
		}
	})
	return s
}

func readBody(c *client, head string) string {
	if strings.Contains(head, "Transfer-Encoding: chunked") {
		var b strings.Builder
		for !strings.HasSuffix(b.String(), "0\r\n\r\n") {
			l, err := c.r.ReadString('\n')
			b.WriteString(l)
			if err != nil {
				break
			}
		}
		return b.String()
	}
	_, n, ok := strings.Cut(head, "Content-Length: ")
	if !ok {
		return ""
	}
	n, _, _ = strings.Cut(n, "\r\n")
	size, _ := strconv.Atoi(n)
	b := make([]byte, size)
	m, _ := io.ReadFull(c.r, b)
	return string(b[:m])
}

func (s *script) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

func answer(status string, lines ...string) string {
	return "HTTP/1.1 " + status + "\r\n" + strings.Join(append(lines, "Content-Length: 2", "", "no"), "\r\n")
}

// always lets n retries happen, to the same target.
func (t *target) always(n int) {
	t.retry = func(a *resilience.Attempt) (Target, time.Duration) {
		if a.Retries >= n {
			return nil, 0
		}
		return t, 0
	}
}

func upload(size int) string {
	return "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("abcdefgh", size/8)
}

// TestRetries: what failed is sent again, exactly as it was, where the classifier or a header that is believed says so, and its body was kept.
func TestRetries(t *testing.T) {
	t.Parallel()
	const chunked = "PUT /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
	no := answer("500 No")
	for name, tc := range map[string]struct {
		kind    classify.Kind
		trusts  bool
		send    string
		first   string
		retried bool
		status  string // without a retry
		timeout time.Duration
	}{
		"get":                        {kind: classify.RetryableRead5XX, send: get, first: no, retried: true},
		"get that nobody repeats":    {send: get, first: no, status: "500"},
		"put":                        {kind: classify.RetryableIdempotent5XX, send: chunked, first: no, retried: true},
		"put where gets are":         {kind: classify.RetryableRead5XX, send: chunked, first: no, status: "500"},
		"post":                       {kind: classify.RetryableAll5XX, send: postX, first: no, retried: true},
		"post that is kept":          {kind: classify.RetryableAll5XX, send: upload(64 << 10), first: no, retried: true},
		"post that is too long":      {kind: classify.RetryableAll5XX, send: upload(64<<10 + 8), first: no, status: "500"},
		"an endpoint that closes":    {kind: classify.RetryableRead5XX, send: get, first: "", retried: true},
		"an endpoint that is silent": {kind: classify.RetryableRead5XX, send: get, first: "-", retried: true, timeout: 50 * time.Millisecond},
		"what is no response":        {kind: classify.RetryableRead5XX, send: get, first: "HTTP/2.0 200 OK\r\n\r\n", retried: true},
		"a redirect":                 {kind: classify.RetryableAll5XX, send: get, first: answer("302 Found"), status: "302"},
		"all is well":                {kind: classify.AllSuccessful, send: get, first: no, status: "500"},
		"after 103":                  {kind: classify.RetryableRead5XX, send: get, first: "HTTP/1.1 103 Early Hints\r\n\r\n" + no, status: "103"},
		"retryable, believed":        {trusts: true, send: upload(60000), first: answer("503 No", "l5d-retryable: true"), retried: true},
		"retryable, not believed":    {send: postX, first: answer("503 No", "l5d-retryable: true"), status: "503"},
		"retryable success":          {trusts: true, send: get, first: answer("404 No", "l5d-retryable: true"), status: "404"},
		"failure, believed":          {trusts: true, kind: classify.RetryableRead5XX, send: get, first: answer("200 Yes", "l5d-success-class: 0.0"), retried: true},
		"failure, not believed":      {kind: classify.RetryableRead5XX, send: get, first: answer("200 Yes", "l5d-success-class: 0.0"), status: "200"},
		"success, believed":          {trusts: true, kind: classify.RetryableRead5XX, send: get, first: answer("500 No", "l5d-success-class: 0.7"), status: "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newScript(t, tc.first, ok)
			r := newRig(t, rigOptions{}, e.addr)
			r.target.policy = resilience.Policy{
				Classifier: tc.kind, TrustsClassHeaders: tc.trusts, Timeouts: resilience.Timeouts{Attempt: tc.timeout},
			}
			r.target.always(3)
			c := r.dial()
			c.send(tc.send)
			want, retries := "HTTP/1.1 "+tc.status, 0
			if tc.retried {
				want, retries = "HTTP/1.1 200 OK", 1
			}
			if h := c.head(); !strings.HasPrefix(h, want) {
				t.Errorf("got %q, want %q", h, want)
			}
			o := r.target.outcome(t, 0)
			if o.Retries != retries {
				t.Errorf("%d retries, want %d", o.Retries, retries)
			}
			got := e.requests()
			if len(got) != 1+retries || retries > 0 && withoutDeadline(got[1]) != withoutDeadline(got[0]) {
				t.Errorf("the endpoint got %d requests: %.200q", len(got), got)
			}
			if _, body, _ := strings.Cut(tc.send, "\r\n\r\n"); !strings.HasSuffix(got[0], body) {
				t.Error("the endpoint did not get the body")
			}
		})
	}
}

// withoutDeadline is the request less the line that is another for each attempt.
func withoutDeadline(request string) string {
	before, rest, found := strings.Cut(request, headerDeadline)
	if !found {
		return request
	}
	_, rest, _ = strings.Cut(rest, "\r\n")
	return before + rest
}

// TestNoRetryIsLeft: where the budget says no, the client gets the response that there is.
func TestNoRetryIsLeft(t *testing.T) {
	t.Parallel()
	e := newScript(t, answer("500 First"), answer("502 Second"), ok)
	r := newRig(t, rigOptions{}, e.addr)
	r.target.policy.Classifier = classify.RetryableRead5XX
	r.target.always(1)
	c := r.dial()
	c.send(get)
	c.expect("HTTP/1.1 502 Second\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nno")
	if o := r.target.outcome(t, 0); o.Retries != 1 || o.Class != classify.Retryable || o.AttemptNs <= o.StartNs {
		t.Errorf("outcome %+v", o)
	}
	c.send(get)
	c.expect(cliOK)
	if n := e.conns.Load(); n != 1 {
		t.Errorf("%d connections: that of a response which nobody gets can be used again", n)
	}
}

// TestRetryElsewhere: an endpoint that failed is left out while there is another one, and then tried again.
func TestRetryElsewhere(t *testing.T) {
	t.Parallel()
	a, b := newScript(t, answer("500 A")), newScript(t, answer("501 B"))
	r := newRig(t, rigOptions{}, a.addr, b.addr)
	r.target.policy.Classifier = classify.RetryableRead5XX
	r.target.always(3)
	c := r.dial()
	c.send(get)
	if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 501 B") {
		t.Errorf("got %q", h)
	}
	if n, m := len(a.requests()), len(b.requests()); n != 2 || m != 2 {
		t.Errorf("%d and %d requests, want two each", n, m)
	}
}

// TestRetryOfAnotherTarget: the name may lead to another client the second time, whose header lines are longer or shorter.
func TestRetryOfAnotherTarget(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 10, 100, 20000} {
		e := newScript(t, answer("500 No"), ok)
		r := newRig(t, rigOptions{}, e.addr)
		next := &target{nodes: r.target.nodes, changed: make(chan struct{})}
		next.policy.Total = limit
		if size > 0 {
			next.headers = "l5d-dst-client: /" + strings.Repeat("b", size) + "\r\n"
		}
		r.target.headers = "l5d-dst-client: /#/a\r\n"
		r.target.policy = resilience.Policy{Classifier: classify.RetryableAll5XX, Timeouts: resilience.Timeouts{Total: limit}}
		r.target.retry = func(*resilience.Attempt) (Target, time.Duration) { return next, 0 }
		c := r.dial()
		c.send(upload(40000))
		c.expect(cliOK)
		if o := next.outcome(t, 0); o.Retries != 1 {
			t.Errorf("outcome %+v", o)
		}
		got := e.requests()
		want := strings.Replace(withoutDeadline(got[0]), r.target.headers, next.headers, 1)
		if len(got) != 2 || withoutDeadline(got[1]) != want {
			t.Fatalf("got %.300q, want %.300q", got[1], want)
		}
		if _, line, ok := strings.Cut(got[1], headerDeadline+": 1"); !ok || len(line[:strings.Index(line, "\r\n")]) != 2*epochDigits {
			t.Errorf("%.400q has no deadline", got[1])
		}
		r.stop()
	}
}

// TestDeadlineOfARetry: each attempt tells the deadline that its own target makes, and none where there is none.
func TestDeadlineOfARetry(t *testing.T) {
	t.Parallel()
	for name, attempts := range map[string][2]time.Duration{"lost": {limit, 0}, "gained": {0, limit}, "kept": {limit, limit}, "none": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newScript(t, answer("500 No"), ok)
			r := newRig(t, rigOptions{}, e.addr)
			next := &target{nodes: r.target.nodes, changed: make(chan struct{}), headers: "l5d-dst-client: /b\r\n"}
			next.policy.Attempt = attempts[1]
			r.target.policy = resilience.Policy{Classifier: classify.RetryableRead5XX, Timeouts: resilience.Timeouts{Attempt: attempts[0]}}
			r.target.retry = func(*resilience.Attempt) (Target, time.Duration) { return next, 0 }
			c := r.dial()
			c.send(get)
			c.expect(cliOK)
			for i, request := range e.requests() {
				if _, until := deadlineOf(t, request); until.IsZero() != (attempts[i] == 0) || !until.IsZero() && time.Until(until) < limit/2 {
					t.Errorf("attempt %d of %v was told %v", i, attempts[i], until)
				}
			}
		})
	}
}

// TestHalfClosedPause: a client that ended its side of the connection gets its answer after a short wait.
func TestHalfClosedPause(t *testing.T) {
	t.Parallel()
	e := newScript(t, answer("500 No"), ok)
	r := newRig(t, rigOptions{}, e.addr)
	r.target.policy.Classifier = classify.RetryableRead5XX
	r.target.retry = func(*resilience.Attempt) (Target, time.Duration) { return r.target, 50 * time.Millisecond }
	c := r.dial()
	c.send(get)
	if err := c.c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.expect(cliOK)
}

// TestRetryWaits: between attempts the client may leave, and no wait goes beyond the total timeout.
func TestRetryWaits(t *testing.T) {
	t.Parallel()
	t.Run("the client leaves", func(t *testing.T) {
		t.Parallel()
		e := newScript(t, answer("500 No"), ok)
		r := newRig(t, rigOptions{}, e.addr)
		r.target.policy.Classifier = classify.RetryableRead5XX
		asked := make(chan struct{})
		r.target.retry = func(*resilience.Attempt) (Target, time.Duration) { close(asked); return r.target, time.Hour }
		c := r.dial()
		c.send(get)
		<-asked
		_ = c.c.Close()
		if o := r.target.outcome(t, 0); o.Reason != ReasonClientClosed || o.Class != classify.Ignored {
			t.Errorf("outcome %+v", o)
		}
	})
	t.Run("the total timeout", func(t *testing.T) {
		t.Parallel()
		e := newScript(t, answer("500 No"), ok)
		r := newRig(t, rigOptions{}, e.addr)
		r.target.policy = resilience.Policy{Classifier: classify.RetryableRead5XX, Timeouts: resilience.Timeouts{Total: time.Second}}
		r.target.retry = func(a *resilience.Attempt) (Target, time.Duration) {
			if a.Left <= 0 || a.Left > time.Second {
				t.Errorf("%v are left of a second", a.Left)
			}
			return nil, 0
		}
		c := r.dial()
		c.send(get)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 500") {
			t.Errorf("got %q: the response that there was, at once", h)
		}
	})
}

// TestWhatWasTried: the message of a failure tells each attempt, and a request that an endpoint has seen is not called unwritten.
func TestWhatWasTried(t *testing.T) {
	t.Parallel()
	a, dead := newScript(t, answer("500 A")), deadAddr(t)
	r := newRig(t, rigOptions{}, a.addr, dead)
	r.target.service, r.target.client = "/svc/web", "/#/web"
	r.target.policy.Classifier = classify.RetryableRead5XX
	r.target.always(1)
	c := r.dial()
	c.send(get)
	h := c.head()
	want, _ := appendForm(nil, "(service /svc/web, client /#/web, endpoint "+a.addr.String()+": 500, endpoint "+dead.String()+": connect-refused, 2 attempts)", 1000)
	if !strings.HasPrefix(h, "HTTP/1.1 502") || !strings.Contains(h, string(want)) || strings.Contains(h, headerRetryable) {
		t.Errorf("got %q, want %q in it and no %s", h, want, headerRetryable)
	}
}

// TestSuccessClass: the client is told where a response is no failure though its status says so, and the other way round.
func TestSuccessClass(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy  resilience.Policy
		got     string
		class   classify.Class
		headers string // of l5d-success-class
	}{
		"a success":             {got: answer("200 Yes"), class: classify.Success},
		"a failure":             {got: answer("500 No"), class: classify.Failure},
		"all successful":        {policy: resilience.Policy{Classifier: classify.AllSuccessful}, got: answer("500 No"), class: classify.Success, headers: "1.0"},
		"not believed":          {got: answer("200 Yes", "l5d-success-class: 0.0"), class: classify.Success},
		"believed":              {policy: resilience.Policy{TrustsClassHeaders: true}, got: answer("200 Yes", "l5d-success-class: 0.0"), class: classify.Failure, headers: "0.0"},
		"believed, and as well": {policy: resilience.Policy{TrustsClassHeaders: true}, got: answer("500 No", "L5d-Success-Class: 0.25"), class: classify.Success, headers: "0.25"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{}, newScript(t, tc.got).addr)
			r.target.policy = tc.policy
			c := r.dial()
			c.send(get)
			h := strings.ToLower(c.head())
			_, value, _ := strings.Cut(h, headerClass+": ")
			value, _, _ = strings.Cut(value, "\r\n")
			if strings.Count(h, headerClass) > 1 || value != tc.headers {
				t.Errorf("got %q, want the value %q", h, tc.headers)
			}
			if o := r.target.outcome(t, 0); o.Class != tc.class {
				t.Errorf("class %v, want %v", o.Class, tc.class)
			}
		})
	}
}

// TestBudgets: a NACK and a re-send on a connection that died are asked for, and where they are refused the client learns what happened.
func TestBudgets(t *testing.T) {
	t.Parallel()
	t.Run("nack", func(t *testing.T) {
		t.Parallel()
		a, b := newScript(t, nack), newScript(t, ok)
		r := newRig(t, rigOptions{}, a.addr, b.addr)
		r.target.requeue = func(int) bool { return false }
		c := r.dial()
		c.send(get)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 503") || len(b.requests()) > 0 {
			t.Errorf("got %q, and the other endpoint %q", h, b.requests())
		}
	})
	t.Run("reuse", func(t *testing.T) {
		t.Parallel()
		e := newScript(t, ok, "")
		r := newRig(t, rigOptions{}, e.addr)
		r.target.requeue = func(int) bool { return false }
		c := r.dial()
		c.send(get)
		c.expect(cliOK)
		c.send(get)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502") || len(e.requests()) != 2 {
			t.Errorf("got %q after %d requests", h, len(e.requests()))
		}
	})
}
