package server_test

import (
	"testing"

	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
	"imgkeep/sign"
)

// What a link may ask for; package resize tests the rest of the rule.
func TestCheckSize(t *testing.T) {
	listed := resize.Listed{Sides: []int{100}, Presets: []string{"avatar"}}
	for l, good := range map[sign.Link]bool{
		{Size: "full"}: true, {Size: "info"}: true, {Size: "100x"}: true, {Size: "avatar"}: true,
		{Size: "101x"}: false, {Size: "avatars"}: false, {Size: "FULL"}: false, {Size: "full "}: false, {Size: ""}: false,
		{Size: "full", Proxy: true}: true, {Size: "info", Proxy: true}: false,
		{Size: "100x", Proxy: true}: false, {Size: "avatar", Proxy: true}: false,
	} {
		err := server.CheckSize(l, listed)
		want := "size"
		if l.Proxy {
			want = "proxy-size"
		}
		if good != (err == nil) || !good && server.Code(err) != want {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
