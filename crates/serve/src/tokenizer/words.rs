//! The built-in tokenizer: deterministic, and exact on its own answers.
//!
//! Layout of a vocabulary of `V` ids:
//!
//! | ids | stand for |
//! |---|---|
//! | `0..256` | bytes; 254 and 255, which no UTF-8 text contains, mark the start and end of a chat message |
//! | `256..36_760` | runs of 2 and 3 lower-case letters, each plain and with a space before it; only where `V >= 65_536` |
//! | the rest | words: a space and 1 to 3 syllables; answers are made of these alone |
//!
//! Words are self-delimiting, so word ids survive decoding and encoding. Other text becomes a known
//! word where a space and letters spell one, else runs of three letters, else bytes: about 3
//! letters per token.

const BYTES: u32 = 256;
const CONSONANTS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
const VOWELS: &[u8; 5] = b"aeiou";
const SYLLABLES: u32 = 100;
const PAIRS: u32 = 26 * 26;
const TRIPLES: u32 = 26 * 26 * 26;
/// With and without a leading space.
const RUNS: u32 = 2 * (PAIRS + TRIPLES);
/// A smaller vocabulary would have few words beside runs.
const RUNS_FROM_VOCABULARY: u32 = 65_536;
pub(super) const MESSAGE_START: u32 = 0xFE;
pub(super) const MESSAGE_END: u32 = 0xFF;
/// One, two and three syllables.
const MOST_WORDS: u32 = SYLLABLES + SYLLABLES * SYLLABLES + SYLLABLES * SYLLABLES * SYLLABLES;
/// The bytes and two words, so that answers are not constant.
pub(super) const LEAST_VOCABULARY: u32 = BYTES + 2;
pub(super) const MOST_VOCABULARY: u32 = BYTES + MOST_WORDS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    vocabulary: u32,
}

impl Words {
    /// `vocabulary` must lie between the two limits above.
    pub(super) fn new(vocabulary: u32) -> Self {
        debug_assert!((LEAST_VOCABULARY..=MOST_VOCABULARY).contains(&vocabulary));
        Self { vocabulary }
    }

    pub(super) const fn vocabulary(self) -> u32 {
        self.vocabulary
    }

    const fn has_runs(self) -> bool {
        self.vocabulary >= RUNS_FROM_VOCABULARY
    }

    pub(super) const fn first_word(self) -> u32 {
        if self.has_runs() { BYTES + RUNS } else { BYTES }
    }

    /// Nothing for ids outside the vocabulary.
    pub(super) fn append(self, id: u32, text: &mut Vec<u8>) {
        if id < BYTES {
            text.push(id as u8);
        } else if id < self.first_word() {
            append_run(id - BYTES, text);
        } else if id < self.vocabulary {
            append_word(id - self.first_word(), text);
        }
    }

    pub(super) fn encode(self, text: &str, ids: &mut Vec<u32>) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let spaced = bytes[at] == b' ';
            let letters = &bytes[at + usize::from(spaced)..];
            let run = letters.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
            if run == 0 {
                ids.push(u32::from(bytes[at]));
                at += 1;
                continue;
            }
            self.encode_letters(&letters[..run], spaced, ids);
            at += usize::from(spaced) + run;
        }
    }

    fn encode_letters(self, letters: &[u8], spaced: bool, ids: &mut Vec<u32>) {
        if let Some(word) = spaced.then(|| word_index(letters)).flatten() {
            let id = self.first_word() + word;
            if id < self.vocabulary {
                ids.push(id);
                return;
            }
        }
        let (mut spaced, mut letters) = (spaced, letters);
        while !letters.is_empty() {
            let take = if self.has_runs() { letters.len().min(3) } else { 1 };
            let (run, rest) = letters.split_at(take);
            if take == 1 {
                ids.extend(spaced.then_some(u32::from(b' ')));
                ids.push(u32::from(run[0]));
            } else {
                ids.push(BYTES + run_index(run, spaced));
            }
            (spaced, letters) = (false, rest);
        }
    }
}

