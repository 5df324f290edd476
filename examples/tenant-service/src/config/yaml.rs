//! The configuration file as it is written: names and scalars in sections, with their lines, every
//! `${VARIABLE:-default}` expanded.
//!
//! Only scalars are expanded, after the YAML is parsed: what a variable holds cannot add a field.

use std::collections::BTreeMap;
use std::ffi::OsString;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Where variables come from.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What stands for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// In quotes it is text, whatever it looks like, unless a variable is in it.
    pub(crate) quoted: bool,
}

impl Scalar {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), quoted: false }
    }

    /// Whether it says that there is no value.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() || (!self.quoted && matches!(self.text.as_str(), "~" | "null"))
    }
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Scalar(Scalar),
    Section(Fields),
    /// A list, which no setting is.
    List,
}

/// What stands under names, each with its line.
pub(crate) type Fields = BTreeMap<String, (usize, Node)>;

/// Reads `text`. Everything that is wrong with it goes to `problems`.
pub(crate) fn read(text: &str, variables: Variables<'_>, problems: &mut Vec<String>) -> Fields {
    let mut reader = Reader { events: Parser::new_from_str(text), variables, problems };
    match reader.document() {
        Ok(fields) => fields,
        Err(problem) => {
            problems.push(problem);
            Fields::new()
        }
    }
}

struct Reader<'a, I> {
    events: I,
    variables: Variables<'a>,
    problems: &'a mut Vec<String>,
}

/// The deepest section: no setting lies deeper than 1.
const DEEPEST: usize = 4;

