use std::io::Cursor;

use super::super::testing::{Writer, number, text};
use super::*;

fn read(bytes: &[u8]) -> Result<Header> {
    Header::read(&mut Cursor::new(bytes))
}

#[test]
fn values_of_every_type_are_read() {
    let mut writer = Writer::default();
    writer.value("a", 0, &[7]).value("b", 1, &[0xff]).value("c", 2, &[1, 1]).value("d", 3, &[0xff, 0xff]);
    writer.value("e", 5, &(-3_i32).to_le_bytes()).value("f", 10, &9_u64.to_le_bytes());
    writer.value("g", 11, &(-9_i64).to_le_bytes()).value("h", 6, &0.5_f32.to_le_bytes());
    writer.value("i", 12, &0.25_f64.to_le_bytes()).value("j", 7, &[1]).value("k", 8, &text("é"));
    writer.value("l", 9, &[&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("x"), &text("")].concat());
    writer.value("m", 9, &[&5_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &(-1_i32).to_le_bytes()].concat());
    let header = read(&writer.bytes()).unwrap();
    let integer = |key: &str| header.values[key].clone();
    assert_eq!(
        (integer("a"), integer("b"), integer("c")),
        (Value::Integer(7), Value::Integer(-1), Value::Integer(257))
    );
    assert_eq!((integer("d"), integer("e")), (Value::Integer(-1), Value::Integer(-3)));
    assert_eq!((integer("f"), integer("g")), (Value::Integer(9), Value::Integer(-9)));
    assert_eq!((header.float("h"), header.float("i")), (Ok(Some(0.5)), Ok(Some(0.25))));
    assert_eq!((header.flag("j"), header.text("k")), (Ok(Some(true)), Ok(Some("é"))));
    assert_eq!(header.texts("l").unwrap(), ["x", ""]);
    assert_eq!(integer("m"), Value::Integers(vec![-1]));
    assert_eq!((header.size("none"), header.size("f")), (Ok(None), Ok(Some(9))));
    assert!(header.size("g").is_err() && header.size("k").is_err() && header.text("a").is_err());
}

#[test]
fn a_file_that_is_cut_anywhere_is_an_error() {
    let bytes = super::super::testing::model().bytes();
    let header = read(&bytes).unwrap();
    let data = header.data as usize;
    for length in 0..data - 32 {
        assert!(read(&bytes[..length]).is_err(), "{length} of {data} bytes");
    }
    for (name, place) in &header.tensors {
        let begin = data + place.offset as usize;
        for length in [data, begin, begin + 1] {
            assert!(header.tensor(name, &mut Cursor::new(&bytes[..length])).is_err(), "{name}");
        }
        assert!(header.tensor(name, &mut Cursor::new(&bytes)).is_ok(), "{name}");
    }
}

#[test]
fn any_byte_may_be_another() {
    // Whatever comes of it: no panic, and no memory beyond what the file could fill.
    let bytes = super::super::testing::model().bytes();
    let data = read(&bytes).unwrap().data as usize;
    for at in 0..data {
        for byte in [0, 1, 9, 0x7f, 0xff] {
            let mut other = bytes.clone();
            other[at] = byte;
            if let Ok(header) = read(&other) {
                for name in header.tensors.keys() {
                    drop(header.tensor(name, &mut Cursor::new(&other)));
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_is_an_error_that_says_where() {
    let error = |bytes: &[u8]| read(bytes).unwrap_err();
    assert_eq!(error(b"GGML...."), "does not begin as a GGUF file");
    assert!(error(&[&b"GGUF"[..], &1_u32.to_le_bytes()].concat()).starts_with("is of version 1"));
    let mut writer = Writer::default();
    assert_eq!(
        error(&writer.value("general.alignment", 4, &number(0)).bytes()),
        "key `general.alignment` is Integer(0): a number above 0 is right"
    );
    let huge = [&8_u32.to_le_bytes()[..], &(1_u64 << 60).to_le_bytes()].concat();
    assert!(error(&Writer::default().value("x", 9, &huge).bytes()).contains("1152921504606846976 elements cannot be"));
    let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    assert!(error(&Writer::default().value("x", 9, &nested).bytes()).contains("arrays of arrays"));
    let shape = |shape: &[u64], kind: u32| error(&Writer::default().tensor("t", shape, kind, &[]).bytes());
    assert!(shape(&[1 << 40, 1 << 40], 0).starts_with("the tensor `t` has the shape"));
    assert!(shape(&[0], 0).starts_with("the tensor `t` has the shape"));
    assert!(shape(&[], 0).starts_with("the tensor `t` has 0 dimensions"));
    assert!(shape(&[4], 77).starts_with("the tensor `t` is of type 77"));
    let bytes = Writer::default().tensor("t", &[33], 2, &[0; 64]).bytes();
    let error = read(&bytes).unwrap().tensor("t", &mut Cursor::new(&bytes)).unwrap_err();
    assert_eq!(error, "the tensor `t` of shape [33] is not whole blocks of 32");
}
