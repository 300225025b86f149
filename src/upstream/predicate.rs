//! Conditions as texts: comparisons of functions with constants, joined by `&&` and `||`. The language of circuit breakers and retries in
//! Traefik 1.7, as vulcand's `predicate` reads it.

use std::fmt;

/// Bytes of a text at most.
const TEXT_MAX: usize = 1_024;
/// Parentheses within parentheses at most.
const DEPTH_MAX: u32 = 16;

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// One of these holds.
    Any(Vec<Self>),
    /// All of these hold.
    All(Vec<Self>),
    /// This holds.
    Holds(Comparison),
}

/// A function, compared with a constant; or by itself, where it is true or false.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The name of the function.
    pub function: String,
    /// What stands in its parentheses.
    pub arguments: Vec<f64>,
    /// How it is compared, and with what; `None` for a function by itself.
    pub with: Option<(Comparator, Constant)>,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparator {
    /// `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    AtMost,
    /// `>`.
    Greater,
    /// `>=`.
    AtLeast,
}

/// What a function is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// A number.
    Number(f64),
    /// A text in double quotes.
    Text(String),
}

impl Comparator {
    /// The longer ones first: `<=` begins with `<`.
    const WRITTEN: [(&str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    /// True where the one is so to the other.
    #[must_use]
    pub fn holds<T: PartialOrd>(self, one: T, other: T) -> bool {
        match self {
            Self::Equal => one == other,
            Self::NotEqual => one != other,
            Self::Less => one < other,
            Self::AtMost => one <= other,
            Self::Greater => one > other,
            Self::AtLeast => one >= other,
        }
    }
}

impl Predicate {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("it has {} bytes, and {TEXT_MAX} are enough", text.len()));
        }
        let mut reader = PredicateReader { text, rest: text, depth: 0 };
        let read = reader.any()?;
        reader.space();
        if reader.rest.is_empty() { Ok(read) } else { Err(reader.expected("`&&`, `||` or the end")) }
    }

    /// Whether it holds, where this says which comparisons do.
    pub fn holds(&self, is_so: &mut impl FnMut(&Comparison) -> bool) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(is_so)),
            Self::All(parts) => parts.iter().all(|part| part.holds(is_so)),
            Self::Holds(comparison) => is_so(comparison),
        }
    }
}

struct PredicateReader<'t> {
    text: &'t str,
    rest: &'t str,
    depth: u32,
}

impl<'t> PredicateReader<'t> {
    fn expected(&self, what: impl fmt::Display) -> String {
        format!("{what} is expected at byte {} of `{}`", self.text.len() - self.rest.len(), self.text.escape_debug())
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, sign: &str) -> bool {
        self.space();
        let behind = self.rest.strip_prefix(sign);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    fn needs(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) { Ok(()) } else { Err(self.expected(format_args!("`{sign}`"))) }
    }

