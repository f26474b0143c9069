//! From token ids to symbolic prompts, and back.
//!
//! The engine compares symbolic pieces; live requests bring token ids. A radix tree gives every new
//! suffix its own content, so two prompts agree in their pieces exactly as far as in their tokens.
//! An answer is a content whose tokens are a function of it, so the tree holds it from its request
//! on. A later prompt that quotes it gets the same pieces and hits its KV.
//!
//! Above a limit the least recently used leaves are forgotten, never those of requests in flight. A
//! forgotten prompt comes back as a new content, as if evicted everywhere.
//!
//! One case is inexact: if a prompt continues an equal one with the first token of its answer, the
//! answer is not in the tree. Quoting it later does not reuse its KV. Another choice of answer
//! would make outputs depend on the server's history.

mod answers;
mod tree;

use std::collections::HashMap;

use weir_model::prompt::push_piece;
use weir_model::{ContentId, Piece, Prompt};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

pub use self::answers::AnswerVocabulary;
use self::answers::{answer_content, is_answer};
use self::tree::{NodeId, Run, Tree};
use crate::token_ids::TokenIds;

/// Held in the interner until [`Interner::release`].
#[derive(Debug)]
pub struct Interned {
    pub prompt: Prompt,
    /// Leading tokens that the interner knew before.
    pub known_tokens: u32,
    pub answer: ContentId,
    prompt_end: NodeId,
    answer_end: Option<NodeId>,
}

#[derive(Debug)]
pub struct Interner {
    tree: Tree,
    limit_tokens: u64,
    next_content: u64,
    pieces: Vec<Piece>,
    /// Salts as received, by their names in the tree; KV events contain them.
    salts: HashMap<u64, Box<str>>,
}

/// Salts of forgotten prompts that may be kept.
const SPARE_SALTS: usize = 1024;

impl Interner {
    /// `limit_tokens` is approximate, at 4 bytes per token.
    pub fn new(answers: AnswerVocabulary, limit_tokens: u64) -> Self {
        Self {
            tree: Tree::new(answers),
            limit_tokens,
            next_content: 0,
            pieces: Vec::new(),
            salts: HashMap::new(),
        }
    }

    /// Prompts with different salts share nothing; answers to one prompt differ by `seed`.
    pub fn intern(&mut self, ids: &[u32], salt: &str, seed: u64, answer_tokens: u32) -> Interned {
        let salt = self.salt_name(salt);
        let mut end = self.tree.root(salt);
        // Held from the start, so that making room below cannot remove the path.
        self.pieces.clear();
        let mut at = 0;
        while at < ids.len() {
            let Some(child) = self.tree.child(end, ids[at]) else { break };
            let agreed = self.tree.agreement(child, &ids[at..]);
            let piece = self.tree.piece(child);
            push_piece(&mut self.pieces, Piece { len: agreed, ..piece });
            at += agreed as usize;
            end = if agreed < piece.len { self.tree.split(child, agreed) } else { child };
        }
        let known_tokens = at as u32;
        if at < ids.len() {
            let content = ContentId(self.next_content);
            self.next_content += 1;
            let rest: Box<[u32]> = ids[at..].into();
            push_piece(&mut self.pieces, Piece::new(content, rest.len() as u32));
            end = self.tree.grow(end, content, 0, Run::Prompt(rest));
        }
        self.tree.hold(end);
        let answer = answer_content(answer_name(ids, salt, seed));
        let answer_end = self.reserve(end, answer, answer_tokens);
        if let Some(answer_end) = answer_end {
            self.tree.hold(answer_end);
        }
        while self.tree.held() > self.limit_tokens && self.tree.forget_one() {}
        let prompt = Prompt::new(self.pieces.iter().copied());
        Interned { prompt, known_tokens, answer, prompt_end: end, answer_end }
    }

    fn salt_name(&mut self, salt: &str) -> u64 {
        if salt.is_empty() {
            return 0;
        }
        let name = xxh3_64_with_seed(salt.as_bytes(), 1);
        if self.salts.insert(name, salt.into()).is_none()
            && self.salts.len() > SPARE_SALTS.max(2 * self.tree.roots())
        {
            self.salts.retain(|held, _| *held == name || self.tree.has_root(*held));
        }
        name
    }

    /// Adds what is missing of an answer below the end of its prompt.
    fn reserve(&mut self, prompt_end: NodeId, answer: ContentId, tokens: u32) -> Option<NodeId> {
        let (mut end, mut at) = (prompt_end, 0);
        while at < tokens {
            let token = self.tree.answers().token(answer, at);
            let Some(child) = self.tree.child(end, token) else {
                return Some(self.tree.grow(end, answer, at, Run::Answered(tokens - at)));
            };
            let piece = self.tree.piece(child);
            if piece.content != answer || piece.start != at {
                return None;
            }
            at += piece.len;
            end = child;
        }
        Some(end)
    }

    pub fn release(&mut self, interned: &Interned) {
        self.tree.release(interned.prompt_end);
        if let Some(answer_end) = interned.answer_end {
            self.tree.release(answer_end);
        }
    }

    pub fn answer_token(&self, answer: ContentId, index: u32) -> u32 {
        self.tree.answers().token(answer, index)
    }

    /// Includes the tree's own cost in tokens.
    pub const fn held_tokens(&self) -> u64 {
        self.tree.held()
    }
}

impl TokenIds for Interner {
    fn cache_salt(&self, path: &[Piece]) -> Option<&str> {
        let salt = self.tree.salt_above(path.first()?.content)?;
        self.salts.get(&salt).map(AsRef::as_ref)
    }

    fn append_token_ids(&self, pieces: &[Piece], ids: &mut Vec<u32>) -> bool {
        let before = ids.len();
        for piece in pieces {
            if is_answer(piece.content) {
                let range = piece.start..piece.start + piece.len;
                ids.extend(range.map(|at| self.tree.answers().token(piece.content, at)));
            } else if !self.tree.append(*piece, ids) {
                ids.truncate(before);
                return false;
            }
        }
        true
    }
}

/// Hash of all that an answer depends on: prompt tokens, salt and seed.
fn answer_name(ids: &[u32], salt: u64, seed: u64) -> u64 {
    let mut hash = Xxh3::with_seed(seed ^ salt.rotate_left(32));
    let mut bytes = [0u8; 4 * 256];
    for part in ids.chunks(256) {
        for (slot, id) in bytes.chunks_exact_mut(4).zip(part) {
            slot.copy_from_slice(&id.to_le_bytes());
        }
        hash.update(&bytes[..4 * part.len()]);
    }
    hash.digest()
}
