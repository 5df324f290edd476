//! Fields, read one by one: a wrong one is noted, and the rest is read all the same, so that
//! everything that is wrong is told at once.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::yaml::{Fields, Node, Scalar, Variables};

/// How much of a wrong value is shown.
const EXCERPT: usize = 64;

/// One section of the file, with what the environment puts on top of it.
pub(crate) struct Section<'a> {
    path: String,
    fields: Fields,
    known: Vec<&'static str>,
    variables: Variables<'a>,
    problems: &'a mut Vec<String>,
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(crate) fn root(
        fields: Fields,
        variables: Variables<'a>,
        problems: &'a mut Vec<String>,
    ) -> Self {
        Self { path: String::new(), fields, known: Vec::new(), variables, problems }
    }

    /// A part of it that has fields of its own.
    pub(crate) fn section(&mut self, name: &'static str) -> Section<'_> {
        let path = format!("{}{name}.", self.path);
        let fields = self.take_section(name);
        let (variables, problems) = (self.variables, &mut *self.problems);
        Section { path, fields, known: Vec::new(), variables, problems }
    }

    /// The fields of a part, as they are.
    pub(crate) fn take_section(&mut self, name: &'static str) -> Fields {
        self.known.push(name);
        match self.fields.remove(name) {
            Some((_, Node::Section(fields))) => fields,
            Some((_, Node::Scalar(scalar))) if scalar.is_empty() => Fields::new(),
            Some((line, _)) => {
                self.problem(line, name, "must be a section: names and values, indented");
                Fields::new()
            }
            None => Fields::new(),
        }
    }

    /// A field, and the environment variable that goes before it; `default` if neither says anything,
    /// or what it says is wrong, which is noted then. `wanted` says what would be right.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        variable: Option<&str>,
        wanted: impl Display,
        default: T,
        parse: impl Fn(&Scalar) -> Option<T>,
    ) -> T {
        self.known.push(name);
        let written = self.fields.remove(name);
        if let Some(variable) = variable
            && let Some(value) = (self.variables)(variable).filter(|value| !value.is_empty())
        {
            let scalar = value.into_string().ok().map(|text| Scalar::plain(text.trim()));
            let Some(parsed) = scalar.as_ref().and_then(&parse) else {
                self.problems
                    .push(format!("the variable {variable} is wrong: it must be {wanted}"));
                return default;
            };
            return parsed;
        }
        match written {
            None => default,
            Some((_, Node::Scalar(scalar))) if scalar.is_empty() => default,
            Some((line, Node::Scalar(scalar))) => parse(&scalar).unwrap_or_else(|| {
                let value = excerpt(&scalar.text);
                let quoted = if scalar.quoted { " in quotes" } else { "" };
                self.problem(line, name, &format!("is {value:?}{quoted}; it must be {wanted}"));
                default
            }),
            Some((line, Node::Section(_) | Node::List)) => {
                self.problem(line, name, &format!("must be {wanted}"));
                default
            }
        }
    }

    /// Text.
    pub(crate) fn text(
        &mut self,
        name: &'static str,
        variable: &str,
        wanted: &str,
    ) -> Option<String> {
        self.read(name, Some(variable), wanted, None, |scalar| Some(Some(scalar.text.clone())))
    }

    /// A whole number.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let parse = |scalar: &Scalar| number(scalar).filter(|number| range.contains(number));
        self.read(name, None, wanted, default, parse)
    }

    /// The same where there may be none.
    pub(crate) fn number_or_none(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let (least, most) = (range.start(), range.end());
        let wanted = format!("a whole number from {least} to {most}, or nothing for no bound");
        let parse = |scalar: &Scalar| number(scalar).filter(|number| range.contains(number));
        self.read(name, None, wanted, None, |scalar| parse(scalar).map(Some))
    }

    /// Seconds, whole or decimal.
    pub(crate) fn seconds(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Duration {
        let (least, most) = (range.start(), range.end());
        let wanted = format!("a number of seconds from {least} to {most}");
        Duration::from_secs_f64(self.decimal_as(name, &range, wanted, default))
    }

    /// A number that need not be whole.
    pub(crate) fn decimal(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        self.decimal_as(name, &range, wanted, default)
    }

    fn decimal_as(
        &mut self,
        name: &'static str,
        range: &RangeInclusive<f64>,
        wanted: String,
        default: f64,
    ) -> f64 {
        let parse = |scalar: &Scalar| {
            let plain = scalar.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let number = scalar.text.parse().ok().filter(|_| plain && !scalar.quoted)?;
            range.contains(&number).then_some(number)
        };
        self.read(name, None, wanted, default, parse)
    }

    /// Notes what is wrong beyond a field's form.
    pub(crate) fn note(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Notes what nobody has asked for.
    pub(crate) fn finish(mut self) {
        let known = self.known.join(", ");
        for (name, (line, _)) in std::mem::take(&mut self.fields) {
            self.problem(line, &name, &format!("is not known here; known are {known}"));
        }
    }

    fn problem(&mut self, line: usize, name: &str, what: &str) {
        self.problems.push(format!("line {line}: {}{name} {what}", self.path));
    }
}

/// A whole number, not in quotes.
fn number(scalar: &Scalar) -> Option<u64> {
    let plain = !scalar.quoted && scalar.text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| scalar.text.parse().ok())?
}

fn excerpt(text: &str) -> String {
    let excerpt: String = text.chars().take(EXCERPT).collect();
    if excerpt.len() < text.len() { excerpt + "…" } else { excerpt }
}
