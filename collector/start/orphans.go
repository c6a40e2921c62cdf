package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sayOrphans names every queue file that no exporter of the configuration reads: an exporter that was renamed, as from otlp/x to
// otlp_grpc/x, leaves what it had queued behind without a word. Said, not stopped: the file may be somebody's of long ago.
func sayOrphans(config map[string]any) {
	extensions, _ := config["extensions"].(map[string]any)
	for _, name := range sorted(extensions) {
		settings, _ := extensions[name].(map[string]any)
		directory, _ := settings["directory"].(string)
		if kind, _, _ := strings.Cut(name, "/"); kind != "file_storage" || directory == "" {
			continue
		}
		entries, err := os.ReadDir(directory)
		if err != nil {
			continue
		}
		readers := readersOf(config, name)
		for _, entry := range entries {
			if file := entry.Name(); strings.HasPrefix(file, "exporter_") && !strings.Contains(file, ".") && !anyPrefix(file, readers) {
				fmt.Fprintf(os.Stderr, "otelcol-start: extensions::%s: no exporter reads the queue %s: rename it to what it belongs to (%s...), or move it away\n",
					name, filepath.Join(directory, file), strings.Join(readers, "..., "))
			}
		}
	}
}

// readersOf are the beginnings of the files that exporters keep in a store: exporter_otlp_grpc_tempo_traces.
func readersOf(config map[string]any, store string) []string {
	exporters, _ := config["exporters"].(map[string]any)
	var found []string
	for _, id := range sorted(exporters) {
		settings, _ := exporters[id].(map[string]any)
		queue, _ := settings["sending_queue"].(map[string]any)
		if queue["storage"] == store {
			kind, name, _ := strings.Cut(id, "/")
			found = append(found, "exporter_"+kind+"_"+name+"_")
		}
	}
	return found
}

func anyPrefix(text string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}
