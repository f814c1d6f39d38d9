package settings

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/telephony"
)

// into makes the set function of a setting from a parser and the place of the value. Parsers never repeat a value in their
// errors where it may be a secret.
func into[T any](parse func(string) (T, error), field func(*Config) *T) func(*Config, string) error {
	return func(c *Config, text string) error {
		v, err := parse(text)
		if err == nil {
			*field(c) = v
		}
		return err
	}
}

func anyText(s string) (string, error) { return strings.TrimSpace(s), nil }

func anySecret(s string) (Secret, error) { return Secret(s), nil }

// boolean is strict: "1", "yes" and "True" mean different things to different programs.
func boolean(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

// oneOf makes a parser of words.
func oneOf[T any](words map[string]T) func(string) (T, error) {
	return func(s string) (T, error) {
		v, ok := words[s]
		if !ok {
			names := make([]string, 0, len(words))
			for name := range words {
				names = append(names, name)
			}
			slices.Sort(names)
			return v, fmt.Errorf("%q is none of %s", s, strings.Join(names, ", "))
		}
		return v, nil
	}
}

func positiveDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a duration above 0, such as 30s, 10m or 12h", s)
	}
	return d, nil
}

func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a whole number of 0 or more", s)
	}
	return n, nil
}

// list makes a parser of values with commas between them.
func list[T any](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(s string) ([]T, error) {
		var all []T
		for _, item := range strings.Split(s, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			v, err := parse(item)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		if len(all) == 0 {
			return nil, errors.New("names nothing between the commas")
		}
		return all, nil
	}
}

// minSecret is how many random bytes a secret has at least.
const minSecret = 32

// strongSecret refuses what can be guessed. The text is used as it is; only its strength is judged by what it encodes:
// 64 hexadecimal digits and 44 characters of Base64 hold 32 bytes.
func strongSecret(s string) (Secret, error) {
	size := len(s)
	if b, err := hex.DecodeString(s); err == nil {
		size = len(b)
	} else if b, err := base64.StdEncoding.DecodeString(s); err == nil && strings.ContainsAny(s, "+/=") {
		size = len(b)
	}
	if size < minSecret {
		return "", fmt.Errorf(
			"is too weak: it holds %d bytes and needs %d; make one with: openssl rand -base64 32", size, minSecret,
		)
	}
	letters := map[rune]bool{}
	for _, r := range s {
		letters[r] = true
	}
	if len(letters) < 10 {
		return "", errors.New("is too weak: it repeats a few characters; make one with: openssl rand -base64 32")
	}
	return Secret(s), nil
}

func liveKitSecret(s string) (Secret, error) {
	if len(s) < minSecret {
		return "", fmt.Errorf("is too weak: it has %d characters and needs %d, here and in LiveKit's keys", len(s), minSecret)
	}
	return Secret(s), nil
}

// liveKitKey reads key:secret. Neither has a colon in LiveKit's own settings.
func liveKitKey(s string) (LiveKitKey, error) {
	key, text, ok := strings.Cut(s, ":")
	if !ok || key == "" {
		return LiveKitKey{}, errors.New("want key:secret for each key, as in LiveKit's keys")
	}
	secret, err := liveKitSecret(text)
	return LiveKitKey{Key: key, Secret: secret}, err
}

func readableFile(s string) (string, error) {
	f, err := os.Open(s)
	if err != nil {
		return "", err
	}
	return s, f.Close()
}

func languageTag(s string) (string, error) {
	if _, err := language.Parse(s); err != nil {
		return "", fmt.Errorf("%q is not a language such as en or pt-BR", s)
	}
	return s, nil
}

// ownParams are the parameters of a sign-in that are not the operator's to choose.
var ownParams = []string{
	"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
}

func keyValues(s string) (map[string]string, error) {
	pairs := map[string]string{}
	for _, item := range strings.Split(s, ",") {
		name, text, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not name=value", item)
		}
		if slices.Contains(ownParams, name) {
			return nil, fmt.Errorf("%s is set by the sign-in itself", name)
		}
		pairs[name] = text
	}
	return pairs, nil
}

var colour = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

func colourText(s string) (string, error) {
	if !colour.MatchString(s) {
		return "", fmt.Errorf("%q is not a colour of the form #1a2b3c", s)
	}
	return s, nil
}

// shownAddress checks an e-mail address that people see as it was written.
func shownAddress(s string) (string, error) {
	_, err := mailbox.Parse(s)
	return s, err
}

