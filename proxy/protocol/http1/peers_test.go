package http1

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/proxy/transport"
)

// echo answers with the body it got, framed as the query asks, with a trailer that tells its length. It flushes while it reads.
func echo(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Has("close") {
		w.Header().Set("Connection", "close")
	}
	if q.Has("length") {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	} else {
		w.Header().Set("Trailer", "X-Length")
	}
	w.Header().Set("X-Via", strings.Join(r.Header.Values("Via"), ","))
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/1.x alone has it, and it is what is served
	n, _ := io.Copy(w, r.Body)
	if !q.Has("length") {
		w.Header().Set("X-Length", strconv.FormatInt(n, 10))
	}
}

// TestOtherImplementations puts net/http on both sides, many requests at once, bodies of all sizes and framings.
func TestOtherImplementations(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(srv.Close)
	addr := netip.MustParseAddrPort(srv.Listener.Addr().String())
	r := newRig(t, rigOptions{pool: transport.PoolOptions{MaxIdle: 4}}, addr)
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	t.Cleanup(hc.CloseIdleConnections)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for range 60 {
				if err := echoOnce(hc, "http://"+r.l.Addr().String(), data[:rng.IntN(1<<rng.IntN(21))], rng); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func echoOnce(hc *http.Client, base string, body []byte, rng *rand.Rand) error {
	url := base + "/echo?x"
	var from io.Reader = bytes.NewReader(body)
	switch rng.IntN(3) {
	case 0:
		url += "&length"
	case 1:
		from = struct{ io.Reader }{from} // of unknown length, so in chunks
	}
	if rng.IntN(10) == 0 {
		url += "&close"
	}
	req, err := http.NewRequest(http.MethodPost, url, from) //nolint:noctx // the test's deadline bounds it
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200 || !bytes.Equal(got, body):
		return errors.New(url + ": " + resp.Status + ", " + strconv.Itoa(len(got)) + " bytes of " + strconv.Itoa(len(body)))
	case resp.Header.Get("X-Via") != "1.1 fairlead" || resp.Header.Get("Via") != "1.1 fairlead":
		return errors.New("no Via")
	case !strings.Contains(url, "length") && len(resp.TransferEncoding) > 0 && resp.Trailer.Get("X-Length") != strconv.Itoa(len(body)):
		return errors.New("trailer " + resp.Trailer.Get("X-Length"))
	}
	return nil
}
