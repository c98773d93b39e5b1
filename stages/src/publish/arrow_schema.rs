//! The Arrow schema in a Parquet footer, as Arrow's own readers want it: an IPC message (a FlatBuffer) in base64.
//!
//! Polars writes one too, but with its own view types, which readers that are not quite new refuse, and without
//! metadata; and where there is a schema, Arrow's readers look for metadata nowhere else. So the release brings its own:
//! plain strings and bytes, and the features under `huggingface`.

use polars::prelude::DataType;

/// The key in the footer.
pub(super) const KEY: &str = "ARROW:schema";

/// Members of the union `Type` of Arrow's `Schema.fbs`.
const INT: u8 = 2;
const FLOATING_POINT: u8 = 3;
const BINARY: u8 = 4;
const UTF8: u8 = 5;
const STRUCT: u8 = 13;
/// The member `Schema` of the union `MessageHeader`, and the version `V5`, of `Message.fbs`.
const SCHEMA: u8 = 1;
const V5: i16 = 4;
/// The precision `DOUBLE`.
const DOUBLE: i16 = 2;

/// A value in a FlatBuffer.
enum Value {
    Byte(u8),
    Short(i16),
    Int(i32),
    Long(i64),
    Text(String),
    /// Its fields by number; those left out have their default.
    Table(Vec<Option<Value>>),
    Tables(Vec<Value>),
}