    fn any(&mut self) -> Result<Predicate, String> {
        let first = self.all()?;
        let mut parts = vec![first];
        while self.takes("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Predicate::Any(parts) })
    }

    fn all(&mut self) -> Result<Predicate, String> {
        let first = self.one()?;
        let mut parts = vec![first];
        while self.takes("&&") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Predicate::All(parts) })
    }

    fn one(&mut self) -> Result<Predicate, String> {
        if !self.takes("(") {
            return self.comparison().map(Predicate::Holds);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.expected("the end of so many parentheses"));
        }
        let inner = self.any()?;
        self.needs(")")?;
        self.depth -= 1;
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Comparison, String> {
        self.space();
        let function = self.while_it_is(|byte| byte.is_ascii_alphanumeric());
        if !function.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(self.expected("the name of a function"));
        }
        self.needs("(")?;
        let mut arguments = Vec::new();
        while !self.takes(")") {
            if !arguments.is_empty() {
                self.needs(",")?;
            }
            arguments.push(self.number()?);
        }
        self.space();
        let written = Comparator::WRITTEN.into_iter().find(|(sign, _)| self.rest.starts_with(sign));
        let Some((sign, comparator)) = written else {
            return Ok(Comparison { function: function.to_owned(), arguments, with: None });
        };
        self.rest = &self.rest[sign.len()..];
        let constant = if self.takes("\"") {
            let end = self.rest.find('"').ok_or_else(|| self.expected("`\"` behind the text"))?;
            let text = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            Constant::Text(text.to_owned())
        } else {
            Constant::Number(self.number()?)
        };
        Ok(Comparison { function: function.to_owned(), arguments, with: Some((comparator, constant)) })
    }

    fn number(&mut self) -> Result<f64, String> {
        self.space();
        let start = self.rest;
        let digits = self.while_it_is(|byte| byte.is_ascii_digit() || byte == b'.');
        match digits.parse() {
            Ok(number) => Ok(number),
            Err(_) => {
                self.rest = start;
                Err(self.expected("a number"))
            }
        }
    }

    fn while_it_is(&mut self, is_part: impl Fn(u8) -> bool) -> &'t str {
        let end = self.rest.bytes().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
        let (part, rest) = self.rest.split_at(end);
        self.rest = rest;
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn and_binds_closer_than_or() {
        let holding = |text: &str, holding: &[&str]| {
            let read = Predicate::parse(text).unwrap();
            read.holds(&mut |comparison| holding.contains(&comparison.function.as_str()))
        };
        for (text, functions, expected) in [
            ("A() || B() && C()", &["A"][..], true),
            ("A() || B() && C()", &["B"], false),
            ("(A() || B()) && C()", &["A"], false),
            ("(A() || B()) && C()", &["B", "C"], true),
            ("((A()))", &["A"], true),
        ] {
            assert_eq!(holding(text, functions), expected, "{text} with {functions:?}");
        }
    }

    #[test]
    fn functions_have_numbers_and_are_compared() {
        let read = Predicate::parse("ResponseCodeRatio(500, 600,0,600) > 0.5").unwrap();
        let expected = Comparison {
            function: "ResponseCodeRatio".to_owned(),
            arguments: vec![500.0, 600.0, 0.0, 600.0],
            with: Some((Comparator::Greater, Constant::Number(0.5))),
        };
        assert_eq!(read, Predicate::Holds(expected));
        for (sign, expected) in
            [("==", [false, true]), ("<=", [false, true]), (">", [true, false]), ("!=", [true, false])]
        {
            let read = Predicate::parse(&format!("F(){sign}2")).unwrap();
            let Predicate::Holds(Comparison { with: Some((comparator, Constant::Number(number))), .. }) = read else {
                panic!("{sign}")
            };
            assert_eq!([3.0, 2.0].map(|value| comparator.holds(value, number)), expected, "{sign}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("", "the name of a function is expected at byte 0 of ``"),
            ("F", "`(` is expected at byte 1 of `F`"),
            ("F(1", "`,` is expected at byte 3 of `F(1`"),
            ("F() >", "a number is expected at byte 5 of `F() >`"),
            ("F() > \"x", "`\"` behind the text is expected at byte 7 of `F() > \\\"x`"),
            ("F() F()", "`&&`, `||` or the end is expected at byte 4 of `F() F()`"),
            ("F() > 1.2.3", "a number is expected at byte 6 of `F() > 1.2.3`"),
            ("1 > F()", "the name of a function is expected at byte 1 of `1 > F()`"),
        ] {
            assert_eq!(Predicate::parse(text), Err(expected.to_owned()), "{text}");
        }
        let deep = format!("{}F(){}", "(".repeat(200), ")".repeat(200));
        assert!(Predicate::parse(&deep).unwrap_err().contains("so many parentheses"));
        assert!(Predicate::parse(&"F()||".repeat(1_000)).unwrap_err().starts_with("it has 5000 bytes"));
    }
}
