package kafkatraces

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A commit carries a text of at most offset.metadata.max.bytes, 4096 unless a broker says otherwise.
const longestNote = 4000

// A sane note is far smaller; a broken one must not take the memory.
const mostMessages = 1 << 20

// The first word of a note: which writing it is.
const writing = "v1"

// encode writes fates as "v1 COUNT FATES": how many messages were read, and the fates of as many of them, from the first on, as
// there is room for, four to a byte, deflated. Those without room are read again, and so come twice.
func encode(fates []fate) string {
	head := writing + " " + strconv.Itoa(len(fates)) + " "
	for fitting := fates; ; fitting = fitting[:len(fitting)/2] {
		text := head + base64.RawStdEncoding.EncodeToString(deflated(fitting))
		if len(text) <= longestNote {
			return text
		}
	}
}

func deflated(fates []fate) []byte {
	packed := make([]byte, (len(fates)+3)/4)
	for i, each := range fates {
		packed[i/4] |= byte(each) << (i % 4 * 2)
	}
	var out bytes.Buffer
	writer, _ := flate.NewWriter(&out, flate.BestSpeed) // the level is one there is
	_, _ = writer.Write(packed)                         // into memory
	_ = writer.Close()
	return out.Bytes()
}

// decode reads a note; a text by somebody else is an error, and means that everything is read again.
func decode(text string) ([]fate, error) {
	words := strings.Fields(text)
	if len(words) != 3 || words[0] != writing {
		return nil, fmt.Errorf("not a note of ours: %.40q", text)
	}
	count, err := strconv.Atoi(words[1])
	if err != nil || count < 0 || count > mostMessages {
		return nil, fmt.Errorf("a note on %.20q messages", words[1])
	}
	body, first := base64.RawStdEncoding.DecodeString(words[2])
	packed, second := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(body)), mostMessages/4))
	if err := errors.Join(first, second); err != nil {
		return nil, err
	}
	fates := make([]fate, count)
	for i := range min(count, 4*len(packed)) {
		fates[i] = fate(packed[i/4] >> (i % 4 * 2) & 3)
	}
	return fates, nil
}
