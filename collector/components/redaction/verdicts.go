package redaction

import (
	"hash/maphash"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"unicode"
)

const (
	shards       = 64
	perShard     = 256 // of a generation, of which there are two: 8 MB at most, with texts as long as they may be
	longestKnown = 256 // bytes; a longer text is looked at each time
)

// known remembers what was found about a text. Telemetry says the same again and again, and a map answers twenty times as fast
// as a regular expression.
type known struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu         sync.RWMutex
	young, old map[string]bool
}

func newKnown() *known { return &known{seed: maphash.MakeSeed()} }

// ask for the verdict on a text, which is found by look when it is not known.
func (k *known) ask(text string, look func(string) bool) bool {
	if len(text) > longestKnown {
		return look(text)
	}
	home := &k.shards[maphash.String(k.seed, text)%shards]
	home.mu.RLock()
	verdict, found := home.young[text]
	if found {
		home.mu.RUnlock()
		return verdict
	}
	verdict, found = home.old[text]
	home.mu.RUnlock()
	if !found {
		verdict = look(text)
	}
	home.put(text, verdict)
	return verdict
}

// put in the young generation; when that is full, it becomes the old one: what is asked for stays, the rest goes.
func (s *shard) put(text string, verdict bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= perShard || s.young == nil {
		s.old, s.young = s.young, make(map[string]bool, perShard)
	}
	s.young[text] = verdict
}

// pattern is a regular expression, and a text that is in whatever it matches: "" where there is none that is easy to find.
type pattern struct {
	*regexp.Regexp
	always string
}

func compiled(expression string) (pattern, error) {
	found, err := regexp.Compile(expression)
	if err != nil {
		return pattern{}, err
	}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	return pattern{found, literal(parsed)}, err
}

// literal is the longest text of a sequence that has to be there as it is written.
func literal(parsed *syntax.Regexp) string {
	switch parsed.Op {
	case syntax.OpLiteral:
		if parsed.Flags&syntax.FoldCase != 0 && strings.ContainsFunc(string(parsed.Rune), unicode.IsLetter) {
			return ""
		}
		return string(parsed.Rune)
	case syntax.OpCapture, syntax.OpPlus:
		return literal(parsed.Sub[0])
	case syntax.OpConcat:
		longest := ""
		for _, part := range parsed.Sub {
			if found := literal(part); len(found) > len(longest) {
				longest = found
			}
		}
		return longest
	}
	return ""
}

func (p pattern) matches(text string) bool {
	return strings.Contains(text, p.always) && p.MatchString(text)
}
