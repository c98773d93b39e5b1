//! Records of CSV, with the lines in which they begin; and records as CSV.

use csv_core::{ReadRecordResult, Reader};

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line in which it begins, from 1.
    pub(super) line: u64,
    /// Its fields, without spaces around them.
    pub(super) fields: Vec<String>,
}

/// The records of `text`; blank lines are none. Every text has some: what is no CSV is a record of strange fields.
pub(super) fn read(text: &str) -> Vec<Record> {
    let mut reader = Reader::new();
    let mut input = text.as_bytes();
    // No record is longer than the text, or has more fields than the text has commas, and one.
    let (mut output, mut ends) = (vec![0; input.len() + 1], vec![0; text.matches(',').count() + 2]);
    let mut records = Vec::new();
    let (mut n_output, mut n_ends) = (0, 0);
    // Newlines read, and the line in which the next record begins: the reader passes over blank lines.
    let mut n_lines = 0;
    let mut line = 1 + blank_lines(input);
    loop {
        let free = (output.get_mut(n_output..), ends.get_mut(n_ends..));
        let (Some(free_output), Some(free_ends)) = free else { return records };
        let (result, read, written, ended) = reader.read_record(input, free_output, free_ends);
        let (done, rest) = input.split_at_checked(read).unwrap_or_default();
        n_lines += newlines(done);
        input = rest;
        n_output += written;
        n_ends += ended;
        match result {
            ReadRecordResult::Record => {
                let mut start = 0;
                let fields = ends.iter().take(n_ends).map(|end| {
                    let field = output.get(start..*end).unwrap_or_default();
                    start = *end;
                    String::from_utf8_lossy(field).trim().to_owned()
                });
                records.push(Record { line, fields: fields.collect() });
                (n_output, n_ends) = (0, 0);
                line = 1 + n_lines + blank_lines(input);
            }
            // Said once the text is read: the next call ends the last record.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::End | ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => return records,
        }
    }
}

/// Blank lines at the beginning of `input`.
fn blank_lines(input: &[u8]) -> u64 {
    let n_bytes = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
    newlines(input.get(..n_bytes).unwrap_or_default())
}

fn newlines(input: &[u8]) -> u64 {
    input.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Adds a record to `text`.
pub(super) fn write<T: AsRef<str>>(text: &mut String, fields: &[T]) {
    for (at, field) in fields.iter().enumerate() {
        let field = field.as_ref();
        if at > 0 {
            text.push(',');
        }
        if field.contains(['"', ',', '\n', '\r']) || field.trim() != field {
            text.push('"');
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(field);
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_know_their_lines() {
        let records = read("\na,b\r\n\r\n\n\"1\n2\", x \n\"say \"\"hi\"\"\",\n,last");
        let lines: Vec<u64> = records.iter().map(|record| record.line).collect();
        let fields: Vec<Vec<&str>> =
            records.iter().map(|record| record.fields.iter().map(String::as_str).collect()).collect();
        assert_eq!(fields, [vec!["a", "b"], vec!["1\n2", "x"], vec!["say \"hi\"", ""], vec!["", "last"]]);
        assert_eq!(lines, [2, 5, 7, 8]);
        assert!(read("").is_empty() && read("\n\n").is_empty());
        for odd in ["\"", "a,\"b\nc", ",,,", "\"a\"b,c"] {
            assert_eq!(read(odd).len(), 1, "{odd}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let fields = ["plain", "", "a,b", "say \"hi\"", "two\nlines"];
        let mut text = String::new();
        write(&mut text, &fields);
        write(&mut text, &["x"]);
        let records = read(&text);
        assert_eq!((records[0].fields.as_slice(), records[1].line), (fields.map(ToOwned::to_owned).as_slice(), 3));
    }
}
