package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// probe is this program's question to itself: a broken file ends bbolt by a panic in a goroutine of its own, which nothing in
// the same process can catch.
const probe = "--probe-queue"

// ledgerMagic is how the file of our ledger begins.
const ledgerMagic = "OTELDLG1"

// unknown is the probe's exit status where it could not look into the file: that says nothing about what is in it.
const unknown = 3

// errInUse is of a file that another collector has open.
var errInUse = errors.New("another process has it open: a collector that runs, or has not ended yet")

// readQueue opens a queue file as file_storage does, which reads every page, and walks over its keys.
func readQueue(path string) error {
	database, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return errInUse
	}
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
		broken, err := askAbout(self, path)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: the queue file %s cannot be looked into: %v", where, path, err))
		}
		if !broken {
			continue
		}
		aside, err := moveAside(path)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: the queue file %s is broken and cannot be set aside: %v", where, path, err))
			continue
		}
		fmt.Fprintf(os.Stderr, "otelcol-start: %s: the queue file is broken and was set aside as %s: what waited in it is missing\n", where, aside)
	}
	return problems
}

// moveAside keeps a broken file beside, under the name that is given back.
func moveAside(path string) (string, error) {
	aside := fmt.Sprintf("%s.broken-%d", path, time.Now().Unix())
	return aside, os.Rename(path, aside)
}

// ledger renames a file of counters that is none: the collector refuses it at every start, and in an image without a shell nobody
// can move it away. One that begins with zeros was never written.
func (c *checker) ledger(where, directory string) {
	path, head := filepath.Join(directory, "ledger.bin"), make([]byte, len(ledgerMagic))
	file, err := os.Open(path)
	if directory == "" || err != nil {
		return // in memory, not made yet, or the collector says it
	}
	_, _ = io.ReadFull(file, head) // a shorter file is as if zeros followed, for the collector makes it longer
	_ = file.Close()
	if string(head) == ledgerMagic || string(head) == string(make([]byte, len(head))) {
		return
	}
	aside, err := moveAside(path)
	if err != nil {
		c.wrong(where, "the ledger %s is broken and cannot be set aside: %v", path, err)
		return
	}
	fmt.Fprintf(os.Stderr, "otelcol-start: %s: the ledger is broken and was set aside as %s: it counts from zero\n", where, aside)
}

// askAbout runs the probe. A file is broken where the probe says so or panics; a probe that is killed, or cannot run, an open file
// and a missing right are errors: the queue of a collector that lives must stay where it is.
func askAbout(self, path string) (broken bool, err error) {
	said, err := exec.Command(self, probe, path).CombinedOutput()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return false, nil
	case !errors.As(err, &ended) || !ended.Exited():
		return false, err
	case ended.ExitCode() == unknown:
		return false, errors.New(strings.TrimPrefix(strings.TrimSpace(string(said)), "otelcol-start: "))
	}
	return true, nil
}

// cannotTell is whether reading failed for a reason outside the file.
func cannotTell(err error) bool {
	var refused syscall.Errno
	return errors.Is(err, errInUse) || errors.As(err, &refused)
}
