package app

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestLogNamesTheRouterOfNow: a listener that another router serves after an edit says so in its log.
func TestLogNamesTheRouterOfNow(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	log := funcr.New(func(prefix, args string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, prefix+" "+args)
	}, funcr.Options{})
	port := freeport.Get(t)
	a := start(t, Options{Log: log})
	c := client(t)
	text := mesh(port, "/svc => !")
	for _, name := range []string{"outgoing", "edge"} {
		if err := a.Apply(t.Context(), decode(t, strings.Replace(text, "outgoing", name, 1))); err != nil {
			t.Fatal(err)
		}
		if status, body, _ := get(t, c, port, "nobody"); status != http.StatusBadGateway {
			t.Fatalf("%d %s", status, body)
		}
		mu.Lock()
		last := lines[len(lines)-1]
		mu.Unlock()
		if want := fmt.Sprintf(`"router"=%q`, name); !strings.Contains(last, want) || !strings.Contains(last, "Request failed") {
			t.Errorf("the log says %s, want %s", last, want)
		}
	}
}
