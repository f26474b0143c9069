//! Events to msgpack, byte for byte as vLLM's `msgspec` encoder writes them.
//!
//! Since vLLM 0.32 an event is a map with the tag `type`, without absent fields; before, it was an
//! array of its name and all fields. The batch is an array in both. There is one KV-cache group:
//! `group_idx` 0, `full_attention`.

use rmp::encode::{write_array_len, write_f64, write_map_len, write_nil, write_str, write_uint};
use weir_model::block::event_hash;

use super::event::{BlockHash, BlockRemoved, BlockStored, Event};

/// How events are laid out.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Maps, as vLLM 0.32 writes them.
    Map,
    /// Arrays, as vLLM wrote them before.
    Array,
}

const SPEC_KIND: &str = "full_attention";
const ALWAYS: &str = "writing to memory cannot fail";

/// Appends `[ts, [event, ...], data_parallel_rank]`. `seconds` counts from 1970.
pub fn encode_batch(out: &mut Vec<u8>, layout: Layout, seconds: f64, events: &[Event], rank: u16) {
    let mut writer = Writer { out };
    writer.array(3);
    write_f64(writer.out, seconds).expect(ALWAYS);
    writer.array(events.len());
    for event in events {
        match layout {
            Layout::Map => writer.event_map(event),
            Layout::Array => writer.event_array(event),
        }
    }
    writer.unsigned(u64::from(rank));
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn event_map(&mut self, event: &Event) {
        match event {
            Event::Stored(stored) => self.stored_map(stored),
            Event::Removed(removed) => self.removed_map(removed),
            Event::Cleared => {
                write_map_len(self.out, 1).expect(ALWAYS);
                self.pair("type", "AllBlocksCleared");
            }
        }
    }

    fn removed_map(&mut self, removed: &BlockRemoved) {
        write_map_len(self.out, 4).expect(ALWAYS);
        self.pair("type", "BlockRemoved");
        self.text("block_hashes");
        self.hashes(&removed.hashes);
        self.pair("medium", removed.medium);
        self.text("group_idx");
        self.unsigned(0);
    }

    fn stored_map(&mut self, stored: &BlockStored) {
        let source = stored.source;
        let said = u32::from(source.says_extra_keys()) + u32::from(source.says_layers());
        write_map_len(self.out, 9 + said).expect(ALWAYS);
        self.pair("type", "BlockStored");
        self.text("block_hashes");
        self.hashes(&stored.hashes);
        self.text("parent_block_hash");
        self.parent(stored.parent.as_ref());
        self.text("token_ids");
        self.tokens(&stored.token_ids);
        self.text("block_size");
        self.unsigned(u64::from(stored.block_tokens));
        self.text("lora_id");
        self.nil();
        self.pair("medium", stored.medium);
        self.text("lora_name");
        self.nil();
        if source.says_extra_keys() {
            self.text("extra_keys");
            self.extra_keys(stored);
        }
        self.text("group_idx");
        self.unsigned(0);
        if source.says_layers() {
            self.pair("kv_cache_spec_kind", SPEC_KIND);
        }
    }

    fn event_array(&mut self, event: &Event) {
        match event {
            Event::Stored(stored) => {
                self.array(12);
                self.text("BlockStored");
                self.hashes(&stored.hashes);
                self.parent(stored.parent.as_ref());
                self.tokens(&stored.token_ids);
                self.unsigned(u64::from(stored.block_tokens));
                self.nil();
                self.text(stored.medium);
                self.nil();
                if stored.source.says_extra_keys() {
                    self.extra_keys(stored);
                } else {
                    self.nil();
                }
                self.unsigned(0);
                if stored.source.says_layers() {
                    self.text(SPEC_KIND);
                } else {
                    self.nil();
                }
                self.nil();
            }
            Event::Removed(removed) => {
                self.array(4);
                self.text("BlockRemoved");
                self.hashes(&removed.hashes);
                self.text(removed.medium);
                self.unsigned(0);
            }
            Event::Cleared => {
                self.array(1);
                self.text("AllBlocksCleared");
            }
        }
    }

    /// One entry per block: null, except the cache salt in the first.
    fn extra_keys(&mut self, stored: &BlockStored) {
        self.array(stored.hashes.len());
        for block in 0..stored.hashes.len() {
            match &stored.salt {
                Some(salt) if block == 0 => {
                    self.array(1);
                    self.text(salt);
                }
                _ => self.nil(),
            }
        }
    }

    fn hashes(&mut self, hashes: &[BlockHash]) {
        self.array(hashes.len());
        for hash in hashes {
            self.hash(hash);
        }
    }

    fn parent(&mut self, hash: Option<&BlockHash>) {
        match hash {
            Some(hash) => self.hash(hash),
            None => self.nil(),
        }
    }

    /// The last eight bytes, vLLM's default (`VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=1`).
    fn hash(&mut self, hash: &BlockHash) {
        self.unsigned(event_hash(hash));
    }

    fn tokens(&mut self, tokens: &[u32]) {
        self.array(tokens.len());
        for token in tokens {
            self.unsigned(u64::from(*token));
        }
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.text(key);
        self.text(value);
    }

    fn text(&mut self, text: &str) {
        write_str(self.out, text).expect(ALWAYS);
    }

    fn array(&mut self, len: usize) {
        write_array_len(self.out, len as u32).expect(ALWAYS);
    }

    /// In the shortest form, as `msgspec` does.
    fn unsigned(&mut self, value: u64) {
        write_uint(self.out, value).expect(ALWAYS);
    }

    fn nil(&mut self) {
        write_nil(self.out).expect(ALWAYS);
    }
}
