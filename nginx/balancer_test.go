package nginx_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"imgkeep/nginx"
	"imgkeep/nginx/nginxtest"
)

// The example of a load balancer sends all links of an image to one node, and to another if that
// does not answer, or has lost the object store.
func TestBalancer(t *testing.T) {
	example, err := os.ReadFile("balancer.conf")
	if err != nil {
		t.Fatal(err)
	}
	var away [2]atomic.Bool
	var nodes [2]*httptest.Server
	text := string(example)
	for i := range nodes {
		nodes[i] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if away[i].Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintf(w, "%d %s", i, r.RequestURI)
		}))
		defer nodes[i].Close()
		text = strings.Replace(text, fmt.Sprintf("192.0.2.1%d:8090", i+1), strings.TrimPrefix(nodes[i].URL, "http://"), 1)
	}
	listen := regexp.MustCompile(`listen ([0-9.:]+)`)
	ng := nginxtest.Start(t, nginx.Default(), func(main string) string {
		text = strings.Replace(text, "listen 8080;", listen.FindString(main)+";", 1)
		before, _, ok := strings.Cut(main, "http {")
		if !ok {
			t.Fatal("there is no http block")
		}
		return before + "http {\n" + text + "\n}\n"
	})
	client := ng.Client()
	get := func(path string) (node byte) {
		t.Helper()
		answer, err := client.Get(ng.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var body [300]byte
		n, _ := answer.Body.Read(body[:])
		if answer.StatusCode != http.StatusOK || string(body[2:n]) != path {
			t.Fatalf("%s: status %d, %q", path, answer.StatusCode, body[:n])
		}
		return body[0]
	}
	count := map[byte]int{}
	links := map[byte]string{}
	for n := range 40 {
		url := fmt.Sprintf("aHR0cHM6Ly9leGFtcGxlX3VybC9p%03d", n)
		full := "/i/full/gnjO6SJxYbeT9VBz/" + url
		node := get(full)
		for _, other := range []string{"/i/250x250/gnjO6SJxYbeT9VBz/" + url, "/f/x150/4f3OT_te_O37pMOZ/" + url, "/i/full/u21SyNepGvwmqYgs/" + url + "/proxy", full + "?x=1"} {
			if got := get(other); got != node {
				t.Errorf("%s goes to node %c, and %s to %c", full, node, other, got)
			}
		}
		count[node]++
		links[node] = full
	}
	if count['0'] < 5 || count['1'] < 5 {
		t.Errorf("the nodes have %v of 40 images", count)
	}
	away[0].Store(true)
	if got := get(links['0']); got != '1' {
		t.Errorf("without its node an image comes from %c", got)
	}
	nodes[1].Close()
	away[0].Store(false)
	if got := get(links['1']); got != '0' {
		t.Errorf("without its node an image comes from %c", got)
	}
}
