//! Which row of a release stands in which of its files. Decided by the rows alone, before any pixel is read.

use std::collections::BTreeMap;

/// Bytes that a row takes besides its pictures, about.
const ROW_BYTES: u64 = 1024;

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileCut {
    pub(super) split: String,
    /// Relative to the release's folder.
    pub(super) path: String,
    pub(super) n_rows: u64,
}

/// The files, and for each row the position of its file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) files: Vec<FileCut>,
    pub(super) file_of: Vec<u32>,
}

/// A file that is being filled.
struct Open {
    file: usize,
    n_bytes: u64,
}

/// Cuts rows, given by split and bytes of pictures, into files of at most `file_rows` rows and about `max_bytes` bytes.
pub(super) fn cut<'a>(rows: impl Iterator<Item = (&'a str, u64)>, file_rows: u64, max_bytes: u64) -> Cut {
    let mut files: Vec<FileCut> = Vec::new();
    let mut file_of = Vec::new();
    let mut open: BTreeMap<&str, Open> = BTreeMap::new();
    for (split, image_bytes) in rows {
        let n_bytes = image_bytes.saturating_add(ROW_BYTES);
        let current = open.get(split).filter(|open| {
            let fits = open.n_bytes.saturating_add(n_bytes) <= max_bytes;
            fits && files.get(open.file).is_some_and(|file| file.n_rows < file_rows)
        });
        let (file, filled) = match current {
            Some(current) => (current.file, current.n_bytes),
            // A row larger than a file may be has a file of its own.
            None => {
                files.push(FileCut { split: split.to_owned(), path: String::new(), n_rows: 0 });
                (files.len() - 1, 0)
            }
        };
        open.insert(split, Open { file, n_bytes: filled.saturating_add(n_bytes) });
        if let Some(file) = files.get_mut(file) {
            file.n_rows += 1;
        }
        file_of.push(file as u32);
    }
    if files.is_empty() {
        // Readers want a file to learn the columns from.
        files.push(FileCut { split: "train".to_owned(), path: String::new(), n_rows: 0 });
    }
    name(&mut files);
    Cut { files, file_of }
}

fn name(files: &mut [FileCut]) {
    let mut totals: BTreeMap<String, usize> = BTreeMap::new();
    for file in files.iter() {
        *totals.entry(file.split.clone()).or_default() += 1;
    }
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let number = numbers.entry(file.split.clone()).or_default();
        let total = totals.get(&file.split).copied().unwrap_or_default();
        file.path = format!("data/{}-{number:05}-of-{total:05}.parquet", file.split);
        *number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rows: &[(&str, u64)], file_rows: u64, max_bytes: u64) -> (Vec<(String, u64)>, Vec<u32>) {
        let cut = cut(rows.iter().copied(), file_rows, max_bytes);
        (cut.files.into_iter().map(|file| (file.path, file.n_rows)).collect(), cut.file_of)
    }

    #[test]
    fn rows_go_to_the_open_file_of_their_split() {
        let rows = [("a", 1), ("b", 1), ("a", 1), ("a", 1), ("b", 1)];
        let (files, file_of) = sizes(&rows, 2, u64::MAX);
        let expected = [
            ("data/a-00000-of-00002.parquet", 2),
            ("data/b-00000-of-00001.parquet", 2),
            ("data/a-00001-of-00002.parquet", 1),
        ];
        assert_eq!(files, expected.map(|(path, n)| (path.to_owned(), n)));
        assert_eq!(file_of, [0, 1, 0, 2, 1]);
    }

    #[test]
    fn bytes_bound_a_file_but_a_large_row_still_finds_a_place() {
        let (files, file_of) = sizes(&[("a", 3000), ("a", 3000), ("a", 90_000), ("a", 10)], 100, 8192);
        assert_eq!(files.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(file_of, [0, 0, 1, 2]);
        // No overflow.
        assert_eq!(sizes(&[("a", u64::MAX), ("a", u64::MAX)], 100, u64::MAX).0.len(), 1);
    }

    #[test]
    fn no_rows_make_one_empty_file() {
        assert_eq!(sizes(&[], 10, 10), (vec![("data/train-00000-of-00001.parquet".to_owned(), 0)], Vec::new()));
    }
}