/// The value of [`KEY`] for these columns and this metadata.
pub(super) fn encode(columns: &[(String, DataType)], metadata: &[(&str, &str)]) -> String {
    let fields = columns.iter().map(|(name, dtype)| field(name, dtype)).collect();
    let pairs = metadata.iter().map(|(key, value)| Value::Table(vec![Some(text(key)), Some(text(value))])).collect();
    // Endianness is left out: little.
    let schema = Value::Table(vec![None, Some(Value::Tables(fields)), Some(Value::Tables(pairs))]);
    let message = [Value::Short(V5), Value::Byte(SCHEMA), schema, Value::Long(0)];
    let mut buffer = vec![0; 4];
    let root = write(&mut buffer, &Value::Table(message.into_iter().map(Some).collect()));
    patch(&mut buffer, 0, root);
    pad(&mut buffer, 8, 0);
    let mut bytes = vec![0xff; 4];
    bytes.extend((buffer.len() as u32).to_le_bytes());
    bytes.extend(buffer);
    base64(&bytes)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A table `Field`, nullable.
fn field(name: &str, dtype: &DataType) -> Value {
    let integer = |bits| Value::Table(vec![Some(Value::Int(bits))]);
    let (member, value) = match dtype {
        DataType::UInt32 => (INT, integer(32)),
        DataType::UInt64 => (INT, integer(64)),
        DataType::Float64 => (FLOATING_POINT, Value::Table(vec![Some(Value::Short(DOUBLE))])),
        DataType::Binary => (BINARY, Value::Table(Vec::new())),
        DataType::Struct(_) => (STRUCT, Value::Table(Vec::new())),
        _ => (UTF8, Value::Table(Vec::new())),
    };
    let children = match dtype {
        DataType::Struct(fields) => fields.iter().map(|part| field(&part.name, &part.dtype)).collect(),
        _ => Vec::new(),
    };
    let (nullable, children) = (Value::Byte(1), Value::Tables(children));
    Value::Table(vec![Some(text(name)), Some(nullable), Some(Value::Byte(member)), Some(value), None, Some(children)])
}

/// Appends `value`, which is referred to by offset; gives its position.
fn write(buffer: &mut Vec<u8>, value: &Value) -> usize {
    match value {
        Value::Text(text) => {
            pad(buffer, 4, 0);
            let at = buffer.len();
            buffer.extend((text.len() as u32).to_le_bytes());
            buffer.extend(text.as_bytes());
            buffer.push(0);
            at
        }
        Value::Tables(items) => {
            pad(buffer, 4, 0);
            let at = buffer.len();
            buffer.extend((items.len() as u32).to_le_bytes());
            buffer.resize(buffer.len() + 4 * items.len(), 0);
            for (index, item) in items.iter().enumerate() {
                let child = write(buffer, item);
                patch(buffer, at + 4 + 4 * index, child);
            }
            at
        }
        Value::Table(fields) => write_table(buffer, fields),
        // Scalars stand in their tables.
        Value::Byte(_) | Value::Short(_) | Value::Int(_) | Value::Long(_) => buffer.len(),
    }
}

/// Appends the list of the fields' places, then the table, then what the table refers to.
fn write_table(buffer: &mut Vec<u8>, fields: &[Option<Value>]) -> usize {
    let mut table: Vec<u8> = vec![0; 4];
    let mut places: Vec<u16> = Vec::new();
    for field in fields {
        let bytes = match field {
            None => {
                places.push(0);
                continue;
            }
            Some(Value::Byte(value)) => vec![*value],
            Some(Value::Short(value)) => value.to_le_bytes().to_vec(),
            Some(Value::Int(value)) => value.to_le_bytes().to_vec(),
            Some(Value::Long(value)) => value.to_le_bytes().to_vec(),
            Some(Value::Text(_) | Value::Table(_) | Value::Tables(_)) => vec![0; 4],
        };
        pad(&mut table, bytes.len(), 0);
        places.push(table.len() as u16);
        table.extend(bytes);
    }
    let list_bytes = 4 + 2 * places.len();
    // The table starts at a multiple of 8, so that its fields are aligned wherever they stand in it.
    pad(buffer, 8, list_bytes);
    buffer.extend((list_bytes as u16).to_le_bytes());
    buffer.extend((table.len() as u16).to_le_bytes());
    buffer.extend(places.iter().flat_map(|place| place.to_le_bytes()));
    let at = buffer.len();
    if let Some(start) = table.get_mut(..4) {
        start.copy_from_slice(&(list_bytes as u32).to_le_bytes());
    }
    buffer.extend(table);
    for (field, place) in fields.iter().zip(places) {
        if let Some(value @ (Value::Text(_) | Value::Table(_) | Value::Tables(_))) = field {
            let child = write(buffer, value);
            patch(buffer, at + usize::from(place), child);
        }
    }
    at
}

/// Pads until `more` bytes later a multiple of `alignment` is reached.
fn pad(buffer: &mut Vec<u8>, alignment: usize, more: usize) {
    while !(buffer.len() + more).is_multiple_of(alignment) {
        buffer.push(0);
    }
}

/// Sets the offset at `place` to lead to `target`.
fn patch(buffer: &mut [u8], place: usize, target: usize) {
    if let Some(offset) = buffer.get_mut(place..place + 4) {
        offset.copy_from_slice(&((target - place) as u32).to_le_bytes());
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4_u32 {
            let letter = LETTERS.get((bits >> (18 - 6 * index) & 63) as usize).copied().unwrap_or(b'=');
            text.push(char::from(if index as usize > chunk.len() { b'=' } else { letter }));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn offsets_lead_to_what_was_written() {
        let mut buffer = vec![0; 4];
        let table = Value::Table(vec![Some(Value::Byte(7)), None, Some(Value::Long(-2)), Some(text("name"))]);
        let at = write(&mut buffer, &table);
        assert_eq!(at % 8, 0);
        let short = |place: usize| usize::from(u16::from_le_bytes([buffer[place], buffer[place + 1]]));
        let list = at - u32::from_le_bytes(buffer[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(short(list), 12);
        assert_eq!(buffer[at + short(list + 4)], 7);
        assert_eq!(short(list + 6), 0);
        let long = at + short(list + 8);
        assert_eq!(long % 8, 0);
        assert_eq!(i64::from_le_bytes(buffer[long..long + 8].try_into().unwrap()), -2);
        let place = at + short(list + 10);
        let name = place + u32::from_le_bytes(buffer[place..place + 4].try_into().unwrap()) as usize;
        assert_eq!(&buffer[name..name + 9], b"\x04\0\0\0name\0");
    }
}
