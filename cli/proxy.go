package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/naming"
)

// maxAnswerBytes bounds what is read of an admin page.
const maxAnswerBytes = 64 << 20

// liveProxy is the admin port of one proxy, reached at an address or through the API server. It implements answerer.
type liveProxy struct {
	name   string
	base   *url.URL
	client *http.Client
}

// liveProxy returns the proxy that the flags mean.
func (o *options) liveProxy(ctx context.Context) (*liveProxy, error) {
	if o.admin != "" {
		return direct(o.admin)
	}
	c, err := o.live(ctx)
	if err != nil {
		return nil, err
	}
	all, err := o.liveProxies(ctx, c)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// liveProxies returns the proxies of the Mesh that are ready, or the one of --proxy.
func (o *options) liveProxies(ctx context.Context, c *cluster) ([]*liveProxy, error) {
	pods, err := c.pods(ctx, c.mesh)
	if err != nil {
		return nil, err
	}
	var out []*liveProxy
	why := "there is none"
	for i := range pods {
		if o.proxy != "" && pods[i].Name != o.proxy {
			continue
		}
		if reason := unready(&pods[i]); reason != "" {
			why = pods[i].Name + " is " + reason
			continue
		}
		p, err := throughAPI(c.rest, pods[i].Namespace, pods[i].Name, adminPort(c.mesh))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no proxy of the Mesh %s/%s is ready to be asked: %s", c.mesh.Namespace, c.mesh.Name, why)
	}
	return out, nil
}

func adminPort(m *v1alpha1.Mesh) int { return int(m.Spec.WithDefaults().Admin.Port) }

// direct reaches a proxy at its admin address.
func direct(base string) (*liveProxy, error) {
	alone := !strings.Contains(base, "://")
	if alone {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("--admin: expected http://HOST:PORT, found %q", base)
	}
	if alone && u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(adminPort(&v1alpha1.Mesh{})))
	}
	return &liveProxy{u.Host, u, http.DefaultClient}, nil
}

// throughAPI reaches a proxy through the API server, with the rights of the user on pods/proxy.
func throughAPI(config *rest.Config, namespace, pod string, port int) (*liveProxy, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &liveProxy{pod, base.JoinPath("api/v1/namespaces", namespace, "pods", pod+":"+strconv.Itoa(port), "proxy"), client}, nil
}

// call sends a GET, or with a body a POST, and returns status and body.
func (p *liveProxy) call(ctx context.Context, path string, query url.Values, body []byte) (int, []byte, error) {
	to := p.base.JoinPath(path)
	to.RawQuery = query.Encode()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	response, err := p.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	return response.StatusCode, data, errors.Join(err, response.Body.Close())
}

// ask returns the JSON of a page.
func (p *liveProxy) ask(ctx context.Context, path string, query url.Values, question, into any) error {
	var body []byte
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	status, data, err := p.call(ctx, path, query, body)
	if err != nil {
		return fmt.Errorf("proxy %s: %w", p.name, err)
	}
	if status != http.StatusOK {
		text := strings.TrimSpace(string(data[:min(len(data), 1024)]))
		var said metav1.Status
		if json.Unmarshal(data, &said) == nil && said.Kind == "Status" {
			text = said.Message // it is the API server that refuses
		}
		if status == http.StatusNotFound && strings.HasPrefix(text, "no such page") {
			text += "; the proxy may be older than this command"
		}
		return fmt.Errorf("proxy %s: %s: %d: %s", p.name, path, status, text)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("proxy %s: %s: %w", p.name, path, err)
	}
	return nil
}

// Delegate implements answerer.
func (p *liveProxy) Delegate(ctx context.Context, q *app.DelegateQuestion) (*naming.Step, error) {
	var out naming.Step
	query := url.Values{"path": {q.Path}}
	if q.Router != "" {
		query.Set("router", q.Router)
	}
	if q.Dtab != "" {
		query.Set("dtab", q.Dtab)
	}
	return &out, p.ask(ctx, "/delegator.json", query, nil, &out)
}

// Compare implements answerer.
func (p *liveProxy) Compare(ctx context.Context, q *app.CompareQuestion) (*app.Comparison, error) {
	var out app.Comparison
	return &out, p.ask(ctx, "/diff.json", nil, q, &out)
}

// documents returns what the proxy serves.
func (p *liveProxy) documents(ctx context.Context) (*documents, error) {
	var v app.View
	if err := p.ask(ctx, "/config.json", nil, nil, &v); err != nil {
		return nil, err
	}
	if v.Spec == nil {
		return nil, fmt.Errorf("proxy %s: nothing is served yet", p.name)
	}
	out := &documents{env: config.Standalone, mesh: &v1alpha1.Mesh{Spec: *v.Spec}}
	out.mesh.Namespace, out.mesh.Name, _ = strings.Cut(v.Mesh, "/")
	for i := range v.Spec.Namers {
		if v.Spec.Namers[i].NeedsCluster() {
			out.env = config.Cluster
		}
	}
	for _, d := range v.Dtabs {
		t := &v1alpha1.Dtab{}
		t.Namespace, t.Name, _ = strings.Cut(d.Name, "/")
		t.Spec = v1alpha1.DtabSpec{
			MeshRef: v1alpha1.MeshReference{Name: out.mesh.Name, Namespace: out.mesh.Namespace},
			Router:  d.Router, Priority: d.Priority, Dentries: d.Dentries,
		}
		out.dtabs = append(out.dtabs, t)
	}
	return out, nil
}