fn word_index(letters: &[u8]) -> Option<u32> {
    if letters.is_empty() || letters.len() > 6 || !letters.len().is_multiple_of(2) {
        return None;
    }
    let mut index = 0;
    for pair in letters.chunks_exact(2) {
        let consonant = CONSONANTS.iter().position(|byte| *byte == pair[0])?;
        let vowel = VOWELS.iter().position(|byte| *byte == pair[1])?;
        index = index * SYLLABLES + consonant as u32 * 5 + vowel as u32;
    }
    // Shorter words have the lower indices.
    let shorter = match letters.len() {
        2 => 0,
        4 => SYLLABLES,
        _ => SYLLABLES + SYLLABLES * SYLLABLES,
    };
    Some(shorter + index)
}

fn append_word(index: u32, text: &mut Vec<u8>) {
    let syllable = |number: u32| [CONSONANTS[(number / 5) as usize], VOWELS[(number % 5) as usize]];
    text.push(b' ');
    if index < SYLLABLES {
        text.extend(syllable(index));
        return;
    }
    let index = index - SYLLABLES;
    if index < SYLLABLES * SYLLABLES {
        text.extend(syllable(index / SYLLABLES));
        text.extend(syllable(index % SYLLABLES));
        return;
    }
    let index = index - SYLLABLES * SYLLABLES;
    text.extend(syllable(index / (SYLLABLES * SYLLABLES)));
    text.extend(syllable(index / SYLLABLES % SYLLABLES));
    text.extend(syllable(index % SYLLABLES));
}

/// Two letters, then three; of each, plain before spaced.
fn run_index(letters: &[u8], spaced: bool) -> u32 {
    let number = letters.iter().fold(0, |sum, byte| sum * 26 + u32::from(byte - b'a'));
    let (base, kind) = if letters.len() == 2 { (0, PAIRS) } else { (2 * PAIRS, TRIPLES) };
    base + if spaced { kind } else { 0 } + number
}

fn append_run(index: u32, text: &mut Vec<u8>) {
    let (index, kind) =
        if index < 2 * PAIRS { (index, PAIRS) } else { (index - 2 * PAIRS, TRIPLES) };
    let letter = |number: u32| b'a' + (number % 26) as u8;
    if index >= kind {
        text.push(b' ');
    }
    let number = index % kind;
    if kind == TRIPLES {
        text.push(letter(number / 676));
    }
    text.push(letter(number / 26));
    text.push(letter(number));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(words: Words, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for id in ids {
            words.append(*id, &mut bytes);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_word_and_run_is_found_again() {
        for vocabulary in [LEAST_VOCABULARY, 4096, 65_536, 151_936] {
            let words = Words::new(vocabulary);
            for id in words.first_word()..vocabulary {
                let mut ids = Vec::new();
                words.encode(&decode(words, &[id]), &mut ids);
                assert_eq!(ids, [id], "vocabulary {vocabulary}");
            }
        }
        for index in 0..RUNS {
            let mut text = Vec::new();
            append_run(index, &mut text);
            let spaced = text[0] == b' ';
            assert_eq!(run_index(&text[usize::from(spaced)..], spaced), index);
        }
    }

    proptest! {
        #[test]
        fn answers_survive_being_decoded_and_encoded(
            vocabulary in LEAST_VOCABULARY..200_000,
            seeds in proptest::collection::vec(any::<u32>(), 0..200),
        ) {
            let words = Words::new(vocabulary);
            let span = vocabulary - words.first_word();
            let ids: Vec<u32> = seeds.iter().map(|s| words.first_word() + s % span).collect();
            let mut again = Vec::new();
            words.encode(&decode(words, &ids), &mut again);
            prop_assert_eq!(again, ids);
        }

        #[test]
        fn any_text_comes_back(text in ".*", vocabulary in LEAST_VOCABULARY..200_000) {
            let words = Words::new(vocabulary);
            let mut ids = Vec::new();
            words.encode(&text, &mut ids);
            prop_assert!(ids.iter().all(|id| *id < vocabulary));
            prop_assert_eq!(decode(words, &ids), text);
        }
    }
}
