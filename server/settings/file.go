package settings

import (
	"fmt"
	"os"
	"strings"
)

// readSettingsFile reads lines of the form NAME=value: the format of systemd's EnvironmentFile and of Docker's --env-file.
// Blank lines and lines that begin with # are left out. A value may stand in single or double quotes, which are removed;
// nothing is expanded. A name that occurs twice is an error, since one of the two would be without effect.
func readSettingsFile(path string) (map[string]string, Problems) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, Problems{fmt.Sprintf("settings file: %v", err)}
	}
	values, wrong := map[string]string{}, Problems(nil)
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, text, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(strings.TrimPrefix(name, "export "))
		switch {
		case !ok || name == "" || strings.ContainsAny(name, " \t"):
			// The line may be half of a secret, so it is not repeated.
			wrong = append(wrong, fmt.Sprintf("%s line %d: want NAME=value", path, i+1))
			continue
		case name == settingsFileName:
			wrong = append(wrong, fmt.Sprintf("%s line %d: a settings file cannot name another one", path, i+1))
			continue
		}
		if _, twice := values[name]; twice {
			wrong = append(wrong, fmt.Sprintf("%s line %d: %s is there twice", path, i+1, name))
		}
		values[name] = unquote(strings.TrimSpace(text))
	}
	for name := range values {
		if !strings.HasPrefix(name, prefix) {
			wrong = append(wrong, fmt.Sprintf("%s: %s does not begin with %s", path, name, prefix))
			delete(values, name)
		}
	}
	return values, wrong
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
