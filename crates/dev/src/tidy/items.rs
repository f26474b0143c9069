//! The items of a Rust source, and the names that each declaration mentions.
//!
//! This reads tokens and not a grammar: the extent of an item, its `impl`, and the manner of each
//! mention. Code for tests and a crate's `suite` is left out.

use std::collections::BTreeSet;

use super::views::Views;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Manner {
    /// A local name, or one that the file imports.
    Plain,
    /// Behind `::`, or in a macro or an attribute, which may do anything with it.
    Path,
    /// Behind a dot and before a parenthesis.
    Method,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mention {
    pub(super) manner: Manner,
    pub(super) name: String,
    /// First word of the path before it, where known.
    pub(super) root: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    /// `struct`, `enum`, `union` and `type`.
    Type,
    Trait,
    Constant,
    Macro,
    Implementation,
    /// Always reached: the call of a macro that makes items, a nameless constant.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) is_open: bool,
    /// Type (or trait) of its block, or the type that it implements a trait for.
    pub(super) owner: Option<String>,
    /// The trait of an [`Kind::Implementation`].
    pub(super) of_trait: Option<String>,
    pub(super) mentions: BTreeSet<Mention>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) root: String,
    /// `*` for all names of a module.
    pub(super) name: String,
    /// Re-exported.
    pub(super) is_open: bool,
}

#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) declared: Vec<Item>,
    pub(super) imports: BTreeSet<Import>,
    /// Modules in their own files, for tests or a suite only.
    pub(super) test_modules: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Word(String),
    Mark(char),
    /// Without its brackets, literals included.
    Attribute(String),
    /// `{name}` in a format literal.
    Formatted(String),
}

#[derive(Debug, Clone)]
struct Token {
    text: Text,
    line: usize,
}

impl Items {
    pub(super) fn of(source: &str) -> Self {
        let tokens = tokens(source);
        let mut items = Self::default();
        items.read(&tokens, None);
        items
    }

    fn read(&mut self, tokens: &[Token], owner: Option<&str>) {
        let mut at = 0;
        while at < tokens.len() {
            let start = at;
            let mut is_test = false;
            while let Some(Token { text: Text::Attribute(text), .. }) = tokens.get(at) {
                is_test |= is_for_tests(text);
                at += 1;
            }
            let is_open = is_open(tokens, at);
            at = behind_modifiers(tokens, at);
            let end = item_end(tokens, at);
            if !is_test {
                self.read_item(&tokens[start..end], at - start, is_open, owner);
            } else if word(tokens, at) == Some("mod") && mark(tokens, end - 1) == Some(';') {
                self.test_modules.extend(word(tokens, at + 1).map(str::to_owned));
            }
            at = end;
        }
    }

    fn read_item(&mut self, tokens: &[Token], at: usize, is_open: bool, owner: Option<&str>) {
        let name = word(tokens, at + 1).unwrap_or_default().to_owned();
        let mut push = |kind: Kind, name: String| {
            let line = tokens.get(at).map_or(0, |token| token.line);
            let mentions = mentions(tokens, kind == Kind::Other);
            let owner = owner.map(str::to_owned);
            self.declared.push(Item { kind, name, line, is_open, owner, of_trait: None, mentions });
        };
        match word(tokens, at) {
            Some("fn") => push(Kind::Function, name),
            Some("struct" | "enum" | "union" | "type") => push(Kind::Type, name),
            Some("const" | "static") if name != "_" => push(Kind::Constant, name),
            Some("macro_rules") => {
                push(Kind::Macro, word(tokens, at + 2).unwrap_or_default().to_owned());
            }
            Some("trait") => {
                let body = body_start(tokens, at);
                let mut own = Self::default();
                own.read(&tokens[body..tokens.len() - 1], Some(&name));
                push(Kind::Trait, name);
                self.declared.extend(own.declared);
            }
            Some("impl") => self.read_impl(tokens, at),
            Some("mod") => {
                let body = body_start(tokens, at);
                if body < tokens.len() {
                    self.read(&tokens[body..tokens.len() - 1], None);
                }
            }
            Some("use") => self.read_use(&tokens[at..], is_open),
            Some("extern") | None => {}
            Some(_) => push(Kind::Other, String::new()),
        }
    }

    fn read_impl(&mut self, tokens: &[Token], at: usize) {
        let body = body_start(tokens, at);
        let header = &tokens[at + 1..body.min(tokens.len())];
        let of = (0..header.len())
            .find(|i| word(header, *i) == Some("for") && mark(header, i + 1) != Some('<'));
        let name = |tokens: &[Token]| type_name(tokens).unwrap_or_default();
        let Some(of) = of else {
            let owner = name(behind_generics(header));
            return self.read(&tokens[body..tokens.len() - 1], Some(&owner));
        };
        self.declared.push(Item {
            kind: Kind::Implementation,
            name: String::new(),
            line: tokens[at].line,
            is_open: false,
            owner: Some(name(&header[of + 1..])),
            of_trait: Some(name(behind_generics(&header[..of]))),
            mentions: mentions(tokens, false),
        });
    }

