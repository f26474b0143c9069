//! A Rust source as code, comments and literals: three texts of equal layout, each with the others
//! blanked. So a rule about code ignores comments.
//!
//! A lexer for these classes only: line and nested block comments, strings (raw and escaped), and
//! characters as opposed to lifetimes.

/// Lines and columns (in characters) are those of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Views {
    /// Without comments and quoted text.
    pub(super) code: String,
    pub(super) comments: String,
    /// Quoted text only.
    pub(super) literals: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Code,
    Comment,
    Literal,
}

impl Views {
    pub(super) fn of(source: &str) -> Self {
        let chars: Vec<char> = source.chars().collect();
        let mut views =
            Self { code: String::new(), comments: String::new(), literals: String::new() };
        let mut at = 0;
        while at < chars.len() {
            let (class, end) = token(&chars, at);
            views.push(class, &chars[at..end]);
            at = end;
        }
        views
    }

    fn push(&mut self, class: Class, chars: &[char]) {
        let views = [
            (Class::Code, &mut self.code),
            (Class::Comment, &mut self.comments),
            (Class::Literal, &mut self.literals),
        ];
        for (of, view) in views {
            view.extend(chars.iter().map(|c| if of == class || *c == '\n' { *c } else { ' ' }));
        }
    }
}

/// Class and end of the token at `at`.
fn token(chars: &[char], at: usize) -> (Class, usize) {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => {
            let rest = chars[at..].iter().position(|c| *c == '\n');
            (Class::Comment, rest.map_or(chars.len(), |length| at + length))
        }
        '/' if next == Some('*') => (Class::Comment, block_comment_end(chars, at)),
        '"' => (Class::Literal, string_end(chars, at + 1)),
        '\'' => match next {
            Some('\\') => (Class::Literal, character_end(chars, at + 2)),
            Some(_) if chars.get(at + 2) == Some(&'\'') => (Class::Literal, at + 3),
            // A lifetime, or a loop's label.
            _ => (Class::Code, at + 1),
        },
        c if c == '_' || c.is_alphabetic() => word(chars, at),
        _ => (Class::Code, at + 1),
    }
}

/// Code; the prefix of a raw string is code followed by a literal.
fn word(chars: &[char], at: usize) -> (Class, usize) {
    let is_part = |c: &&char| **c == '_' || c.is_alphanumeric();
    let end = at + chars[at..].iter().take_while(is_part).count();
    let prefix: String = chars[at..end].iter().collect();
    if matches!(prefix.as_str(), "r" | "br" | "cr") {
        let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
        if chars.get(end + hashes) == Some(&'"') {
            return (Class::Literal, raw_string_end(chars, end + hashes + 1, hashes));
        }
    }
    (Class::Code, end)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0usize);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        let closes = chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    chars.len()
}

/// Of a character whose escape begins before `at`.
fn character_end(chars: &[char], at: usize) -> usize {
    let rest = chars.iter().skip(at + 1).position(|c| *c == '\'');
    rest.map_or(chars.len(), |length| at + length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        Views::of(source).code
    }

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        let views = Views::of("let a = \"{ // no\"; // {\n");
        assert_eq!(views.code, "let a =          ;     \n");
        assert_eq!(views.comments, "                   // {\n");
        assert_eq!(views.literals, "        \"{ // no\"      \n");
    }

    #[test]
    fn characters_are_not_lifetimes() {
        assert_eq!(code("f('{', '\\'', '\\u{7b}')"), "f(   ,     ,         )");
        assert_eq!(code("fn f<'a>(a: &'a str)"), "fn f<'a>(a: &'a str)");
        assert_eq!(code("'out: loop {}"), "'out: loop {}");
    }

    #[test]
    fn raw_strings_end_at_their_own_quote() {
        assert_eq!(code("r#\"a\"{\"#; x"), "        ; x");
        assert_eq!(code("r\"\\\"; x"), "    ; x");
        assert_eq!(code("for_r(\"\")"), "for_r(  )");
    }

    #[test]
    fn block_comments_nest() {
        assert_eq!(code("a /* { /* } */ { */ b"), "a                   b");
    }

    #[test]
    fn an_open_end_is_no_panic() {
        for source in ["\"a", "r#\"a", "/* a", "'\\", "'", "\"\\", "/*/"] {
            assert_eq!(Views::of(source).code.chars().count(), source.chars().count(), "{source}");
        }
    }

    #[test]
    fn layout_is_kept() {
        let source = include_str!("views.rs");
        let views = Views::of(source);
        for view in [&views.code, &views.comments, &views.literals] {
            let lengths = |text: &str| -> Vec<usize> {
                text.lines().map(|line| line.chars().count()).collect()
            };
            assert_eq!(lengths(view), lengths(source));
        }
    }
}
