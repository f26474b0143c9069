// The index of llm-d-kv-cache in a loop: events in, lookups out, on one core. With "keys" it prints
// block keys instead, which are the fixture of crates/model.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/llm-d/llm-d-kv-cache/pkg/kvcache"
	"github.com/llm-d/llm-d-kv-cache/pkg/kvcache/kvblock"
)

const (
	blockTokens  = 16
	promptBlocks = 100
	prompts      = 2000
	pods         = 4
	model        = "m"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The tokens of a prompt; crates/router/benches/keyed.rs makes the same.
func tokens(prompt int) []uint32 {
	out := make([]uint32, promptBlocks*blockTokens)
	state := uint64(prompt)*0x9E3779B97F4A7C15 + 1
	for i := range out {
		state = state*6364136223846793005 + 1442695040888963407
		out[i] = uint32(state>>33) % 150000
	}
	return out
}

type keyCase struct {
	Seed   string   `json:"seed"`
	Model  string   `json:"model"`
	Block  int      `json:"block"`
	Tokens []uint32 `json:"tokens"`
	Extra  []string `json:"extra"`
	Keys   []uint64 `json:"keys"`
}

func printKeys() {
	wide := []uint32{0, 1, 23, 24, 255, 256, 65535, 65536, 151935, 2147483647, 2147483648, 4294967295}
	long := make([]uint32, 300)
	for i := range long {
		long[i] = uint32(i) * 7919 % 152064
	}
	cases := []keyCase{
		{Model: "Qwen/Qwen3-8B", Block: 4, Tokens: wide},
		{Seed: "42", Model: "Qwen/Qwen3-8B", Block: 4, Tokens: wide},
		{Seed: "0", Model: "", Block: 1, Tokens: wide},
		{Model: "a name of more than twenty-three bytes", Block: 16, Tokens: long[:50]},
		{Model: "m", Block: 300, Tokens: long},
		{Model: "m", Block: 4, Tokens: wide, Extra: []string{"salt"}},
		{Model: "m", Block: 4, Tokens: wide, Extra: []string{"one", "a hash of more than twenty-three bytes"}},
	}
	for i := range cases {
		c := &cases[i]
		tp, err := kvblock.NewChunkedTokenDatabase(
			&kvblock.TokenProcessorConfig{BlockSizeTokens: c.Block, HashSeed: c.Seed})
		check(err)
		var features []*kvblock.BlockExtraFeatures
		if c.Extra != nil {
			// In the first block only.
			features = make([]*kvblock.BlockExtraFeatures, len(c.Tokens)/c.Block)
			first := &kvblock.BlockExtraFeatures{}
			for _, text := range c.Extra {
				first.MMHashes = append(first.MMHashes, kvblock.MMHash{Hash: text})
			}
			features[0] = first
		}
		keys, err := tp.TokensToKVBlockKeys(kvblock.EmptyBlockHash, c.Tokens, c.Model, features)
		check(err)
		for _, key := range keys {
			c.Keys = append(c.Keys, uint64(key))
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	check(out.Encode(cases))
}

func report(what string, count int, since time.Time) {
	took := time.Since(since)
	fmt.Printf("%-28s %12.0f /s  %8.1f ns\n", what,
		float64(count)/took.Seconds(), float64(took.Nanoseconds())/float64(count))
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "keys" {
		printKeys()
		return
	}
	runtime.GOMAXPROCS(1)
	ctx := context.Background()
	tp, err := kvblock.NewChunkedTokenDatabase(
		&kvblock.TokenProcessorConfig{BlockSizeTokens: blockTokens})
	check(err)
	index, err := kvblock.NewInMemoryIndex(&kvblock.InMemoryIndexConfig{Size: 1 << 20, PodCacheSize: 10})
	check(err)
	scorer, err := kvcache.NewKVBlockScorer(kvcache.DefaultKVBlockScorerConfig())
	check(err)
	all := make([][]uint32, prompts)
	for p := range all {
		all[p] = tokens(p)
	}

	// Events of one block each, as an engine that decodes sends them.
	start := time.Now()
	for p, ids := range all {
		entry := []kvblock.PodEntry{{PodIdentifier: fmt.Sprintf("10.0.0.%d:8000", p%pods), DeviceTier: "gpu"}}
		parent := kvblock.EmptyBlockHash
		for b := 0; b < promptBlocks; b++ {
			if b > 0 {
				parent, err = index.GetRequestKey(ctx, kvblock.BlockHash(engineKey(p, b-1)))
				check(err)
			}
			keys, err := tp.TokensToKVBlockKeys(parent, ids[b*blockTokens:(b+1)*blockTokens], model, nil)
			check(err)
			check(index.Add(ctx, []kvblock.BlockHash{kvblock.BlockHash(engineKey(p, b))}, keys, entry))
		}
	}
	report("events of one block", prompts*promptBlocks, start)

	start = time.Now()
	keys := make([][]kvblock.BlockHash, prompts)
	for p, ids := range all {
		keys[p], err = tp.TokensToKVBlockKeys(kvblock.EmptyBlockHash, ids, model, nil)
		check(err)
	}
	report("keys of 100 blocks", prompts, start)

	const lookups = 20000
	start = time.Now()
	for i := 0; i < lookups; i++ {
		chain := keys[i%prompts]
		found, err := index.Lookup(ctx, chain, nil)
		check(err)
		scores, err := scorer.Score(ctx, chain, found)
		check(err)
		if len(scores) != 1 {
			check(fmt.Errorf("%d scores of prompt %d", len(scores), i%prompts))
		}
	}
	report("lookups of 100 blocks", lookups, start)

	start = time.Now()
	for p := range all {
		entry := []kvblock.PodEntry{{PodIdentifier: fmt.Sprintf("10.0.0.%d:8000", p%pods), DeviceTier: "gpu"}}
		for b := promptBlocks - 1; b >= 0; b-- {
			check(index.Evict(ctx, kvblock.BlockHash(engineKey(p, b)), kvblock.EngineKey, entry))
		}
	}
	report("removals of one block", prompts*promptBlocks, start)
}

// Engines name blocks by other hashes than the index.
func engineKey(prompt, block int) uint64 {
	x := uint64(prompt)*promptBlocks + uint64(block) + 1
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