impl<'input, I> Reader<'_, I>
where
    I: Iterator<Item = Result<(Event<'input>, Span), saphyr_parser::ScanError>>,
{
    fn next(&mut self) -> Result<(Event<'input>, usize), String> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => {
                Err(format!("line {}: this is no YAML: {}", error.marker().line(), error.info()))
            }
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn document(&mut self) -> Result<Fields, String> {
        let mut fields = None;
        loop {
            let (event, line) = self.next()?;
            plain(&event, line)?;
            match event {
                Event::StreamEnd => return Ok(fields.unwrap_or_default()),
                Event::MappingStart(..) if fields.is_none() => fields = Some(self.section(0)?),
                Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => {}
                Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                    return Err(format!("line {line}: the file must be one mapping of settings"));
                }
                _ => {}
            }
        }
    }

    fn section(&mut self, depth: usize) -> Result<Fields, String> {
        let mut fields = Fields::new();
        loop {
            let (event, line) = self.next()?;
            plain(&event, line)?;
            let name = match event {
                Event::MappingEnd => return Ok(fields),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(format!("line {line}: the name of a setting must be plain text")),
            };
            let node = self.node(depth)?;
            if let Some((first, _)) = fields.get(&name) {
                self.problems
                    .push(format!("line {line}: {name} is there already, in line {first}"));
            } else {
                fields.insert(name, (line, node));
            }
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, String> {
        let (event, line) = self.next()?;
        plain(&event, line)?;
        match event {
            Event::Scalar(text, style, ..) => {
                // What a variable says is what it looks like, in quotes or not.
                let quoted = style != ScalarStyle::Plain && !text.contains("${");
                let text = expand(&text, self.variables).unwrap_or_else(|problem| {
                    self.problems.push(format!("line {line}: {problem}"));
                    String::new()
                });
                Ok(Node::Scalar(Scalar { text, quoted }))
            }
            Event::MappingStart(..) if depth < DEEPEST => {
                Ok(Node::Section(self.section(depth + 1)?))
            }
            Event::SequenceStart(..) => {
                let mut open = 1;
                while open > 0 {
                    match self.next()?.0 {
                        Event::SequenceStart(..) | Event::MappingStart(..) => open += 1,
                        Event::SequenceEnd | Event::MappingEnd => open -= 1,
                        _ => {}
                    }
                }
                Ok(Node::List)
            }
            _ => Err(format!("line {line}: here a value is missing, or it lies too deep")),
        }
    }
}

/// Refuses what would make a value another one than it looks like.
fn plain(event: &Event<'_>, line: usize) -> Result<(), String> {
    let adorned = match event {
        Event::Alias(_) => true,
        Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(anchor, tag)
        | Event::MappingStart(anchor, tag) => *anchor != 0 || tag.is_some(),
        _ => false,
    };
    match adorned {
        true => Err(format!("line {line}: tags, anchors and aliases are not taken here")),
        false => Ok(()),
    }
}

/// Puts variables where `${NAME}` and `${NAME:-default}` ask for them; `$$` is one `$`. A variable that
/// is empty counts as unset.
fn expand(text: &str, variables: Variables<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or("a ${ has no }; a plain $ is written $$")?;
            expanded.push_str(&variable(&after[..end], variables)?);
            rest = &after[end + 1..];
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn variable(inside: &str, variables: Variables<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(fits) || default.is_some_and(|text| text.contains("${"))
    {
        return Err("a variable must be ${NAME} or ${NAME:-default}".to_owned());
    }
    let value = variables(name).map(OsString::into_string).transpose();
    match value.map_err(|_| format!("the variable {name} is not valid UTF-8"))? {
        Some(value) if !value.is_empty() => Ok(value),
        _ => default.map(str::to_owned).ok_or_else(|| {
            format!("the variable {name} is not set; set it, or write ${{{name}:-default}}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<OsString> {
        match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some("".into()),
            "EVIL" => Some("x\nadmin_token: stolen".into()),
            _ => None,
        }
    }

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        read(text, &variables, &mut problems);
        problems
    }

    #[test]
    fn variables_are_put_in() {
        let expand = |text| expand(text, &variables);
        assert_eq!(expand("127.0.0.1:${PORT}").unwrap(), "127.0.0.1:8080");
        assert_eq!(expand("${PORT:-1}${NONE:-2}${EMPTY:-3}").unwrap(), "808023");
        assert_eq!(expand("${NONE:-}").unwrap(), "");
        assert_eq!(expand("$$ $x a$").unwrap(), "$ $x a$");
        assert!(expand("${NONE}").unwrap_err().contains("NONE is not set"));
        for text in ["${PORT", "${}", "${A B}", "${A:-${PORT}}"] {
            assert!(expand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_adds_no_field() {
        let mut problems = Vec::new();
        let fields = read("listen_addr: ${EVIL}", &variables, &mut problems);
        assert_eq!(fields.len(), 1);
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn what_is_no_configuration_is_told_with_its_line() {
        for (text, problem) in [
            ("a: 1\na: 2", "line 2: a is there already, in line 1"),
            ("- 1", "line 1: the file must be one mapping of settings"),
            ("text", "line 1: the file must be one mapping of settings"),
            ("a: 1\nb: &x 1", "line 2: tags, anchors and aliases are not taken here"),
            ("a: &x { b: 1 }", "line 1: tags, anchors and aliases are not taken here"),
            ("a: !!map { b: 1 }", "line 1: tags, anchors and aliases are not taken here"),
            ("&x a: 1", "line 1: tags, anchors and aliases are not taken here"),
            ("a: *x", "line 1: "),
            ("a: !!int 1", "line 1: tags, anchors and aliases are not taken here"),
            ("a: 1\n b: 2", "line 2: this is no YAML"),
            ("a: ${NONE}", "line 1: the variable NONE is not set"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].starts_with(problem), "{text:?}: {found:?}");
        }
        let deep = (0..1_000).map(|_| "{a: ").collect::<String>();
        assert_eq!(problems(&deep).len(), 1);
        for empty in ["", "# nothing\n", "---\n"] {
            assert_eq!(problems(empty), [""; 0], "{empty:?}");
        }
    }
}
