//! The grammar of nginx's configuration: directives of words, each ended by a semicolon or a block.

/// A directive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directive {
    /// Its first word.
    pub name: String,
    /// The others, without their quotes.
    pub words: Vec<String>,
    /// A block follows it, which is not kept.
    pub has_block: bool,
}

/// The directives of a text, those within blocks left out.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn directives(text: &str) -> Result<Vec<Directive>, String> {
    let mut reader = TokenReader { rest: text };
    let (mut all, mut words, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    while let Some(token) = reader.token()? {
        match token {
            Token::Word(word) if depth == 0 => words.push(word),
            Token::Word(_) => {}
            Token::End if depth > 0 => {}
            Token::End | Token::Open => {
                let mut taken = std::mem::take(&mut words).into_iter();
                if depth == 0 {
                    let name = taken.next().ok_or("a directive without a name")?;
                    all.push(Directive { name, words: taken.collect(), has_block: token == Token::Open });
                }
                depth += usize::from(token == Token::Open);
            }
            Token::Close => depth = depth.checked_sub(1).ok_or("a `}` without its `{`")?,
        }
    }
    if depth > 0 {
        return Err("a `{` without its `}`".to_owned());
    }
    if let Some(word) = words.first() {
        return Err(format!("no `;` behind `{word}`"));
    }
    Ok(all)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct TokenReader<'t> {
    rest: &'t str,
}

impl TokenReader<'_> {
    fn token(&mut self) -> Result<Option<Token>, String> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                break;
            }
            self.rest = self.rest.find('\n').map_or("", |at| &self.rest[at..]);
        }
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let one = match first {
            ';' => Token::End,
            '{' => Token::Open,
            '}' => Token::Close,
            '"' | '\'' => return self.quoted(first).map(Some),
            _ => return Ok(Some(self.bare())),
        };
        self.rest = &self.rest[1..];
        Ok(Some(one))
    }

    fn quoted(&mut self, quote: char) -> Result<Token, String> {
        let (mut word, mut letters) = (String::new(), self.rest.char_indices().skip(1));
        while let Some((at, letter)) = letters.next() {
            match letter {
                // Another letter keeps its backslash, as in an expression.
                '\\' => match letters.next() {
                    Some((_, escaped)) if escaped == quote || escaped == '\\' => word.push(escaped),
                    Some((_, other)) => word.extend(['\\', other]),
                    None => break,
                },
                end if end == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Token::Word(word));
                }
                letter => word.push(letter),
            }
        }
        Err(format!("a {quote} that does not end"))
    }

    /// A word up to a space, a semicolon or a brace; `${` begins a variable.
    fn bare(&mut self) -> Token {
        let (mut word, mut letters) = (String::new(), self.rest.char_indices().peekable());
        let mut end = self.rest.len();
        let mut is_variable = false;
        while let Some((at, letter)) = letters.next() {
            let ends = letter.is_whitespace() || letter == ';' || matches!(letter, '{' | '}') && !is_variable;
            if ends && !(letter == '{' && word.ends_with('$')) {
                end = at;
                break;
            }
            is_variable = if letter == '{' { true } else { is_variable && letter != '}' };
            if letter == '\\'
                && let Some((_, escaped)) = letters.next_if(|(_, next)| matches!(next, ' ' | ';' | '{' | '}'))
            {
                word.push(escaped);
                continue;
            }
            word.push(letter);
        }
        self.rest = &self.rest[end..];
        Token::Word(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_words_that_end() {
        let read = directives("# a comment; with {\nadd_header X \"a b\\\"c\" always;more_set_headers 'X: ${host}';\nif ($a = b) { return 403; }\nreturn 200;").unwrap();
        let told: Vec<_> = read.iter().map(|one| (one.name.as_str(), one.words.join("|"), one.has_block)).collect();
        assert_eq!(
            told,
            [
                ("add_header", "X|a b\"c|always".to_owned(), false),
                ("more_set_headers", "X: ${host}".to_owned(), false),
                ("if", "($a|=|b)".to_owned(), true),
                ("return", "200".to_owned(), false),
            ]
        );
        assert_eq!(directives("set $a x${b}y;").unwrap()[0].words, ["$a", "x${b}y"]);
        assert_eq!(directives("").unwrap(), []);
    }

    #[test]
    fn what_does_not_end_is_told() {
        for (text, what) in [
            ("add_header X y", "no `;` behind `add_header`"),
            ("a \"b;", "a \" that does not end"),
            ("a { b;", "a `{` without its `}`"),
            ("}", "a `}` without its `{`"),
            (";", "a directive without a name"),
        ] {
            assert_eq!(directives(text).unwrap_err(), what);
        }
    }
}
