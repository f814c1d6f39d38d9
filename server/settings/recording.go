package settings

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// This file parses the settings of recordings and their storage.

var modeNames = map[string]usherv1.RecordingMode{
	"screen_recording": usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING,
	"transcript":       usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT,
}

func recordingModes(s string) ([]usherv1.RecordingMode, error) {
	if s == "none" {
		return []usherv1.RecordingMode{}, nil
	}
	return list(oneOf(modeNames))(s)
}

// folderName needs no escaping in any address, and is read in one way by every proxy.
var folderName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$`)

func objectFolder(s string) (string, error) {
	if !folderName.MatchString(s) {
		return "", fmt.Errorf("%q is not one name of letters, digits, '_', '-' and '.'", s)
	}
	return s, nil
}

// bucketPattern matches the bucket names that S3 allows.
var bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func bucketName(s string) (string, error) {
	if s != "" && !bucketPattern.MatchString(s) {
		return "", fmt.Errorf("%q is not the name of a bucket", s)
	}
	return s, nil
}

// maxDays is a century: more is "for ever".
const maxDays = 36500

func days(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxDays {
		return 0, fmt.Errorf("%q is not a number of days from 0 to %d", s, maxDays)
	}
	return n, nil
}

// duration may be 0, for no limit.
func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration, such as 90m or 4h; 0s for no limit", s)
	}
	return d, nil
}

func absolutePath(s string) (string, error) {
	if s != "" && !filepath.IsAbs(s) {
		return "", fmt.Errorf("%q is not an absolute path", s)
	}
	return s, nil
}

// summaryURL gets a secret with each call, and what it is told is about people.
func summaryURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return "", errors.New("want an address such as https://summary.example.org/tasks")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return "", errors.New("the address of the summary service begins with https:// (http:// is for localhost only)")
	}
	return s, nil
}
