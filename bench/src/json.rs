//! Numbers for programs.

use crate::measure::Spread;
use std::fmt::Write;

/// A JSON object, written field by field.
#[derive(Default)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn text(self, name: &str, text: &str) -> Self {
        self.raw(name, &quoted(text))
    }

    /// `null` for none, or for what is no number.
    pub(crate) fn number(self, name: &str, number: Option<f64>) -> Self {
        let number = number.filter(|number| number.is_finite());
        self.raw(
            name,
            &number.map_or("null".to_owned(), |number| format!("{number:.4}")),
        )
    }

    pub(crate) fn spread(self, numbers: &Spread) -> Self {
        self.number("median", Some(numbers.median))
            .number("min", Some(numbers.min))
            .number("max", Some(numbers.max))
    }

    /// What is JSON already.
    pub(crate) fn raw(mut self, name: &str, value: &str) -> Self {
        let comma = if self.0.is_empty() { "" } else { ", " };
        write!(self.0, "{comma}{}: {value}", quoted(name)).expect("a string takes all");
        self
    }

    pub(crate) fn end(self) -> String {
        format!("{{{}}}", self.0)
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(c)).expect("a string takes all");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object() {
        let spread = Spread::of([1.0, 2.0, 4.0]).unwrap();
        let inner = Object::default().text("of", "a \"b\\c\"\n").end();
        let object = Object::default()
            .raw("params", &inner)
            .spread(&spread)
            .number("ratio", None)
            .number("nan", Some(f64::NAN));
        assert_eq!(
            object.end(),
            "{\"params\": {\"of\": \"a \\\"b\\\\c\\\"\\u000a\"}, \"median\": 2.0000, \
             \"min\": 1.0000, \"max\": 4.0000, \"ratio\": null, \"nan\": null}"
        );
        assert_eq!(Object::default().end(), "{}");
    }
}
