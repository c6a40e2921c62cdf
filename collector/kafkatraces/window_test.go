package kafkatraces

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The committed offset never passes a message that is not settled, in whatever order the others are.
func TestTheOffsetStaysBeforeTheFirstUnsettledMessage(t *testing.T) {
	made := &window{}
	for offset := int64(10); offset < 14; offset++ {
		require.Equal(t, pending, made.open(offset, time.UnixMilli(1)))
	}
	made.settle(12, kept)
	made.settle(11, away)
	base, text, changed := made.note()
	require.True(t, changed)
	require.EqualValues(t, 10, base)
	fates, err := decode(text)
	require.NoError(t, err)
	require.Equal(t, []fate{pending, away, kept, pending}, fates)
	made.settle(10, kept)
	base, _, _ = made.note()
	require.EqualValues(t, 13, base)
	_, _, changed = made.note()
	require.False(t, changed)
	made.again()
	_, _, changed = made.note()
	require.True(t, changed)
}

// The next owner knows what was settled behind the offset, reads the rest, and may commit before it has read anything.
func TestTheNextOwnerReadsWhatWasNotSettled(t *testing.T) {
	made := &window{}
	made.restore(10, []fate{pending, away, kept, pending})
	_, _, changed := made.note()
	require.False(t, changed)
	require.Equal(t, pending, made.open(10, time.UnixMilli(1)))
	require.Equal(t, away, made.open(11, time.UnixMilli(1)))
	require.Equal(t, kept, made.open(12, time.UnixMilli(1)))
	require.Equal(t, pending, made.open(13, time.UnixMilli(1)))
	require.Equal(t, pending, made.open(14, time.UnixMilli(1)))
	made.settle(10, kept)
	base, text, _ := made.note()
	require.EqualValues(t, 13, base)
	fates, err := decode(text)
	require.NoError(t, err)
	require.Equal(t, []fate{pending, pending}, fates)
}

// Offsets without a message, of transactions and compaction, hold nothing up.
func TestGapsAreSettled(t *testing.T) {
	made := &window{}
	require.Equal(t, pending, made.open(5, time.UnixMilli(1)))
	require.Equal(t, pending, made.open(9, time.UnixMilli(1)))
	made.settle(5, kept)
	base, _, _ := made.note()
	require.EqualValues(t, 9, base)
	require.Equal(t, done, made.open(3, time.UnixMilli(1)), "settled before")
}

// What we have settled in an earlier term is not read again, though no commit of ours has reached the broker.
func TestAnEarlierTermOfOursIsRemembered(t *testing.T) {
	before := &window{}
	for offset := int64(10); offset < 16; offset++ {
		before.open(offset, time.UnixMilli(1))
	}
	for _, offset := range []int64{10, 11, 14} {
		before.settle(offset, kept)
	}
	require.Equal(t, []fate{away, done, pending, pending, kept, pending}, before.continued(10, []fate{away}))
	require.Equal(t, []fate{pending, away, kept, pending, kept}, before.continued(12, []fate{pending, away, kept, pending, kept})[:5])
	require.Empty(t, before.continued(20, nil))
}

// A note is never longer than a broker takes: what has no room is read again, and how far was read is still said.
func TestALongNoteSaysAsMuchAsThereIsRoomFor(t *testing.T) {
	fates := make([]fate, 100_000)
	for i := range fates {
		fates[i] = fate(rand.IntN(3)) // hardly to be compressed
	}
	text := encode(fates)
	require.LessOrEqual(t, len(text), longestNote)
	read, err := decode(text)
	require.NoError(t, err)
	require.Len(t, read, len(fates))
	require.Equal(t, fates[:5000], read[:5000])
	require.NotContains(t, read[50_000:], kept)
}

// A burst that was read and mostly sampled away, as it is behind a sampler, fits whole.
func TestAUsualNoteFitsWhole(t *testing.T) {
	fates := make([]fate, 40_000)
	for i := range fates {
		fates[i] = away
		if rand.IntN(20) == 0 {
			fates[i] = kept
		}
	}
	read, err := decode(encode(fates))
	require.NoError(t, err)
	require.Equal(t, fates, read)
}

// What somebody else wrote beside an offset, or what is broken, is an error and no panic.
func TestAForeignNoteIsAnError(t *testing.T) {
	good := encode([]fate{kept, away})
	for _, text := range []string{"", "x", "v2" + good[2:], "v1 -1 AA", "v1 99999999 AA", "v1 2 !!", good[:len(good)-3], "v1 4 " + strings.Repeat("/", 40)} {
		_, err := decode(text)
		require.Error(t, err, text)
	}
}

// A configuration that cannot work is named at the start.
func TestABadConfigurationIsNamed(t *testing.T) {
	require.NoError(t, defaultConfig().Validate())
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Brokers = nil },
		func(c *Config) { c.Topic = "" },
		func(c *Config) { c.GroupID = "" },
		func(c *Config) { c.SessionTimeout = 0 },
		func(c *Config) { c.CommitInterval = 0 },
		func(c *Config) { c.DrainTimeout = -1 },
	} {
		config := defaultConfig()
		spoil(config)
		require.Error(t, config.Validate())
	}
	for mechanism, ok := range map[string]bool{"PLAIN": true, "SCRAM-SHA-256": true, "SCRAM-SHA-512": true, "GSSAPI": false} {
		_, err := (&SASL{Mechanism: mechanism, Username: "u", Password: "p"}).mechanism()
		require.Equal(t, ok, err == nil, mechanism)
	}
	_, err := (&SASL{Mechanism: "PLAIN", Username: "u"}).mechanism()
	require.Error(t, err)
}

// The lag is told from the oldest message that is not settled, whatever was settled behind it.
func TestTheOldestUnsettledMessageTellsTheLag(t *testing.T) {
	made, now := &window{}, time.UnixMilli(100_000)
	_, _, known := made.behind(now)
	require.False(t, known)
	made.open(10, now.Add(-30*time.Second))
	made.open(11, now.Add(-20*time.Second))
	made.open(12, now.Add(time.Hour))
	made.settle(11, kept)
	base, waited, known := made.behind(now)
	require.True(t, known)
	require.EqualValues(t, 10, base)
	require.Equal(t, 30*time.Second, waited)
	made.settle(10, away)
	base, waited, _ = made.behind(now)
	require.EqualValues(t, 12, base)
	require.Zero(t, waited, "a clock that is ahead makes nothing negative")
	made.settle(12, away)
	base, waited, _ = made.behind(now)
	require.EqualValues(t, 13, base)
	require.Zero(t, waited)
}

// What an earlier owner has read is as old as nobody knows, until it is read again.
func TestARestoredMessageWaitsFromItsOwnTime(t *testing.T) {
	made, now := &window{}, time.UnixMilli(100_000)
	made.restore(10, []fate{pending, kept})
	_, waited, known := made.behind(now)
	require.True(t, known)
	require.Zero(t, waited)
	made.open(10, now.Add(-time.Minute))
	_, waited, _ = made.behind(now)
	require.Equal(t, time.Minute, waited)
}
