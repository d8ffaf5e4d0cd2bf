//! How large a value is when it is written.

use std::io::{self, Write};

use serde::Serialize;

/// Counts what is written to it.
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of a value as JSON; nothing is built for it. What cannot be written has none.
pub(crate) fn json_size(value: &impl Serialize) -> usize {
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_size_is_that_of_the_text() {
        for value in [
            json!(null),
            json!({"a": ["\u{1}\"", "ä", 7]}),
            json!("x".repeat(999)),
        ] {
            assert_eq!(json_size(&value), value.to_string().len());
        }
    }
}
