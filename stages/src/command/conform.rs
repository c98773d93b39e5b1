//! Types that programs write where others are expected: Parquet writers widen integers, and turn columns without values
//! into nulls. What loses nothing is taken; everything else is refused.

use polars::prelude::*;

use crate::tables;

/// Why a column does not fit.
#[derive(Debug)]
pub(super) enum Misfit {
    /// Its type is another one.
    Type,
    /// Its type would do, but not all of its values.
    Value(String),
}

/// `column` as `wanted`, where nothing is lost by it.
pub(super) fn conform(column: &Column, wanted: &DataType) -> Result<Column, Misfit> {
    let found = column.dtype();
    if found == wanted {
        return Ok(column.clone());
    }
    if *found == DataType::Null {
        return Ok(Column::full_null(column.name().clone(), column.len(), wanted));
    }
    if *wanted == tables::image_type() {
        return image(column).ok_or(Misfit::Type);
    }
    let widens =
        (found.is_integer() && wanted.is_integer()) || (*found == DataType::Float32 && *wanted == DataType::Float64);
    if widens {
        return column.strict_cast(wanted).map_err(|error| Misfit::Value(error.to_string()));
    }
    Err(Misfit::Type)
}

/// A struct with `bytes`, and perhaps `path`, in any order.
fn image(column: &Column) -> Option<Column> {
    let fields = column.struct_().ok()?;
    let field = |name: &str, dtype: DataType| match fields.field_by_name(name) {
        Ok(series) if *series.dtype() == dtype => Some(series),
        Ok(series) if *series.dtype() == DataType::Null => Some(Series::full_null(name.into(), series.len(), &dtype)),
        Ok(_) => None,
        Err(_) => Some(Series::full_null(name.into(), column.len(), &dtype)),
    };
    if fields.field_by_name("bytes").is_err() {
        return None;
    }
    let parts = [field("bytes", DataType::Binary)?, field("path", DataType::String)?];
    let image = StructChunked::from_series(column.name().clone(), column.len(), parts.iter()).ok()?;
    Some(image.into_series().into_column())
}

/// Which values are missing; an image is missing when it has no bytes.
pub(super) fn null_mask(column: &Column) -> Vec<bool> {
    let bytes = column.struct_().ok().and_then(|fields| fields.field_by_name("bytes").ok());
    let nulls = bytes.map_or_else(|| column.is_null(), |bytes| bytes.is_null());
    nulls.iter().map(|is_null| is_null.unwrap_or(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_fit_when_their_values_do() {
        let column = Column::new("n".into(), [1_i64, 2]);
        assert_eq!(conform(&column, &DataType::UInt32).unwrap().dtype(), &DataType::UInt32);
        let column = Column::new("n".into(), [-1_i64]);
        assert!(matches!(conform(&column, &DataType::UInt32), Err(Misfit::Value(_))));
    }

    #[test]
    fn text_is_no_number_and_numbers_are_no_integers() {
        let text = Column::new("n".into(), ["1"]);
        assert!(matches!(conform(&text, &DataType::Float64), Err(Misfit::Type)));
        let number = Column::new("n".into(), [1.5_f64]);
        assert!(matches!(conform(&number, &DataType::Int64), Err(Misfit::Type)));
    }

    #[test]
    fn fields_of_an_image_may_stand_in_any_order() {
        let parts = [Series::new("path".into(), ["a.png"]), Series::new("bytes".into(), [b"x".as_slice()])];
        let column = StructChunked::from_series("image".into(), 1, parts.iter()).unwrap().into_series().into_column();
        let image = conform(&column, &tables::image_type()).unwrap();
        assert_eq!(image.dtype(), &tables::image_type());
        assert_eq!(null_mask(&image), [false]);
    }

    #[test]
    fn columns_without_values_take_any_type() {
        let column = Column::full_null("image".into(), 2, &DataType::Null);
        assert_eq!(null_mask(&conform(&column, &tables::image_type()).unwrap()), [true, true]);
    }
}
