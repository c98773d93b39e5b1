//! JSON pointers of the manifest, and where in the text each of them stands.

use std::collections::BTreeMap;
use std::ops::Range;

/// Where a value of the manifest stands in its text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The key; `None` for the root and for elements of arrays.
    pub(super) key: Option<Range<usize>>,
    /// The value; the header for a table that has one.
    pub(super) value: Range<usize>,
    /// Whether it is an element of an array.
    pub(super) element: bool,
}

/// Where each value of a manifest stands in its text, by JSON pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanMap(BTreeMap<String, Place>);

impl SpanMap {
    pub(super) fn insert(&mut self, pointer: String, place: Place) {
        self.0.insert(pointer, place);
    }

    /// The place of exactly this value.
    pub(super) fn get(&self, pointer: &str) -> Option<&Place> {
        self.0.get(pointer)
    }

    /// The place of this value, or of the nearest table or array around it that was written.
    pub(super) fn nearest(&self, pointer: &str) -> Option<&Place> {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.0.get(pointer) {
                return Some(place);
            }
            pointer = parent(pointer)?;
        }
    }

    /// `/stage/2/rules/0/min` as a person writes it: `stage[2].rules[0].min`.
    pub(super) fn key_path(&self, pointer: &str) -> String {
        let mut path = String::new();
        let mut walked = String::new();
        for segment in pointer.split('/').skip(1) {
            walked.push('/');
            walked.push_str(segment);
            if self.0.get(&walked).is_some_and(|place| place.element) {
                path.push_str(&format!("[{segment}]"));
            } else {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&bare(&unescape(segment)));
            }
        }
        path
    }
}

/// A key as TOML writes it: quoted where it must be.
pub(super) fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { format!("{key:?}") }
}

/// The JSON pointer of what `key` stands for below `pointer`: slashes and tildes are escaped.
#[must_use]
pub fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// The pointer of what is around; `None` for the root.
pub(super) fn parent(pointer: &str) -> Option<&str> {
    pointer.rsplit_once('/').map(|(parent, _)| parent)
}

/// The last segment, as a key.
pub(super) fn last(pointer: &str) -> String {
    pointer.rsplit_once('/').map(|(_, last)| unescape(last)).unwrap_or_default()
}

/// A segment as the key that it stands for.
pub(super) fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}
