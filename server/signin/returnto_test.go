package signin

import (
	"net/url"
	"strings"
	"testing"
)

const (
	testHome = "https://meet.example.org"
	testApp  = "https://app.example.org:8443"
)

func TestReturnAddress(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{
		"":                                 testHome + "/",
		"/":                                testHome + "/",
		"/my-room":                         testHome + "/my-room",
		"/my-room?a=b&c=%2F#part":          testHome + "/my-room?a=b&c=%2F#part",
		"/recording/1/":                    testHome + "/recording/1/",
		"/a%2Fb":                           testHome + "/a%2Fb",
		"/authors":                         testHome + "/authors",
		testHome:                           testHome + "/",
		testHome + "/room":                 testHome + "/room",
		"HTTPS://MEET.example.ORG/Room":    testHome + "/Room",
		testApp + "/room?x=1":              testApp + "/room?x=1",
		testApp:                            testApp + "/",
		"//evil.example":                   testHome + "/",
		"///evil.example":                  testHome + "/",
		"/\\evil.example":                  testHome + "/",
		"\\\\evil.example":                 testHome + "/",
		"/\t/evil.example":                 testHome + "/",
		"/\n/evil.example":                 testHome + "/",
		"\t//evil.example":                 testHome + "/",
		" //evil.example":                  testHome + "/",
		"/room\r\nSet-Cookie: a=b":         testHome + "/",
		"/r\x00oom":                        testHome + "/",
		"/r\u00f6\u202eom":                 testHome + "/",
		"room":                             testHome + "/",
		"../room":                          testHome + "/",
		"?a=b":                             testHome + "/",
		"#a":                               testHome + "/",
		"javascript:alert(1)":              testHome + "/",
		"javascript://meet.example.org/":   testHome + "/",
		"data:text/html,x":                 testHome + "/",
		"mailto:a@b.example":               testHome + "/",
		"https:evil.example":               testHome + "/",
		"https:/evil.example":              testHome + "/",
		"https:///evil.example":            testHome + "/",
		"https://evil.example":             testHome + "/",
		"http://meet.example.org/room":     testHome + "/",
		"https://meet.example.org:444/":    testHome + "/",
		"https://meet.example.org.evil/":   testHome + "/",
		"https://meet.example.org@evil/":   testHome + "/",
		"https://evil@meet.example.org/":   testHome + "/",
		"https://user:pw@app.example.org":  testHome + "/",
		"https://app.example.org/":         testHome + "/",
		"https://sub.app.example.org:8443": testHome + "/",
		"https://[::1/":                    testHome + "/",
		"/auth/login":                      testHome + "/",
		"/auth/login?silent=true":          testHome + "/",
		"/auth/../auth/logout":             testHome + "/",
		"/x/../auth/login":                 testHome + "/",
		"/%61uth/login":                    testHome + "/",
		testHome + "/auth/login":           testHome + "/",
		"/" + strings.Repeat("a", 2000):    testHome + "/",
	} {
		if got := ReturnAddress(asked, testHome, []string{testApp}); got != want {
			t.Errorf("ReturnAddress(%q) = %q, want %q", asked, got, want)
		}
	}
	if got := ReturnAddress("/room", "http://localhost:8080/", nil); got != "http://localhost:8080/room" {
		t.Errorf("with a public URL that ends in a slash: %s", got)
	}
}

func FuzzReturnAddress(f *testing.F) {
	for _, seed := range []string{"/room", "//evil", "/\\evil", testApp + "/x", "https://a@b", "/%2f/evil", "/a?b#c", "https:/\\evil"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		got := ReturnAddress(asked, testHome, []string{testApp})
		if !strings.HasPrefix(got, testHome+"/") && !strings.HasPrefix(got, testApp+"/") {
			t.Fatalf("ReturnAddress(%q) = %q leads elsewhere", asked, got)
		}
		if strings.ContainsFunc(got, unsafeInAddress) || len(got) > 3*maxReturnTo {
			t.Fatalf("ReturnAddress(%q) = %q", asked, got)
		}
		u, err := url.Parse(got)
		if err != nil || u.User != nil || (u.Host != "meet.example.org" && u.Host != "app.example.org:8443") {
			t.Fatalf("ReturnAddress(%q) = %q is read as %v, %v", asked, got, u, err)
		}
		if again := ReturnAddress(got, testHome, []string{testApp}); again != got && len(got) <= maxReturnTo {
			t.Fatalf("ReturnAddress(%q) = %q, and of that %q", asked, got, again)
		}
	})
}
