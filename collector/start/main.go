// Program otelcol-start checks what `otelcol validate` does not, names what is wrong in one line each, and then becomes the
// collector. It needs no shell, so it starts, and asks the health of, a collector in an image that has none.
//
//	otelcol-start --config FILE [...]     check, then run the collector with the same arguments
//	otelcol-start --check --config FILE   check only
//	otelcol-start --health [URL]          exit status 0 when the collector answers
//	otelcol-start --drain 90s             wait until its queues are empty, at most that long
//
// The collector is OTELCOL_BINARY, else `otelcol` beside this program, else the one on PATH.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const usage = `otelcol-start --config FILE [...]     check, then run the collector with the same arguments
otelcol-start --check --config FILE   check only
otelcol-start --health [URL]          exit status 0 when the collector answers
otelcol-start --drain 90s             wait until its queues are empty, at most that long
The collector is OTELCOL_BINARY, else "otelcol" beside this program, else the one on PATH.
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "otelcol-start:", err)
		if len(os.Args) > 1 && os.Args[1] == probe && cannotTell(err) {
			os.Exit(unknown)
		}
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) > 0 && (arguments[0] == "--help" || arguments[0] == "-h") {
		_, err := fmt.Print(usage)
		return err
	}
	if len(arguments) > 0 && arguments[0] == "--health" {
		return healthy(append(arguments[1:], "")[0])
	}
	if len(arguments) == 2 && arguments[0] == "--drain" {
		return drain(arguments[1])
	}
	if len(arguments) == 2 && arguments[0] == probe {
		return readQueue(arguments[1])
	}
	only := len(arguments) > 0 && arguments[0] == "--check"
	if only {
		arguments = arguments[1:]
	}
	program, err := collector()
	if err != nil {
		return err
	}
	problems := emptyVariables(configFiles(arguments))
	if len(problems) == 0 {
		config, err := effective(program, arguments)
		if err != nil {
			return err
		}
		problems = check(config, only)
		sayOrphans(config)
	}
	for _, problem := range problems[:max(len(problems)-1, 0)] {
		fmt.Fprintln(os.Stderr, "otelcol-start:", problem)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s", problems[len(problems)-1])
	}
	if only {
		return nil
	}
	return syscall.Exec(program, append([]string{program}, arguments...), environment())
}

// environment lets Go collect garbage half as often, which saves a fifth of the CPU of a span (docs/sizing.md), where
// GOMEMLIMIT bounds what that may take and GOGC is not set.
func environment() []string {
	if os.Getenv("GOMEMLIMIT") == "" || os.Getenv("GOGC") != "" {
		return os.Environ()
	}
	return append(os.Environ(), "GOGC=200")
}

func collector() (string, error) {
	if named := os.Getenv("OTELCOL_BINARY"); named != "" {
		return named, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "otelcol")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	found, err := exec.LookPath("otelcol")
	if err != nil {
		return "", fmt.Errorf("no collector: OTELCOL_BINARY is not set, and there is no otelcol beside this program or on PATH")
	}
	return found, nil
}

// configFiles are the files among the arguments; other sources (yaml:, env:) are the collector's own business.
func configFiles(arguments []string) []string {
	var files []string
	for i, argument := range arguments {
		value, found := strings.CutPrefix(argument, "--config=")
		if argument == "--config" && i+1 < len(arguments) {
			value, found = arguments[i+1], true
		}
		if value = strings.TrimPrefix(value, "file:"); found && !strings.HasPrefix(value, "yaml:") && !strings.HasPrefix(value, "env:") {
			files = append(files, value)
		}
	}
	return files
}

// effective is the configuration as the collector reads it, with every default.
func effective(program string, arguments []string) (map[string]any, error) {
	command := exec.Command(program, append([]string{"print-config", "--format=json", "--mode=unredacted"}, arguments...)...)
	var wrong strings.Builder
	command.Stderr = &wrong
	printed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s", oneLine(wrong.String(), err))
	}
	config := map[string]any{}
	if err := json.Unmarshal(printed, &config); err != nil {
		return nil, fmt.Errorf("%s print-config: %w", program, err)
	}
	return config, nil
}

func oneLine(text string, otherwise error) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(strings.TrimPrefix(line, "Error: ")); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		return otherwise.Error()
	}
	return strings.Join(kept, "; ")
}

func healthy(url string) error {
	if url == "" {
		address := os.Getenv("OTELCOL_HEALTH_ENDPOINT")
		if address == "" {
			address = "127.0.0.1:13133"
		}
		url = "http://" + strings.Replace(address, "0.0.0.0", "127.0.0.1", 1) + "/"
	}
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{Proxy: nil}}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return nil
}
