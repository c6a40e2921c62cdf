package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// probe is this program's question to itself: a broken file ends bbolt by a panic in a goroutine of its own, which nothing in
// the same process can catch.
const probe = "--probe-queue"

// readQueue opens a queue file as file_storage does, which reads every page, and walks over its keys.
func readQueue(path string) error {
	database, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }()
	return database.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(_ []byte, bucket *bolt.Bucket) error {
			return bucket.ForEach(func(_, _ []byte) error { return nil })
		})
	})
}

// setAside renames every queue file in a directory that cannot be read, for `recreate` of file_storage 0.155 does not: an
// overwritten file keeps the collector from its start ("invalid database"), a damaged one ends it by a panic.
func setAside(where, directory string) []string {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", where, err)}
	}
	var problems []string
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || strings.Contains(entry.Name(), ".") {
			continue // a dot is in the names of what was set aside, by us or by file_storage, and of its compaction
		}
		if exec.Command(self, probe, path).Run() == nil {
			continue
		}
		aside := fmt.Sprintf("%s.broken-%d", path, time.Now().Unix())
		if err := os.Rename(path, aside); err != nil {
			problems = append(problems, fmt.Sprintf("%s: the queue file %s is broken and cannot be set aside: %v", where, path, err))
			continue
		}
		fmt.Fprintf(os.Stderr, "otelcol-start: %s: the queue file is broken and was set aside as %s: what waited in it is missing\n", where, aside)
	}
	return problems
}
