package clients

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

const (
	gigabyte = 1 << 30
	// enough is far more memory than the proxy needs for a body of any length.
	enough = 100 << 20
)

// noise returns a reader of n bytes that no framing error could put together by accident: each block of 1 MiB begins with its number.
func noise(n int64) io.Reader {
	block := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range block {
		block[i] = byte(random.Uint32())
	}
	return io.LimitReader(&blocks{block: block}, n)
}

type blocks struct {
	block []byte
	at, n int
}

func (b *blocks) Read(p []byte) (int, error) {
	if b.at == 0 {
		copy(b.block, strconv.Itoa(b.n)+";")
		b.n++
	}
	n := copy(p, b.block[b.at:])
	b.at = (b.at + n) % len(b.block)
	return n, nil
}

func sum(from io.Reader) (string, int64) {
	digest := sha256.New()
	n, err := io.CopyBuffer(onlyWrite{digest}, onlyRead{from}, make([]byte, 256<<10))
	if err != nil {
		return err.Error(), n
	}
	return fmt.Sprintf("%x", digest.Sum(nil)), n
}

// onlyRead and onlyWrite hide what else there is, so that the buffer is used.
type (
	onlyRead  struct{ io.Reader }
	onlyWrite struct{ hash.Hash }
)

// TestGigabytes sends 1 GiB up and down, by length and in chunks, at bounded memory.
func TestGigabytes(t *testing.T) {
	want, _ := sum(noise(gigabyte))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			got, n := sum(r.Body)
			fmt.Fprint(w, got, " ", n)
			return
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", strconv.Itoa(gigabyte))
		}
		_, _ = io.CopyBuffer(onlyWriter{w}, noise(gigabyte), make([]byte, 256<<10)) // the client tells
	}))
	defer s.Close()
	p := start(t, map[string]string{"big": s.Listener.Addr().String()})
	for _, path := range []string{"/length", "/chunked"} {
		req, err := http.NewRequest(http.MethodGet, p.url()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, n := sum(do(t, req)); got != want || n != gigabyte {
			t.Errorf("GET %s: %d bytes, %s, want %s", path, n, got, want)
		}
		req, err = http.NewRequest(http.MethodPost, p.url()+path, noise(gigabyte))
		if err != nil {
			t.Fatal(err)
		}
		if path == "/length" {
			req.ContentLength = gigabyte
		}
		answer, err := io.ReadAll(do(t, req))
		if want := fmt.Appendf(nil, "%s %d", want, gigabyte); err != nil || !bytes.Equal(answer, want) {
			t.Errorf("POST %s: %s, %v, want %s", path, answer, err, want)
		}
	}
	if got := p.memory(t); got > enough {
		t.Errorf("the proxy took %d MB", got>>20)
	}
}

type onlyWriter struct{ io.Writer }

func do(t *testing.T, req *http.Request) io.Reader {
	t.Helper()
	req.Host = "big"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", req.Method, req.URL, resp.Status)
	}
	return resp.Body
}