// rate makes a parser of "calls/period" for the named limit.
func rate(name string) func(string) (ratelimit.Limit, error) {
	return func(s string) (ratelimit.Limit, error) {
		if s == "off" {
			return ratelimit.Limit{Name: name}, nil
		}
		calls, period, ok := strings.Cut(s, "/")
		n, err := strconv.Atoi(calls)
		d, err2 := time.ParseDuration(period)
		if !ok || err != nil || err2 != nil || n < 1 || d <= 0 {
			return ratelimit.Limit{}, fmt.Errorf("%q is neither calls/period, such as 60/1m, nor off", s)
		}
		return ratelimit.Limit{Name: name, Burst: n, Period: d}, nil
	}
}

func timeOfDay(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time of day such as 03:30", s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

func logLevel(s string) (slog.Level, error) {
	return oneOf(map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	})(s)
}

var sourceNames = map[string]usherv1.TrackSource{
	"camera":             usherv1.TrackSource_TRACK_SOURCE_CAMERA,
	"microphone":         usherv1.TrackSource_TRACK_SOURCE_MICROPHONE,
	"screen_share":       usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE,
	"screen_share_audio": usherv1.TrackSource_TRACK_SOURCE_SCREEN_SHARE_AUDIO,
}

func trackSources(s string) ([]usherv1.TrackSource, error) {
	if s == "none" {
		return []usherv1.TrackSource{}, nil
	}
	return list(oneOf(sourceNames))(s)
}

var serviceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// ParseServiceToken reads name:sha256:scope+scope. `usher token hash` writes such a value.
func ParseServiceToken(s string) (ServiceToken, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return ServiceToken{}, errors.New("want name:sha256:scope+scope for each token, as `usher token hash` prints it")
	}
	t := ServiceToken{Name: parts[0], Hash: strings.ToLower(parts[1]), Scopes: strings.Split(parts[2], "+")}
	if !serviceName.MatchString(t.Name) {
		return t, errors.New("the name of a service has lower-case letters, digits and dashes only")
	}
	if hash, err := hex.DecodeString(t.Hash); err != nil || len(hash) != 32 {
		return t, fmt.Errorf(
			"service %s: want the SHA-256 of the token in 64 hexadecimal digits, as `usher token hash` prints it",
			t.Name,
		)
	}
	for _, scope := range t.Scopes {
		if !slices.Contains(serviceScopes, scope) {
			return t, fmt.Errorf("service %s: the scopes are %s, with + between them", t.Name, strings.Join(serviceScopes, ", "))
		}
	}
	return t, nil
}

// Scopes of API tokens, and those of service tokens.
var (
	apiScopes     = []string{auth.ScopeRead, auth.ScopeRooms, auth.ScopeRecordings, auth.ScopeInvitations}
	serviceScopes = append(slices.Clone(apiScopes), auth.ScopeTelephony)
)

func serviceTokens(s string) ([]ServiceToken, error) {
	tokens, err := list(ParseServiceToken)(s)
	seen, names := map[string]bool{}, map[string]string{}
	for _, t := range tokens {
		if seen[t.Name] {
			return nil, fmt.Errorf("service %s is there twice", t.Name)
		}
		if other, ok := names[t.Hash]; ok {
			return nil, fmt.Errorf("services %s and %s have the same token", other, t.Name)
		}
		seen[t.Name], names[t.Hash] = true, t.Name
	}
	return tokens, err
}

// pinLength: 16 digits are what LiveKit's phone bridge reads at most.
func pinLength(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 4 || n > 16 {
		return 0, fmt.Errorf("%q is not a number from 4 to 16", s)
	}
	return n, nil
}

var trunkID = regexp.MustCompile(`^ST_[A-Za-z0-9]+$`)

// trunks reads "ST_a,ST_b=+33123456789/+3222222222".
func trunks(s string) ([]telephony.ConfiguredTrunk, error) {
	found, err := list(trunk)(s)
	for i, t := range found {
		if slices.ContainsFunc(found[:i], func(o telephony.ConfiguredTrunk) bool { return o.ID == t.ID }) {
			return nil, fmt.Errorf("names %s twice", t.ID)
		}
	}
	return found, err
}

func trunk(s string) (telephony.ConfiguredTrunk, error) {
	id, numbers, some := strings.Cut(s, "=")
	t := telephony.ConfiguredTrunk{ID: strings.TrimSpace(id)}
	if !trunkID.MatchString(t.ID) {
		return t, fmt.Errorf("%q is not the id of a trunk, such as ST_abcDEF123456: ask LiveKit with `lk sip inbound list`", t.ID)
	}
	for part := range strings.SplitSeq(numbers, "/") {
		if !some {
			break
		}
		n, err := telephony.ParseNumber(strings.TrimSpace(part))
		if err != nil {
			return t, err
		}
		t.Numbers = append(t.Numbers, n)
	}
	return t, nil
}
