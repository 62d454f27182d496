package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"imgkeep/sign"
)

// What a file gets wrong, and what is said of it.
func TestFileRefused(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		// Keys.
		{"fetch: {max_byte: 1MiB}", "imgkeep.yaml:1: fetch.max_byte: there is no such key; did you mean fetch.max_bytes?"},
		{"fetch: {max-bytes: 1MiB}", "imgkeep.yaml:1: fetch.max-bytes: there is no such key; did you mean fetch.max_bytes?"},
		{"Listen: :80", "imgkeep.yaml:1: Listen: there is no such key; did you mean listen?"},
		{"max_bytes: 1MiB", "imgkeep.yaml:1: max_bytes: there is no such key; did you mean fetch.max_bytes?"},
		{"fetch.timeout: 1s", "imgkeep.yaml:1: fetch.timeout: there is no such key; write fetch: {timeout: ...}"},
		{"log: {colour: red}", "imgkeep.yaml:1: log.colour: there is no such key; want one of format, level"},
		{"buckets: [{name: i, host: [a.com]}]", "imgkeep.yaml:1: buckets[0].host: there is no such key; did you mean buckets[0].hosts?"},
		{"log: {1: x}", "imgkeep.yaml:1: log.1: there is no such key; want one of format, level"},
		{"log: {[a]: x}", "imgkeep.yaml:1: log: a key must be a word, and not a list or a section"},
		{"a: &a {level: info}\nlog: {<<: *a}", "imgkeep.yaml:1: a: there is no such key; want one of access, admin, approve, base_url, buckets, cors, fetch, formats, handoff, headers, hooks, likeness, linkrot, listen, log, max_connections, metrics, nginx, page, placeholder, placeholders, presets, resize, root, shared, shutdown_timeout, sign, sizes, store|" +
			"imgkeep.yaml:2: log.<<: there is no such key; want one of format, level"},

		// Shapes.
		{"fetch: 5s", "imgkeep.yaml:1: fetch: it must hold keys and values, as in {key: value}"},
		{"fetch: [1]", "imgkeep.yaml:1: fetch: it must hold keys and values, as in {key: value}"},
		{"- listen", "imgkeep.yaml: it must hold keys and values, as in listen: 127.0.0.1:8091"},
		{"listen:", "imgkeep.yaml:1: listen: it has no value; leave the key out to have the default"},
		{"sizes: ~", "imgkeep.yaml:1: sizes: it has no value; leave the key out to have the default"},
		{"sizes: 150", "imgkeep.yaml:1: sizes: it must be a list, as in [a, b]"},
		{"sizes: 150,200", "imgkeep.yaml:1: sizes: it must be a list, as in [a, b]"},
		{"buckets: {i: {}}", "imgkeep.yaml:1: buckets: it must be a list, as in [a, b]"},
		{"buckets: [i]", "imgkeep.yaml:1: buckets[0]: it must hold keys and values, as in {key: value}"},
		{"listen: [a]", "imgkeep.yaml:1: listen: it must be a single value"},
		{"listen: a\nlisten: b", "imgkeep.yaml:2: listen: it is set in line 1 already: leave one of the two out"},
		{"log:\n  level: info\n  format: text\n  level: warn\nlog: {}\nsizes: [0]", "imgkeep.yaml:4: log.level: it is set in line 2 already: leave one of the two out|imgkeep.yaml:5: log: it is set in line 1 already: leave one of the two out"},
		{"buckets: [{name: i, name: j}]", "imgkeep.yaml:1: buckets[0].name: it is set in line 1 already: leave one of the two out"},
		{"listen: a\n---\nlisten: b", "imgkeep.yaml: it holds more than one YAML document (a line of three dashes begins another)"},
		{"listen: 'a", "imgkeep.yaml: it is not YAML: found unexpected end of stream"},
		{"\tlisten: a", "imgkeep.yaml:1: there is a tab before \"listen:\": use spaces, because YAML allows no tabs there"},
		{"log:\n  format: text\n\tlevel: info", "imgkeep.yaml:3: there is a tab before \"level:\": use spaces, because YAML allows no tabs there"},
		{"log:\n  level: info\n   format: text", "imgkeep.yaml:3: it is not YAML: mapping values are not allowed in this context"},
		{"sizes: &a [*a]", "imgkeep.yaml:1: sizes[0]: it must be a single value"},

		// Types.
		{"root: 12", "imgkeep.yaml:1: root: 12 is not text; write it in quotes"},
		{"root: 2026-11-01", "imgkeep.yaml:1: root: 2026-11-01 is not text; write it in quotes"},
		{"buckets: [{name: 0123}]", "imgkeep.yaml:1: buckets[0].name: 0123 is not text; write it in quotes"},
		{"sign: {secrets: [1234567890123456789]}", "imgkeep.yaml:1: sign.secrets[0]: it is not text; write it in quotes"},
		{"sign: {weeks: two}", `imgkeep.yaml:1: sign.weeks: "two" is not a whole number`},
		{"sign: {weeks: 1.5}", "imgkeep.yaml:1: sign.weeks: 1.5 is not a whole number"},
		{"sign: {weeks: true}", "imgkeep.yaml:1: sign.weeks: true is not a whole number"},
		{"sign: {weeks: 9223372036854775808}", "imgkeep.yaml:1: sign.weeks: 9223372036854775808 is not a whole number"},
		{"sign: {allow_weak_secret: 1}", "imgkeep.yaml:1: sign.allow_weak_secret: 1 is neither true nor false"},
		{"sign: {allow_weak_secret: ja}", `imgkeep.yaml:1: sign.allow_weak_secret: "ja" is neither true nor false`},
		{"fetch: {ports: [80, 0443]}", "imgkeep.yaml:1: fetch.ports[1]: 0443 is ambiguous; write it without the leading zero"},
		{"fetch: {timeout: 30}", "imgkeep.yaml:1: fetch.timeout: 30 is not a duration: want a number with a unit, as in 500ms, 30s, 5m, 1h30m"},
		{"fetch: {timeout: 1d}", `imgkeep.yaml:1: fetch.timeout: "1d" is not a duration: want a number with a unit, as in 500ms, 30s, 5m, 1h30m`},
		{"fetch: {max_bytes: 16M}", `imgkeep.yaml:1: fetch.max_bytes: "16M" is not a size: want a number of bytes, or a unit as in 512KiB, 16MiB, 1GiB, 10MB`},
		{"fetch: {max_bytes: -1}", "imgkeep.yaml:1: fetch.max_bytes: -1 is not in the range 1KiB to 1GiB"},
		{"fetch: {max_bytes: 1.5}", "imgkeep.yaml:1: fetch.max_bytes: 1 is not in the range 1KiB to 1GiB"},
		{"fetch: {max_bytes: true}", `imgkeep.yaml:1: fetch.max_bytes: "true" is not a size: want a number of bytes, or a unit as in 512KiB, 16MiB, 1GiB, 10MB`},
		{"fetch: {networks: [10.1.2.3]}", `imgkeep.yaml:1: fetch.networks[0]: "10.1.2.3" is an address, not a network; did you mean 10.1.2.3/32?`},
		{"fetch: {networks: [fd00::1]}", `imgkeep.yaml:1: fetch.networks[0]: "fd00::1" is an address, not a network; did you mean fd00::1/128?`},
		{"fetch: {networks: [lan]}", `imgkeep.yaml:1: fetch.networks[0]: "lan" is not a network: want an address and a length, as in 10.0.0.0/8 or fd00::/8`},
		{"fetch: {networks: [10]}", "imgkeep.yaml:1: fetch.networks[0]: 10 is not a network: want an address and a length, as in 10.0.0.0/8 or fd00::/8"},

		// Values.
		{"listen: '8091'", `imgkeep.yaml:1: listen: "8091" is neither host:port, as in 127.0.0.1:8091, nor unix:/path`},
		{"listen: ':http'", `imgkeep.yaml:1: listen: "http" is not a port: want a number from 0 (any free port) to 65535`},
		{"listen: ':65536'", `imgkeep.yaml:1: listen: "65536" is not a port: want a number from 0 (any free port) to 65535`},
		{"listen: 'a b:80'", `imgkeep.yaml:1: listen: "a b" is neither an address nor the name of a host`},
		{"listen: 'unix:'", `imgkeep.yaml:1: listen: the path of a socket must have 1 to 107 bytes, and "" has 0`},
		{"root: ''", `imgkeep.yaml:1: root: "" cannot be the store: name a folder of its own, as in /var/lib/imgkeep`},
		{"root: /../", `imgkeep.yaml:1: root: "/" cannot be the store: name a folder of its own, as in /var/lib/imgkeep`},
		{`root: "/a\nb"`, `imgkeep.yaml:1: root: "/a\nb" holds a control character`},
		{"handoff: nginx\nnginx: {hot: /var/lib/imgkeep}", "imgkeep.yaml:2: nginx.hot: /var/lib/imgkeep and root, /var/lib/imgkeep, must not be within each other"},
		{"handoff: nginx\nnginx: {hot: /var/lib/imgkeep/hot}", "imgkeep.yaml:2: nginx.hot: /var/lib/imgkeep/hot and root, /var/lib/imgkeep, must not be within each other"},
		{"handoff: nginx\nnginx: {hot: /var}", "imgkeep.yaml:2: nginx.hot: /var and root, /var/lib/imgkeep, must not be within each other"},
		{"nginx: {hot: ''}", `imgkeep.yaml:1: nginx.hot: "" cannot hold the links: name a folder of its own, as in /run/imgkeep/hot`},
		{"base_url: img.example.com", `imgkeep.yaml:1: base_url: "img.example.com" is not what links can begin with: want http or https and a host, as in https://img.example.com`},
		{"base_url: ftp://a.example", `imgkeep.yaml:1: base_url: "ftp://a.example" is not what links can begin with: want http or https and a host, as in https://img.example.com`},
		{"base_url: https://a.example/?x", `imgkeep.yaml:1: base_url: "https://a.example/?x" is not what links can begin with: want http or https and a host, as in https://img.example.com`},
		{"base_url: https://a.example/#", `imgkeep.yaml:1: base_url: "https://a.example/#" is not what links can begin with: want http or https and a host, as in https://img.example.com`},
		{"base_url: https://me@a.example", `imgkeep.yaml:1: base_url: "https://me@a.example" is not what links can begin with: want http or https and a host, as in https://img.example.com`},
		{"base_url: 'https:///a'", `imgkeep.yaml:1: base_url: "https:///a" is not what links can begin with: want http or https and a host, as in https://img.example.com`},
		{"base_url: https://a.example/img/", `imgkeep.yaml:1: base_url: "https://a.example/img" has a path, below which no link is found: give images a host of their own, as in https://img.example.com`},
		{"placeholders: [{image: /a}]", `imgkeep.yaml:1: placeholders[0].errors: it is empty, so that the image would never be sent`},
		{"placeholders: [{errors: [gone]}]", `imgkeep.yaml:1: placeholders[0].image: it is empty; name a file`},
		{"placeholders: [{errors: [gone], image: /a}, {errors: [lost, gone], image: /b}]", `imgkeep.yaml:1: placeholders[1].errors[1]: gone has an image already`},
		{"headers: {resource_policy: none}", `imgkeep.yaml:1: headers.resource_policy: "none" is not one of cross-origin, same-site, same-origin`},
		{"headers: {robots: 'a; b'}", `imgkeep.yaml:1: headers.robots: "a; b" is no X-Robots-Tag: want words, as in noindex, noimageindex`},
		{"cors: {origins: [a.example]}", `imgkeep.yaml:1: cors.origins[0]: "a.example" is no origin: want scheme, host in lower case and port if it is not the usual one, as in https://example.com, or *`},
		{"access: {tokens: [short-token-0123]}\nnginx: {tokens: ''}", `imgkeep.yaml:2: nginx.tokens: it is empty, and there are tokens; name a file, as in /etc/imgkeep/nginx.tokens`},
		{"access: {tokens: [short-token-012]}", "imgkeep.yaml:1: access.tokens: one of them, or of access.token_files, is not a token: want 16 to 512 of A-Z, a-z, 0-9, . _ ~ + / and -, as `openssl rand -base64 32` makes them"},
		{"fetch: {base_url: static.example}", `imgkeep.yaml:1: fetch.base_url: "static.example": not the URL of an image: want scheme://host/path`},
		{"fetch: {base_url: HTTPS://static.example}", `imgkeep.yaml:1: fetch.base_url: "HTTPS://static.example": want an http or https URL in its one spelling, as in https://static.example.com/images/; this one is spelled https://static.example/`},
		{"nginx: {certificate: /c}", `nginx.certificate_key: it is empty, and nginx.certificate is not: set both, or none`},
		{"nginx: {certificate_key: /k}", `nginx.certificate: it is empty, and nginx.certificate_key is not: set both, or none`},
		{"nginx: {certificate: /c, certificate_key: /k, listen_tls: []}", `imgkeep.yaml:1: nginx.listen_tls: it is empty, and there is a certificate; want ports or addresses, as in ["443", "[::]:443"]`},
		{"nginx: {http2: yes}", `imgkeep.yaml:1: nginx.http2: "yes" is not one of auto, on, listen, off`},
		{"formats: [jpeg, avif]\nbuckets: [{name: i}, {name: f, strip_metadata: true}]", "imgkeep.yaml:2: buckets[1].strip_metadata: the metadata of avif cannot be removed, and may say where a photo was taken: take them out of formats, or leave this off"},
		{"handoff: Nginx", `imgkeep.yaml:1: handoff: "Nginx" is not one of direct, nginx`},
		{"resize: {sandbox: required}", `imgkeep.yaml:1: resize.sandbox: "required" is not one of auto, require, off`},
		{"log: {level: warning}", `imgkeep.yaml:1: log.level: "warning" is not one of debug, info, warn, error`},
		{"log: {format: xml}", `imgkeep.yaml:1: log.format: "xml" is not one of text, json`},
		{"sign: {timezone: Mars/Olympus}", `imgkeep.yaml:1: sign.timezone: "Mars/Olympus" is not known here; want a name, as in UTC or Europe/Berlin`},
		{"sign: {timezone: ''}", "imgkeep.yaml:1: sign.timezone: it is empty; want a name, as in UTC or Europe/Berlin"},
		{"sign: {timezone: ../../etc/passwd}", `imgkeep.yaml:1: sign.timezone: "../../etc/passwd" is not known here; want a name, as in UTC or Europe/Berlin`},
		{"sign: {bucketless: f}", `imgkeep.yaml:1: sign.bucketless: "f" is not a bucket: want one of i`},
		{"buckets: []", "imgkeep.yaml:1: buckets: it is empty, so that nothing could be kept"},
		{"buckets: [{hosts: [a.com]}]", `imgkeep.yaml:1: buckets[0].name: "" is not a bucket's name: want 1 to 16 of a-z and 0-9`},
		{"buckets: [{name: Img}]", `imgkeep.yaml:1: buckets[0].name: "Img" is not a bucket's name: want 1 to 16 of a-z and 0-9`},
		{"buckets: [{name: ../x}]", `imgkeep.yaml:1: buckets[0].name: "../x" is not a bucket's name: want 1 to 16 of a-z and 0-9`},
		{"buckets: [{name: abcdefghijklmnopq}]", `imgkeep.yaml:1: buckets[0].name: "abcdefghijklmnopq" is not a bucket's name: want 1 to 16 of a-z and 0-9`},
		{"buckets: [{name: i}, {name: i}]", `imgkeep.yaml:1: buckets[1].name: "i" is listed twice`},
		{"buckets: [{name: tmp}]", `imgkeep.yaml:1: buckets[0].name: "tmp" is taken: none of healthz, readyz, metrics, tmp, journal, quarantine, index.db can be a bucket`},
		{"buckets: [{name: healthz}]", `imgkeep.yaml:1: buckets[0].name: "healthz" is taken: none of healthz, readyz, metrics, tmp, journal, quarantine, index.db can be a bucket`},
		{"buckets: [{name: readyz}]", `imgkeep.yaml:1: buckets[0].name: "readyz" is taken: none of healthz, readyz, metrics, tmp, journal, quarantine, index.db can be a bucket`},
		{"buckets: [{name: metrics}]", `imgkeep.yaml:1: buckets[0].name: "metrics" is taken: none of healthz, readyz, metrics, tmp, journal, quarantine, index.db can be a bucket`},
		{"buckets: [{name: index.db}]", `imgkeep.yaml:1: buckets[0].name: "index.db" is taken: none of healthz, readyz, metrics, tmp, journal, quarantine, index.db can be a bucket`},
		{"sizes:\n  - 150\n  - 150x150", `imgkeep.yaml:3: sizes[1]: "150x150": want a length in pixels, such as 150; with 150 and 250 there are 150x250, 150x, x250 and all others of them`},
		{"sizes: [150, 200, 150]", "imgkeep.yaml:1: sizes[2]: 150 is listed twice"},
		{"formats: []", "imgkeep.yaml:1: formats: it is empty, so that no image would be accepted"},
		{"formats: [jpg]", `imgkeep.yaml:1: formats[0]: unknown image format "jpg": use one of jpeg, png, gif, webp, avif, bmp, heic, tiff, jxl`},
		{"formats: [svg]", `imgkeep.yaml:1: formats[0]: unknown image format "svg": use one of jpeg, png, gif, webp, avif, bmp, heic, tiff, jxl`},
		{"formats: [png, png]", "imgkeep.yaml:1: formats[1]: png is listed twice"},
		{"fetch: {ports: []}", "imgkeep.yaml:1: fetch.ports: it is empty, so that nothing could be fetched"},
		{"fetch: {ports: [80, 80]}", "imgkeep.yaml:1: fetch.ports[1]: 80 is listed twice"},
		{"fetch: {networks: [10.1.2.3/8]}", "imgkeep.yaml:1: fetch.networks[0]: 10.1.2.3/8 is not a network: the network of that length is 10.0.0.0/8"},
		{"fetch: {networks: ['::ffff:10.0.0.0/104']}", "imgkeep.yaml:1: fetch.networks[0]: ::ffff:10.0.0.0/104 is an IPv4 network in IPv6's spelling; write it as IPv4"},
		{"fetch: {user_agent: ''}", `imgkeep.yaml:1: fetch.user_agent: "" cannot be sent: want 1 to 256 characters, none of them a control character`},
		{`fetch: {user_agent: "a\r\nHost: b"}`, `imgkeep.yaml:1: fetch.user_agent: "a\r\nHost: b" cannot be sent: want 1 to 256 characters, none of them a control character`},
		{"fetch: {profiles: [{host: [a.example]}]}", "imgkeep.yaml:1: fetch.profiles[0].host: there is no such key; did you mean fetch.profiles[0].hosts?"},
		{"fetch: {profiles: [{user_agent: a}]}", "imgkeep.yaml:1: fetch.profiles[0].hosts: it is empty, so that the profile would apply to no host"},
		{"fetch: {profiles: [{hosts: ['*']}]}", `imgkeep.yaml:1: fetch.profiles[0].hosts[0]: host pattern "*": host has a character that no host name has: '*'; use example.com, *.example.com or an IP address`},
		{"fetch: {profiles: [{hosts: [a.example], referer: a.example}]}", `imgkeep.yaml:1: fetch.profiles[0].referer: "a.example": want an http or https URL without a user name, as in https://www.example.com/`},
		{"fetch: {profiles: [{hosts: [a.example], proxy: none}]}", "imgkeep.yaml:1: fetch.profiles[0].proxy: it is not a proxy: want http://host:port, https://host:port or socks5://host:port, with user:password@ before the host if need be"},
		{`fetch: {profiles: [{hosts: [a.example], user_agent: "a\r\nb"}]}`, `imgkeep.yaml:1: fetch.profiles[0].user_agent: "a\r\nb" cannot be sent: want 1 to 256 characters, none of them a control character`},
		{"fetch: {profiles: [{hosts: [a.example], headers: ['Cookie=hunter2']}]}", `imgkeep.yaml:1: fetch.profiles[0].headers[0]: want "Name: value" in ASCII, as in "Accept-Language: de"`},
		{"fetch: {profiles: [{hosts: [a.example], headers: ['host: b.example']}]}", `imgkeep.yaml:1: fetch.profiles[0].headers[0]: Host is set by imgkeep itself, or by another key`},
		{"fetch: {profiles: [{hosts: [a.example], tls_min: '1.4'}]}", `imgkeep.yaml:1: fetch.profiles[0].tls_min: "1.4" is not one of 1.0, 1.1, 1.2, 1.3`},
		{"fetch: {accept: []}", "imgkeep.yaml:1: fetch.accept: it is empty; name at least one format, as in [jpeg, png, gif]"},
		{"fetch: {accept: [jpg]}", `imgkeep.yaml:1: fetch.accept[0]: unknown image format "jpg": use one of jpeg, png, gif, webp, avif, bmp, heic, tiff, jxl`},
		{"fetch: {accept: [png, png]}", "imgkeep.yaml:1: fetch.accept[1]: png is listed twice"},
		{"fetch: {removed: [{}]}", "imgkeep.yaml:1: fetch.removed[0]: want exactly one of url, etag and digest"},
		{"fetch: {removed: [{url: a, etag: b}]}", "imgkeep.yaml:1: fetch.removed[0]: want exactly one of url, etag and digest"},
		{"fetch: {fallbacks: ['https://a.example/']}", `imgkeep.yaml:1: fetch.fallbacks[0]: "https://a.example/": want an http or https URL with {url} in its path or query, as in https://web.archive.org/web/0im_/{url}`},
		{"fetch: {fallback_after: {no_host: -1}}", "imgkeep.yaml:1: fetch.fallback_after.no_host: -1 is not in the range 0 to 100"},
		{"fetch: {fallback_after: {page: 101}}", "imgkeep.yaml:1: fetch.fallback_after.page: 101 is not in the range 0 to 100"},
		{"fetch: {fallback_after: {dead: 1}}", "imgkeep.yaml:1: fetch.fallback_after.dead: there is no such key; want one of blocked, gone, no_host, page, server_error, timeout, tls, unreachable"},
		{"fetch: {same_image: [{hosts: [a.example]}]}", `imgkeep.yaml:1: fetch.same_image[0]: it needs hosts and params, as in {hosts: [cdn.example.com], params: [ex, sig, "X-Amz-*"]}`},
		{"fetch: {same_image: [{params: [a]}]}", `imgkeep.yaml:1: fetch.same_image[0]: it needs hosts and params, as in {hosts: [cdn.example.com], params: [ex, sig, "X-Amz-*"]}`},
		{"fetch: {same_image: [{hosts: ['*'], params: [a]}]}", `imgkeep.yaml:1: fetch.same_image[0].hosts[0]: host pattern "*": host has a character that no host name has: '*'; use example.com, *.example.com or an IP address`},
		{"fetch: {same_image: [{hosts: [a.example], params: [a, '*']}]}", `imgkeep.yaml:1: fetch.same_image[0].params[1]: "*" is not the name of a parameter: want one as in URLs, with or without * at its end`},
		{"fetch: {same_image: [{hosts: [a.example], params: ['a=b']}]}", `imgkeep.yaml:1: fetch.same_image[0].params[0]: "a=b" is not the name of a parameter: want one as in URLs, with or without * at its end`},
		{"fetch: {own_hosts: ['https://a.example']}", `imgkeep.yaml:1: fetch.own_hosts[0]: host pattern "https://a.example": host is not an IPv6 address; use example.com, *.example.com or an IP address`},
		{"approve: {url: '127.0.0.1:8100'}", "imgkeep.yaml:1: approve.url: want http or https and a host, without a user name, as in http://127.0.0.1:8100/check"},
		{"hooks: {removed: {url: 'ftp://a.example/'}}", "imgkeep.yaml:1: hooks.removed.url: want http or https and a host, without a user name, as in http://127.0.0.1:8100/removed"},
		{"hooks: {kept: {url: 'http://u:p@a.example/'}}", "imgkeep.yaml:1: hooks.kept.url: want http or https and a host, without a user name, as in http://127.0.0.1:8100/removed"},
		{"hooks: {secrets: [0123456789abcde]}", "imgkeep.yaml:1: hooks.secrets: one of them, or of hooks.secret_files, is not a secret: it has 15 bytes, fewer than 16; `openssl rand -base64 32` makes a good one"},
		{"hooks: {secrets: [whsec_AAAA]}", "imgkeep.yaml:1: hooks.secrets: one of them, or of hooks.secret_files, is not a secret: it has 3 bytes, fewer than 16; `openssl rand -base64 32` makes a good one"},
		{"hooks: {secrets: ['whsec_äöü']}", "imgkeep.yaml:1: hooks.secrets: one of them, or of hooks.secret_files, is not a secret: what follows whsec_ is not base64; `openssl rand -base64 32` makes a good one"},
		{"hooks: {timeout: 61s}", "imgkeep.yaml:1: hooks.timeout: 1m1s is not in the range 1ms to 1m0s"},
		{"approve: {url: 'http://u:p@a.example/'}", "imgkeep.yaml:1: approve.url: want http or https and a host, without a user name, as in http://127.0.0.1:8100/check"},
		{"approve: {fail: shut}", `imgkeep.yaml:1: approve.fail: "shut" is not one of closed, open`},
		{"fetch: {proxy: 'localhost:3128'}", "imgkeep.yaml:1: fetch.proxy: it is not a proxy: want http://host:port, https://host:port or socks5://host:port, with user:password@ before the host if need be"},
		{"fetch: {proxy: 'socks4://a:1'}", "imgkeep.yaml:1: fetch.proxy: it is not a proxy: want http://host:port, https://host:port or socks5://host:port, with user:password@ before the host if need be"},
		{"fetch: {proxy: 'http://a/path'}", "imgkeep.yaml:1: fetch.proxy: it is not a proxy: want http://host:port, https://host:port or socks5://host:port, with user:password@ before the host if need be"},
		{"fetch: {proxy: 'http://a:0'}", `imgkeep.yaml:1: fetch.proxy: "0" is not a port: want a number from 1 to 65535`},
		{"fetch: {proxy: 'http://a:65536'}", `imgkeep.yaml:1: fetch.proxy: "65536" is not a port: want a number from 1 to 65535`},
		{"fetch: {proxy: 'http://me:xxxxx@a:80'}", `imgkeep.yaml:1: fetch.proxy: the password is "xxxxx", which is the placeholder of a hidden one; write the real one`},
		{"nginx: {valid: 1500ms}", "imgkeep.yaml:1: nginx.valid: 1.5s is not a whole number of seconds"},
		{"page: {listen: '8092'}", `imgkeep.yaml:1: page.listen: "8092" is neither host:port, as in 127.0.0.1:8091, nor unix:/path|imgkeep.yaml:1: page.listen: "8092" can be reached from elsewhere: name a socket, or an address such as 127.0.0.1:8092 behind a proxy with TLS; page.allow_remote permits it`},
		{"page: {listen: ':8092'}", `imgkeep.yaml:1: page.listen: ":8092" can be reached from elsewhere: name a socket, or an address such as 127.0.0.1:8092 behind a proxy with TLS; page.allow_remote permits it`},
		{"page: {listen: ':8092', allow_remote: true}", `page.url: it is empty, and page.listen can be reached by several names: want the one that moderators use, such as http://moderate.example.com:8092`},
		{"page: {listen: 'unix:/run/p.sock'}", `page.url: it is empty, and a socket has no name that browsers know: want one such as https://moderate.example.com`},
		{"page: {listen: '127.0.0.1:8091'}", `imgkeep.yaml:1: page.listen: "127.0.0.1:8091" is that of listen: name another address`},
		{"page: {listen: '[::1]:8092', url: 'https://a.example/b'}", `imgkeep.yaml:1: page.url: "https://a.example/b" is no scheme and host: want one such as https://moderate.example.com`},
		{"page: {listen: 'localhost:8092', url: 'http://a.example'}", `imgkeep.yaml:1: page.url: "http://a.example" is without TLS: passwords would cross the network unencrypted; page.allow_remote permits it`},
		{"base_url: https://img.example\npage: {listen: 'localhost:8092', url: 'https://IMG.example:8443'}", `imgkeep.yaml:2: page.url: "IMG.example:8443" is a host of images, and what strangers have made must not be served beside the page: name another host`},
		{"fetch: {own_hosts: ['*.img.example']}\npage: {listen: 'localhost:8092', url: 'https://m.img.example'}", `imgkeep.yaml:2: page.url: "m.img.example" is a host of images, and what strangers have made must not be served beside the page: name another host`},
		{"nginx: {server_name: [i.example]}\npage: {listen: 'localhost:8092', url: 'https://i.example'}", `imgkeep.yaml:2: page.url: "i.example" is a host of images, and what strangers have made must not be served beside the page: name another host`},
		{"page: {address_header: 'X Real'}", `imgkeep.yaml:1: page.address_header: "X Real" is no name of a header: want one such as X-Real-IP`},
		{"page: {user_header: authorization}", `imgkeep.yaml:1: page.user_header: clients send authorization for themselves: want a header that only the proxy sets`},
		{"page: {reasons: [a, a, '']}", `imgkeep.yaml:1: page.reasons[1]: a is listed twice|imgkeep.yaml:1: page.reasons[2]: want a line of 1 to 200 bytes`},
		{"metrics: {listen: '9100'}", `imgkeep.yaml:1: metrics.listen: "9100" is neither host:port, as in 127.0.0.1:8091, nor unix:/path`},
		{"metrics: {listen: '127.0.0.1:8091'}", `imgkeep.yaml:1: metrics.listen: "127.0.0.1:8091" is where links are served: name another address`},
		{"nginx: {listen: []}", `imgkeep.yaml:1: nginx.listen: it is empty; want ports or addresses, as in ["80", "[::]:80"]`},

		// Everything at once, each where it stands.
		{"listen: nowhere\nsizes:\n  - 150\n  - 0\nbuckets:\n  - name: i\n  - name: I\n    max_bytes: 1\nfetch:\n  timout: 1s\n  ports: [http]\n",
			"imgkeep.yaml:10: fetch.timout: there is no such key; did you mean fetch.timeout?|" +
				`imgkeep.yaml:11: fetch.ports[0]: "http" is not a whole number|` +
				`imgkeep.yaml:1: listen: "nowhere" is neither host:port, as in 127.0.0.1:8091, nor unix:/path|` +
				`imgkeep.yaml:7: buckets[1].name: "I" is not a bucket's name: want 1 to 16 of a-z and 0-9|` +
				"imgkeep.yaml:8: buckets[1].max_bytes: 1 is not in the range 1KiB to 1GiB|" +
				"imgkeep.yaml:4: sizes[1]: 0 is not in the range 1 to 65535"},
	} {
		c, _, err := load(t, tt.text)
		if err == nil {
			t.Errorf("%s\naccepted: %+v", tt.text, c)
			continue
		}
		if got := strings.Join(messages(err), "|"); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

// Both sides of every limit.
func TestRanges(t *testing.T) {
	for _, tt := range []struct {
		key                       string
		below, least, most, above string // below or above may be empty: no such value
	}{
		{"max_connections", "15", "16", "1000000", "1000001"},
		{"shutdown_timeout", "999us", "1ms", "1h", "1h0m1s"},
		{"sign.weeks", "0", "1", "52", "53"},
		{"fetch.timeout", "0s", "1ms", "1h", "61m"},
		{"fetch.header_timeout", "0s", "1ms", "1h", "61m"},
		{"fetch.max_bytes", "1023", "1KiB", "1GiB", "1073741825"},
		{"fetch.max_pixels", "0", "1", "10000000000", "10000000001"},
		{"fetch.max_side", "0", "1", "65535", "65536"},
		{"fetch.max_frames", "0", "1", "1000000", "1000001"},
		{"fetch.max_animation_pixels", "0", "1", "1000000000000", "1000000000001"},
		{"fetch.max_redirects", "-1", "0", "20", "21"},
		{"fetch.concurrency", "0", "1", "10000", "10001"},
		{"fetch.per_host", "0", "1", "", ""}, // more is brought down to concurrency
		{"fetch.queue", "0", "1", "1000000", "1000001"},
		{"fetch.profiles", "[{hosts: [a.example], per_host: -1}]", "[{hosts: [a.example], per_host: 0}]", "[{hosts: [a.example], per_host: 10000}]", "[{hosts: [a.example], per_host: 10001}]"},
		{"fetch.profiles", "[{hosts: []}]", "[{hosts: [a.example]}]", "[{hosts: [a.example], user_agent: " + strings.Repeat("a", 256) + "}]", "[{hosts: [a.example], user_agent: " + strings.Repeat("a", 257) + "}]"},
		{"fetch.removed", "[{etag: '1234567'}]", "[{etag: '12345678'}]", "[{digest: " + strings.Repeat("ab", 32) + "}]", "[{digest: " + strings.Repeat("ab", 33) + "}]"},
		{"approve.timeout", "0s", "1ms", "1h", "61m"},
		{"approve.concurrency", "0", "1", "1000", "1001"},
		{"fetch.ports", "[0]", "[1]", "[65535]", "[65536]"},
		{"resize.workers", "-1", "0", "1024", "1025"},
		{"resize.queue", "0", "1", "1000000", "1000001"},
		{"resize.timeout", "0s", "1ms", "1h", "61m"},
		{"resize.quality", "0", "1", "100", "101"},
		{"resize.avif_quality", "0", "1", "100", "101"},
		{"resize.max_images", "0", "1", "1000000000", "1000000001"},
		{"resize.animation_pixels", "0", "1", "10000000000", "10000000001"},
		{"resize.sandbox", "''", "auto", "require", "on"},
		{"resize.sandbox", "false", "off", "", ""},
		{"resize.max_memory", "268435455", "256MiB", "1TiB", "1099511627777"},
		{"linkrot.interval", "23h", "24h", "87600h", "87601h"},
		{"linkrot.interval", "-1s", "0", "", ""},
		{"linkrot.rate", "0", "1", "1000", "1001"},
		{"store.min_free", "-1", "0", "1024TiB", "1125899906842625"},
		{"store.min_free_inodes", "-1", "0", "1099511627776", "1099511627777"},
		{"store.max_per_site", "1048575", "1MiB", "1024TiB", "1125899906842625"},
		{"store.max_per_site", "-1", "0", "", ""},
		{"nginx.max_links", "0", "1", "100000000", "100000001"},
		{"nginx.valid", "0s", "1s", "1m", "61s"},
		{"nginx.open_files", "0", "1", "1000000", "1000001"},
		{"sizes", "[0]", "[1]", "[65535]", "[65536]"},
		{"buckets", "[{name: i, max_bytes: 1023}]", "[{name: i, max_bytes: 1KiB}]", "[{name: i, max_bytes: 1GiB}]", "[{name: i, max_bytes: 1073741825}]"},
		{"buckets", "[{name: ''}]", "[{name: a}]", "[{name: abcdefghijklmnop}]", "[{name: abcdefghijklmnopq}]"},
		{"fetch.user_agent", "''", "a", strings.Repeat("a", 256), strings.Repeat("a", 257)},
		{"listen", "", ":0", ":65535", ":65536"},
		{"metrics.listen", "", "':0'", "':65535'", "':65536'"},
		{"listen", "'unix:'", "unix:/a", "unix:/" + strings.Repeat("a", 106), "unix:/" + strings.Repeat("a", 107)},
	} {
		text := func(value string) string {
			section, key, ok := strings.Cut(tt.key, ".")
			if !ok {
				return fmt.Sprintf("%s: %s", tt.key, value)
			}
			return fmt.Sprintf("%s: {%s: %s}", section, key, value)
		}
		for _, value := range []string{tt.least, tt.most} {
			if value == "" {
				continue
			}
			if _, _, err := load(t, text(value)); err != nil {
				t.Errorf("%s, which is allowed: %v", text(value), err)
			}
		}
		for _, value := range []string{tt.below, tt.above} {
			if value == "" {
				continue
			}
			if _, _, err := load(t, text(value)); err == nil {
				t.Errorf("%s is accepted", text(value))
			} else if n := len(messages(err)); n != 1 || !strings.Contains(err.Error(), tt.key) {
				t.Errorf("%s: %d messages, want one that names the key: %v", text(value), n, err)
			}
		}
	}
}

// Neighbours are not within each other, and without nginx nothing lies in hot.
func TestHotBesideRoot(t *testing.T) {
	for _, text := range []string{
		"handoff: nginx\nroot: /a\nnginx: {hot: /ab}",
		"handoff: nginx\nroot: /a/b\nnginx: {hot: /a/..b}",
		"root: /run",
	} {
		if _, _, err := load(t, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHosts(t *testing.T) {
	for _, good := range []string{"example.com", "*.example.com", "localhost", "192.0.2.1", "under_score.example", "xn--bcher-kva.example"} {
		if _, _, err := load(t, fmt.Sprintf("buckets: [{name: i, hosts: [%q]}]\nfetch: {deny_hosts: [%q]}", good, good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	// None of these would ever match a host.
	for _, bad := range []string{"", "*", ".example.com", "*example.com", "a.*.com", "https://example.com", "example.com/x", "example.com:80", "a..b", "a b.com", "**.example.com"} {
		_, _, err := load(t, fmt.Sprintf("buckets: [{name: i, hosts: [a.com, %q]}]", bad))
		if err == nil || !strings.Contains(err.Error(), "buckets[0].hosts[1]") {
			t.Errorf("hosts %q: %v", bad, err)
		}
		_, _, err = load(t, fmt.Sprintf("fetch: {deny_hosts: [%q]}", bad))
		if err == nil || !strings.Contains(err.Error(), "fetch.deny_hosts[0]") {
			t.Errorf("deny_hosts %q: %v", bad, err)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.yaml")
	if _, _, err := Load(missing, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing: %v", err)
	}
	if _, _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "it is a folder") {
		t.Errorf("a folder: %v", err)
	}
	comment := "#" + strings.Repeat("x", maxFile-1)
	if _, _, err := load(t, comment); err != nil {
		t.Errorf("as large as allowed: %v", err)
	}
	if _, _, err := load(t, comment+"x"); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("too large: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		get         func(Config) any
		want        any
	}{
		{"IMGKEEP_LISTEN", ":80", func(c Config) any { return c.Listen }, ":80"},
		{"IMGKEEP_SIGN_WEEKS", "3", func(c Config) any { return c.Sign.Weeks }, 3},
		{"IMGKEEP_SIGN_ALLOW_WEAK_SECRET", "true", func(c Config) any { return c.Sign.AllowWeakSecret }, true},
		{"IMGKEEP_FETCH_TIMEOUT", "5s", func(c Config) any { return c.Fetch.Timeout.String() }, "5s"},
		{"IMGKEEP_FETCH_MAX_BYTES", "2MiB", func(c Config) any { return c.Fetch.MaxBytes }, 2 * mebibyte},
		{"IMGKEEP_FETCH_MAX_PIXELS", "1000", func(c Config) any { return c.Fetch.MaxPixels }, int64(1000)},
		{"IMGKEEP_SIZES", "100, 200", func(c Config) any { return fmt.Sprint(c.Sizes) }, "[100 200]"},
		{"IMGKEEP_FORMATS", "png", func(c Config) any { return fmt.Sprint(c.Formats) }, "[png]"},
		{"IMGKEEP_FETCH_NETWORKS", "10.0.0.0/8,fd00::/8", func(c Config) any { return fmt.Sprint(c.Fetch.Networks) }, "[10.0.0.0/8 fd00::/8]"},
		{"IMGKEEP_BUCKETS", `[{"name":"a","hosts":["x.com","*.y.com"],"max_bytes":"1MiB"},{"name":"b"}]`,
			func(c Config) any { return fmt.Sprint(c.Buckets) }, "[{a [x.com *.y.com] 1MiB false} {b [] 0 false}]"},
		{"IMGKEEP_FETCH_PROFILES", `[{"hosts":["a.com","*.b.com"],"proxy":"direct"}]`, func(c Config) any { return fmt.Sprint(c.Fetch.Profiles) }, "[{[a.com *.b.com]   direct 0 [] false }]"},
		{"IMGKEEP_FETCH_REMOVED", `[{"etag":"12345678"}]`, func(c Config) any { return fmt.Sprint(c.Fetch.Removed) }, "[{ 12345678 }]"},
		{"IMGKEEP_FETCH_FALLBACKS", "https://a.com/{url},https://b.com/{url}", func(c Config) any { return len(c.Fetch.Fallbacks) }, 2},
		{"IMGKEEP_APPROVE_URL", "http://10.0.0.1/", func(c Config) any { return c.Approve.URL }, "http://10.0.0.1/"},
		{"IMGKEEP_SIGN_SECRETS", goodSecret + "," + otherSecret, func(c Config) any { return len(c.Sign.Secrets) }, 2},
		// Commas are part of the one secret.
		{"IMGKEEP_SECRET", goodSecret + "," + otherSecret, func(c Config) any { return string(c.Sign.Secrets[0]) }, goodSecret + "," + otherSecret},
		// Empty is not set.
		{"IMGKEEP_LISTEN", "", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
		{"IMGKEEP_SECRET", "", func(c Config) any { return len(c.Sign.Secrets) }, 0},
		{"IMGKEEP_NO_SUCH", "", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
		// Others' variables.
		{"IMGKEEP_SERVICE_HOST", "10.0.0.1", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
		{"IMGKEEP_SERVICE_PORT_HTTP", "80", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
		{"IMGKEEP_PORT", "tcp://10.0.0.1:80", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
		{"IMGKEEP_PORT_80_TCP_ADDR", "10.0.0.1", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
		{"IMGKEEP_NGINX_PORT_80_TCP", "tcp://10.0.0.1:80", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
		{"IMGKEEP_ACTIVE_HELP", "0", func(c Config) any { return c.Listen }, "127.0.0.1:8091"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv(tt.name, tt.value)
			c, _, err := Load("", nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.get(c); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestEnvironmentRefused(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"IMGKEEP_SIGN_WEEK", "3", "IMGKEEP_SIGN_WEEK: there is no such setting; did you mean IMGKEEP_SIGN_WEEKS?"},
		{"IMGKEEP_FETCH_PORT", "80", "IMGKEEP_FETCH_PORT: there is no such setting; did you mean IMGKEEP_FETCH_PORTS?"},
		{"IMGKEEP_FETCH", "{}", "IMGKEEP_FETCH: there is no such setting"},
		{"IMGKEEP_XYZ", "1", "IMGKEEP_XYZ: there is no such setting"},
		{"IMGKEEP_SIGN_WEEKS", "x", `IMGKEEP_SIGN_WEEKS: sign.weeks: "x" is not a whole number`},
		{"IMGKEEP_SIGN_WEEKS", "53", "IMGKEEP_SIGN_WEEKS: sign.weeks: 53 is not in the range 1 to 52"},
		{"IMGKEEP_SIGN_ALLOW_WEAK_SECRET", "yes", `IMGKEEP_SIGN_ALLOW_WEAK_SECRET: sign.allow_weak_secret: "yes" is neither true nor false`},
		{"IMGKEEP_SIZES", "100,,200", `IMGKEEP_SIZES: sizes[1]: "": want a length in pixels, such as 150; with 150 and 250 there are 150x250, 150x, x250 and all others of them`},
		{"IMGKEEP_SIZES", "[100]", `IMGKEEP_SIZES: sizes[0]: "[100]": want a length in pixels, such as 150; with 150 and 250 there are 150x250, 150x, x250 and all others of them`},
		{"IMGKEEP_BUCKETS", "i,f", `IMGKEEP_BUCKETS: buckets: it must be JSON, as in [{"name":"i","hosts":["*.example.com"]}]`},
		{"IMGKEEP_FETCH_PROFILES", "a.example", `IMGKEEP_FETCH_PROFILES: fetch.profiles: it must be JSON, as in [{"hosts":["*.example.com"],"per_host":1}]`},
		{"IMGKEEP_FETCH_REMOVED", "a.example", `IMGKEEP_FETCH_REMOVED: fetch.removed: it must be JSON, as in [{"url":"https://i.imgur.com/removed.png"}]`},
		{"IMGKEEP_BUCKETS", "[", `IMGKEEP_BUCKETS: buckets: it must be JSON, as in [{"name":"i","hosts":["*.example.com"]}]`},
		{"IMGKEEP_BUCKETS", "#", `IMGKEEP_BUCKETS: buckets: it must be JSON, as in [{"name":"i","hosts":["*.example.com"]}]`},
		{"IMGKEEP_BUCKETS", `["i"]`, "IMGKEEP_BUCKETS: buckets[0]: it must hold keys and values, as in {key: value}"},
		{"IMGKEEP_BUCKETS", `[{"nam":"i"}]`, "IMGKEEP_BUCKETS: buckets[0].nam: there is no such key; did you mean buckets[0].name?"},
		{"IMGKEEP_BUCKETS", `[{"name":"I"}]`, `IMGKEEP_BUCKETS: buckets[0].name: "I" is not a bucket's name: want 1 to 16 of a-z and 0-9`},
		{"IMGKEEP_BUCKETS", `[]`, "IMGKEEP_BUCKETS: buckets: it is empty, so that nothing could be kept"},
		{"IMGKEEP_SECRET", "short", "IMGKEEP_SECRET: sign.secrets: secret 1 of 1 has 5 bytes, fewer than 16: weak secret; sign.allow_weak_secret accepts it, for tests"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv(tt.name, tt.value)
			_, _, err := Load("", nil)
			if got := strings.Join(messages(err), "|"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("over the file", func(t *testing.T) {
		// The item is the variable's, not that of the file's second line.
		t.Setenv("IMGKEEP_SIZES", "0")
		_, _, err := load(t, "sizes:\n - 150")
		if got := messages(err); !slices.Equal(got, []string{"IMGKEEP_SIZES: sizes[0]: 0 is not in the range 1 to 65535"}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("two ways to give a secret", func(t *testing.T) {
		t.Setenv("IMGKEEP_SECRET", goodSecret)
		t.Setenv("IMGKEEP_SIGN_SECRETS", otherSecret)
		_, _, err := Load("", nil)
		if got := messages(err); !slices.Equal(got, []string{"IMGKEEP_SECRET: IMGKEEP_SIGN_SECRETS is set too, and only one of them can hold"}) {
			t.Errorf("got %q", got)
		}
	})
}

// A list that somebody adds, whose items have keys, needs an example.
func TestExamples(t *testing.T) {
	c := Default()
	for _, f := range fields(&c) {
		if f.value.Kind() != reflect.Slice || !isSection(f.value.Type().Elem()) {
			continue
		}
		t.Setenv(variable(f.key), examples[f.key])
		if _, _, err := Load("", nil); err != nil || examples[f.key] == "" {
			t.Errorf("%s: the example %s: %v", f.key, examples[f.key], err)
		}
	}
}

func TestWeakSecretsAreRefusedBySign(t *testing.T) {
	_, _, err := load(t, "sign: {secrets: ["+goodSecret+", changeme]}")
	if !errors.Is(err, sign.ErrWeakSecret) {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(err.Error(), "changeme") || strings.Contains(err.Error(), goodSecret) {
		t.Errorf("the message shows a secret: %v", err)
	}
	if _, _, err := load(t, "sign: {secrets: [changeme], allow_weak_secret: true}"); err != nil {
		t.Errorf("allowed, and refused: %v", err)
	}
	if _, _, err := load(t, "sign: {secrets: [''], allow_weak_secret: true}"); !errors.Is(err, sign.ErrNoSecret) {
		t.Errorf("an empty secret: %v", err)
	}
}