    fn read_use(&mut self, tokens: &[Token], is_open: bool) {
        let root = tokens.iter().skip(1).find_map(|token| match &token.text {
            Text::Word(word) => Some(word.clone()),
            _ => None,
        });
        let root = root.unwrap_or_default();
        let import = |name: &str| Import { root: root.clone(), name: name.to_owned(), is_open };
        for (at, token) in tokens.iter().enumerate() {
            match &token.text {
                Text::Mark('*') => {
                    self.imports.insert(import("*"));
                }
                Text::Word(name) if mark(tokens, at + 1) != Some(':') => {
                    self.imports.insert(import(name));
                    if word(tokens, at + 1) == Some("as") {
                        let root = Some(root.clone());
                        let mention = Mention { manner: Manner::Path, name: name.clone(), root };
                        let mentions = BTreeSet::from([mention]);
                        let name = word(tokens, at + 2).unwrap_or_default().to_owned();
                        self.declared.push(Item {
                            kind: Kind::Other,
                            name,
                            line: token.line,
                            is_open: false,
                            owner: None,
                            of_trait: None,
                            mentions,
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

fn is_for_tests(attribute: &str) -> bool {
    let dense: String = attribute.split_whitespace().collect();
    ["cfg(test)", "test", "cfg(feature=\"suite\")", "cfg(any(test,feature=\"suite\"))"]
        .contains(&dense.as_str())
}

fn tokens(source: &str) -> Vec<Token> {
    let views = Views::of(source);
    let code: Vec<char> = views.code.chars().collect();
    let literals: Vec<char> = views.literals.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < code.len() {
        let (text, end) = match code[at] {
            '#' if let Some(end) = attribute_end(&code, at) => {
                let both = code[at..end].iter().zip(&literals[at..end]);
                let text: String =
                    both.map(|(c, literal)| if *c == ' ' { *literal } else { *c }).collect();
                let text = text.trim_start_matches(['#', '!', '[']).trim_end_matches(']');
                (Some(Text::Attribute(text.to_owned())), end)
            }
            c if is_word(c) => {
                let (word, end) = word_at(&code, at);
                (Some(Text::Word(word)), end)
            }
            c if !c.is_whitespace() => (Some(Text::Mark(c)), at + 1),
            _ if literals[at] == '{' && literals.get(at + 1).is_some_and(|c| is_word(*c)) => {
                let (word, end) = word_at(&literals, at + 1);
                (Some(Text::Formatted(word)), end)
            }
            _ => (None, at + 1),
        };
        tokens.extend(text.map(|text| Token { text, line }));
        line += code[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word_at(chars: &[char], at: usize) -> (String, usize) {
    let word: String = chars[at..].iter().copied().take_while(|c| is_word(*c)).collect();
    let end = at + word.chars().count();
    (word, end)
}

/// None where no attribute begins at `at`.
fn attribute_end(code: &[char], at: usize) -> Option<usize> {
    let open = if code.get(at + 1) == Some(&'!') { at + 2 } else { at + 1 };
    if code.get(open) != Some(&'[') {
        return None;
    }
    let mut depth = 0usize;
    for (offset, c) in code[open..].iter().enumerate() {
        match c {
            '[' => depth += 1,
            ']' if depth == 1 => return Some(open + offset + 1),
            ']' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn word(tokens: &[Token], at: usize) -> Option<&str> {
    match &tokens.get(at)?.text {
        Text::Word(word) => Some(word),
        _ => None,
    }
}

fn mark(tokens: &[Token], at: usize) -> Option<char> {
    match tokens.get(at)?.text {
        Text::Mark(mark) => Some(mark),
        _ => None,
    }
}

fn is_open(tokens: &[Token], at: usize) -> bool {
    word(tokens, at) == Some("pub")
        && (mark(tokens, at + 1) != Some('(') || word(tokens, at + 2) == Some("crate"))
}

fn behind_modifiers(tokens: &[Token], mut at: usize) -> usize {
    if word(tokens, at) == Some("pub") {
        at += 1;
        if mark(tokens, at) == Some('(') {
            at += tokens[at..].iter().take_while(|token| token.text != Text::Mark(')')).count() + 1;
        }
    }
    loop {
        let next = word(tokens, at + 1);
        match word(tokens, at) {
            Some("async" | "unsafe" | "default") if next.is_some() => at += 1,
            Some("const" | "extern") if matches!(next, Some("fn" | "unsafe" | "async")) => at += 1,
            _ => return at,
        }
    }
}

fn item_end(tokens: &[Token], at: usize) -> usize {
    let by_semicolon = matches!(word(tokens, at), Some("const" | "static" | "type" | "use"));
    let mut depth = 0usize;
    for (offset, token) in tokens[at..].iter().enumerate() {
        match token.text {
            Text::Mark('(' | '[' | '{') => depth += 1,
            Text::Mark(')' | ']') => depth = depth.saturating_sub(1),
            Text::Mark('}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 && !by_semicolon {
                    return at + offset + 1;
                }
            }
            Text::Mark(';') if depth == 0 => return at + offset + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// After the opening brace; the end where there is none.
fn body_start(tokens: &[Token], at: usize) -> usize {
    let brace = tokens[at..].iter().position(|token| token.text == Text::Mark('{'));
    brace.map_or(tokens.len(), |brace| at + brace + 1)
}

/// The rest after `<...>` at the start, if any.
fn behind_generics(tokens: &[Token]) -> &[Token] {
    if mark(tokens, 0) != Some('<') {
        return tokens;
    }
    let mut depth = 0usize;
    for at in 0..tokens.len() {
        match mark(tokens, at) {
            Some('<') => depth += 1,
            Some('>') if at > 0 && mark(tokens, at - 1) == Some('-') => {}
            Some('>') if depth == 1 => return &tokens[at + 1..],
            Some('>') => depth -= 1,
            _ => {}
        }
    }
    tokens
}

/// The last part of the path at the start: `Name` of `&'a mut module::Name<T>`.
fn type_name(tokens: &[Token]) -> Option<String> {
    let mut found = None;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match &token.text {
            Text::Mark('\'') => at += 1,
            Text::Word(word) if matches!(word.as_str(), "mut" | "dyn" | "const") => {}
            Text::Word(word) => {
                found = Some(word.clone());
                if mark(tokens, at + 1) != Some(':') {
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn mentions(tokens: &[Token], is_macro_call: bool) -> BTreeSet<Mention> {
    let mut found = BTreeSet::new();
    let mut add = |manner: Manner, name: &str, root: Option<&str>| {
        found.insert(Mention { manner, name: name.to_owned(), root: root.map(str::to_owned) });
    };
    for (at, token) in tokens.iter().enumerate() {
        match &token.text {
            Text::Word(name) if is_macro_call => {
                for manner in [Manner::Plain, Manner::Path, Manner::Method] {
                    add(manner, name, None);
                }
            }
            Text::Word(_) if at > 0 && word(tokens, at - 1) == Some("fn") => {}
            Text::Word(name) if is_behind_path(tokens, at) => {
                add(Manner::Path, name, path_root(tokens, at));
            }
            Text::Word(name) => {
                let before = |back: usize| at.checked_sub(back).and_then(|at| mark(tokens, at));
                if before(1) != Some('.') || before(2) == Some('.') {
                    add(Manner::Plain, name, None);
                } else if matches!(mark(tokens, at + 1), Some('(' | ':')) {
                    add(Manner::Method, name, None);
                }
            }
            Text::Attribute(text) => {
                for mention in attribute_mentions(text) {
                    add(mention.manner, &mention.name, mention.root.as_deref());
                }
            }
            Text::Formatted(name) => add(Manner::Plain, name, None),
            Text::Mark(_) => {}
        }
    }
    found
}

/// Its words, and paths in strings of attributes that make code of them.
fn attribute_mentions(text: &str) -> BTreeSet<Mention> {
    let mut found = BTreeSet::new();
    let makes_code = text.starts_with("serde") || text.starts_with("schemars");
    let is_path = |part: &str| part.chars().all(|c| c == ':' || is_word(c));
    for (number, part) in text.split('"').enumerate() {
        if number % 2 == 0 || makes_code && is_path(part) {
            found.extend(mentions(&tokens(part), false));
        }
    }
    if makes_code && text.contains("with = ") {
        for name in ["serialize", "deserialize"] {
            found.insert(Mention { manner: Manner::Path, name: name.to_owned(), root: None });
        }
    }
    found
}

fn is_behind_path(tokens: &[Token], at: usize) -> bool {
    at >= 2 && mark(tokens, at - 1) == Some(':') && mark(tokens, at - 2) == Some(':')
}

/// First word of the path that ends at `at`; None where a type or a macro begins it.
fn path_root(tokens: &[Token], mut at: usize) -> Option<&str> {
    while is_behind_path(tokens, at) {
        at = at.checked_sub(3)?;
        word(tokens, at)?;
    }
    word(tokens, at)
}
