//! Where a number's fraction has all digits that mean something.

/// Digits after the point that an f64 tells apart. JSON schemas do not bound them, and small models go on for ever.
const MOST: usize = 15;

/// What is known of the text so far: whether it ends in a fraction.
#[derive(Clone, Debug, Default)]
pub(super) struct Fraction {
    in_string: bool,
    is_escaped: bool,
    /// Digits after the point, when the text ends in a fraction.
    n_digits: Option<usize>,
}

impl Fraction {
    /// Reads a further byte of a JSON text.
    pub(super) fn read(&mut self, byte: u8) {
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return;
        }
        self.in_string = byte == b'"';
        self.n_digits = match byte {
            b'.' => Some(0),
            b'0'..=b'9' => self.n_digits.map(|n| n + 1),
            _ => None,
        };
    }

    /// Whether further digits say nothing.
    pub(super) fn is_full(&self) -> bool {
        self.n_digits.is_some_and(|n| n >= MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_of_a_fraction_count() {
        let is_full = |text: &str| {
            let mut fraction = Fraction::default();
            text.bytes().for_each(|byte| fraction.read(byte));
            fraction.is_full()
        };
        assert!(is_full("[0.123456789012345") && is_full(r#"["\\","\"",0.1234567890123456"#));
        assert!(!is_full("[0.12345678901234") && !is_full("[1234567890123456789") && !is_full("0.123456789012345,"));
        assert!(!is_full(r#"["0.123456789012345"#) && !is_full(r#"["\"0.123456789012345"#));
    }
}
