//! `measure`: our own program for `command` stages.

use std::io::{stdin, stdout};

use cafe_stages::measure;

use crate::cli::MeasureArgs;
use crate::failure::Failure;

pub(super) fn run(args: &MeasureArgs) -> Result<u8, Failure> {
    let id_column = args.id_column.as_deref();
    let measured = match (&args.input, &args.output) {
        (Some(input), Some(output)) if !args.serve => measure::run(input, output, id_column),
        _ => measure::serve(id_column, stdin().lock(), stdout().lock()),
    };
    match measured {
        Ok(()) => Ok(0),
        // The code tells the stage what to do: see the contract of `command`.
        Err(error) => {
            eprintln!("{error}");
            Ok(error.exit_code())
        }
    }
}
