package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// secret is the one that all links are signed with unless a test is about secrets.
const secret = "the end-to-end tests' secret"

// link is a link of now, made by the words of the design and by nothing of the
// program's own code.
func link(bucket, size, url string) string {
	return signed(secret, bucket, size, base64.RawURLEncoding.EncodeToString([]byte(url)), "", time.Now())
}

func proxyLink(bucket, size, url string) string {
	return signed(secret, bucket, size, base64.RawURLEncoding.EncodeToString([]byte(url)), "/proxy", time.Now())
}

func signed(secret, bucket, size, extURL, extension string, at time.Time) string {
	s := signature(secret, bucket+"/"+extURL+extension, at)
	return "/" + bucket + "/" + size + "/" + s + "/" + extURL + extension
}

func signature(secret, message string, at time.Time) string {
	year, week := at.UTC().ISOWeek()
	mac := hmac.New(sha256.New, fmt.Appendf(nil, "%s%04d%02d", secret, year, week))
	mac.Write([]byte(message))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
}

// extURL is the part of a link that holds a URL.
func extURL(link string) string {
	return strings.Split(link, "/")[4]
}
