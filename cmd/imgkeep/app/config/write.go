package config

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// redacted stands for the password of a URL.
const redacted = "xxxxx"

// Write prints a configuration as YAML that Load reads again. A comment at each setting
// says where it was set, unless that is the default. It omits secrets and keys, and replaces
// passwords of proxies, values of profiles' headers and queries of approve.url and of
// hooks: the output may be shown to others.
func Write(w io.Writer, c Config, s Sources) error {
	secrets, tokens, hooks := len(c.Sign.Secrets), len(c.Access.Tokens), len(c.Hooks.Secrets)
	c.Sign.Secrets, c.Access.Tokens, c.Hooks.Secrets = nil, nil, nil
	var password, inProfile, inHeaders bool
	c.Fetch.Proxy, password = withoutPassword(c.Fetch.Proxy)
	c.Fetch.Profiles = slices.Clone(c.Fetch.Profiles)
	for i := range c.Fetch.Profiles {
		p, hidden := withoutPassword(c.Fetch.Profiles[i].Proxy)
		c.Fetch.Profiles[i].Proxy, inProfile = p, inProfile || hidden
		headers := slices.Clone(c.Fetch.Profiles[i].Headers)
		for j, h := range headers {
			name, _, _ := strings.Cut(h, ":")
			headers[j], inHeaders = name+": "+redacted, true
		}
		c.Fetch.Profiles[i].Headers = headers
	}
	var keys, sharedKeys bool
	c.Fetch.S3, keys = withoutKeys(c.Fetch.S3)
	c.Shared, sharedKeys = withoutSharedKeys(c.Shared)
	hidden := map[string]bool{} // keys whose query is
	for key, address := range map[string]*string{
		"approve.url": &c.Approve.URL, "hooks.removed.url": &c.Hooks.Removed.URL, "hooks.kept.url": &c.Hooks.Kept.URL, "hooks.failed.url": &c.Hooks.Failed.URL,
	} {
		if u, err := url.Parse(*address); err == nil && u.RawQuery != "" {
			u.RawQuery, hidden[key] = redacted, true
			*address = u.String()
		}
	}
	comment := func(key string) string {
		text := ""
		switch {
		case key == secretsKey && secrets == 0:
			text = "none is set; the server needs one"
		case key == secretsKey:
			text = fmt.Sprintf("%d hidden", secrets)
		case key == "fetch.profiles" && inHeaders:
			text = "passwords and headers hidden"
		case key == s3Key && keys, key == sharedKey+".secret_key" && sharedKeys:
			text = "keys hidden"
		case key == tokensKey && tokens > 0:
			text = fmt.Sprintf("%d hidden", tokens)
		case key == hooksKey && hooks > 0:
			text = fmt.Sprintf("%d hidden", hooks)
		case key == "fetch.proxy" && password, key == "fetch.profiles" && inProfile:
			text = "password hidden"
		case hidden[key]:
			text = "query hidden"
		}
		if source := s.Of(key); source != "default" {
			if text != "" {
				text += "; "
			}
			text += source
		}
		return text
	}
	var out yaml.Node
	if err := encode(&out, reflect.ValueOf(c), "", comment); err != nil {
		return err
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&out); err != nil {
		return err
	}
	return enc.Close()
}

// withoutKeys leaves the keys of object stores out, and tells whether there were any.
func withoutKeys(list []S3Origin) (without []S3Origin, had bool) {
	without = slices.Clone(list)
	for i := range without {
		had = had || without[i].SecretKey != ""
		without[i].AccessKey, without[i].SecretKey = "", ""
	}
	return without, had
}

// withoutPassword replaces the password of a URL, and tells whether there was one.
func withoutPassword(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil {
		return s, false
	}
	if _, has := u.User.Password(); !has {
		return s, false
	}
	return u.Redacted(), true
}

// encode fills a node with a value. Lists and their items stand on one line.
func encode(n *yaml.Node, v reflect.Value, key string, comment func(key string) string) error {
	switch {
	case isSection(v.Type()):
		n.Kind = yaml.MappingNode
		for i := range v.NumField() {
			name := keyOf(v.Type().Field(i))
			child := join(key, name)
			var value yaml.Node
			if err := encode(&value, v.Field(i), child, comment); err != nil {
				return err
			}
			k := &yaml.Node{Kind: yaml.ScalarNode, Value: name}
			if text := comment(child); text == "" {
			} else if value.Style == yaml.FlowStyle || value.Kind == yaml.ScalarNode {
				value.LineComment = "# " + text
			} else {
				k.LineComment = "# " + text
			}
			n.Content = append(n.Content, k, &value)
		}
	case v.Kind() == reflect.Slice:
		n.Kind = yaml.SequenceNode
		if !isSection(v.Type().Elem()) || v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			var value yaml.Node
			none := func(string) string { return "" }
			if err := encode(&value, v.Index(i), "", none); err != nil {
				return err
			}
			if value.Kind == yaml.MappingNode {
				value.Style = yaml.FlowStyle
			}
			n.Content = append(n.Content, &value)
		}
	default:
		if size, ok := v.Interface().(ByteSize); ok && size == 0 {
			return n.Encode(0) // as text it would be quoted
		}
		return n.Encode(v.Interface())
	}
	return nil
}
